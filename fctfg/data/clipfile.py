"""One prepared clip in one file: an uncompressed zip that any zip tool opens.

    frames/000000.jpg ...   the crops, RGB
    wave.wav                16 bit, mono, 16 kHz
    landmarks.npy           (T, 68, 2) float32, in pixels of the crop
    boxes.npy               (T, 4) float32, the face in pixels of the video
    action_units.npy        (T, 17) float32 in [0, 1], NaN where unknown; only in clips that were prepared with them
    clip.json               what is known of the clip

Members are stored, not compressed, so a frame or a stretch of sound is read straight from its place in the file.
Needs neither a media nor a detector package. Pictures go through Pillow: torchvision's decoder is faster at 96 px
(77 against 123 us) and about equal at 256 px (291 against 328 us), but deprecated since 0.29.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..action_units import NAMES
from ..errors import BadData
from ..files import replacing
from ..interfaces import FRAME_RATE, SAMPLE_RATE

FORMAT = 1
JPEG_QUALITY = 95
ACTION_UNITS = "action_units.npy"
_WAVE_HEADER = 44
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra field


def write_clip(path: str | Path, frames: Iterable[np.ndarray], wave, landmarks, boxes, about: dict,
               action_units=None) -> int:
    """Write one clip and give its number of frames. Equal input gives equal bytes; a failure leaves nothing behind.

    `frames` (H, W, 3) uint8 RGB are written as they come, all of one size. Everything else is looked at after the last
    of them, so the iterable may fill lists on its way. `wave` (S,) float in [-1, 1] starts with the first frame;
    `landmarks` (T, 68, 2) in pixels of the crop, 0 being its left or upper edge; `boxes` (T, 4) left, top, right,
    bottom in pixels of the video; `about` plain values for clip.json; `action_units` (T, 17) in [0, 1], NaN where not
    known.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        shape, count = None, 0
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or shape not in (None, frame.shape):
                wanted = shape or "(H, W, 3)"
                raise ValueError(f"frame {count} is {frame.dtype} {frame.shape}, expected uint8 {wanted}")
            shape = frame.shape
            _add(archive, _frame_name(count), encode_jpeg(frame))
            count += 1
        if not count:
            raise ValueError("a clip needs a frame")
        wave = _checked("wave", wave, (None,))
        _add(archive, "wave.wav", _wave_header(len(wave)) + _to_pcm(wave))
        _add(archive, "landmarks.npy", _to_npy(_checked("landmarks", landmarks, (count, 68, 2))))
        _add(archive, "boxes.npy", _to_npy(_checked("boxes", boxes, (count, 4))))
        if action_units is not None:
            _add(archive, ACTION_UNITS, _to_npy(_checked_units(action_units, count)))
        facts = {"format": FORMAT, "frames": count, "height": shape[0], "width": shape[1], "frame_rate": FRAME_RATE,
                 "samples": len(wave), "sample_rate": SAMPLE_RATE}
        _add(archive, "clip.json", json.dumps({**about, **facts}, indent=1, ensure_ascii=False).encode())
    return count


def add_action_units(path: str | Path, action_units) -> None:
    """Put `action_units`, as `write_clip` takes them, into a clip that has none; all else stays as it is."""
    path = Path(path)
    count = ClipFile(path).num_frames
    with replacing(path) as temporary:
        shutil.copyfile(path, temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            _add(archive, ACTION_UNITS, _to_npy(_checked_units(action_units, count)))


class ClipFile:
    """Random access to one clip. Opens at the first read, once per process; may be pickled and shared by threads.

    Every read raises BadData with the file's name where the file is missing, truncated, damaged or not a clip.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._opened: _Opened | None = None

    def __getstate__(self):
        return {"path": self.path, "_opened": None}

    @property
    def num_frames(self) -> int:
        """T"""
        return len(self._open().frames)

    @property
    def num_samples(self) -> int:
        """S"""
        return (self._open().others["wave.wav"].size - _WAVE_HEADER) // 2

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames."""
        return self.about["width"], self.about["height"]

    @property
    def about(self) -> dict:
        """clip.json: what `write_clip` was told; format, frames, height, width, frame_rate, samples, sample_rate."""
        return self._open().about

    def frames(self, indices: Sequence[int], size: int | None = None) -> np.ndarray:
        """Pictures (n, H, W, 3) uint8 RGB at `indices`, brought to `size` squared, antialiased, where they differ."""
        opened = self._open()
        pictures = []
        for index in indices:
            if not 0 <= index < len(opened.frames):
                raise IndexError(f"{self.path} has no frame {index}: it has {len(opened.frames)}")
            try:
                pictures.append(decode_jpeg(opened.read_whole(opened.frames[index]), size))
            except (OSError, SyntaxError) as error:
                raise BadData(f"{self.path}: {_frame_name(index)} is no JPEG picture ({error}).") from None
        return np.stack(pictures)

    def wave(self, start: int = 0, num: int | None = None) -> np.ndarray:
        """`num` samples (num,) float32 in [-1, 1] from sample `start` on; silence beyond both ends. By default all."""
        total = self.num_samples
        num = total - start if num is None else num
        first, last = min(max(start, 0), total), min(max(start + num, 0), total)
        wave = np.zeros(num, np.float32)
        if last > first:
            opened = self._open()
            pcm = opened.read(opened.others["wave.wav"], _WAVE_HEADER + 2 * first, 2 * (last - first))
            wave[first - start:last - start] = np.frombuffer(pcm, "<i2") / np.float32(32768)
        return wave

    def landmarks(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """The iBUG points (n, 68, 2) float32 at `indices`, by default of all frames, in pixels of the crop."""
        every = self._open().array("landmarks.npy", (68, 2))
        return every if indices is None else every[list(indices)]

    def boxes(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """The faces (n, 4) float32 at `indices`, by default of all frames, in pixels of the video."""
        every = self._open().array("boxes.npy", (4,))
        return every if indices is None else every[list(indices)]

    def action_units(self, indices: Sequence[int] | None = None) -> np.ndarray | None:
        """`action_units.NAMES` (n, 17) float32 in [0, 1] at `indices`, by default of all frames; NaN where not known.
        None: the clip was prepared without them."""
        opened = self._open()
        if ACTION_UNITS not in opened.others:
            return None
        every = opened.array(ACTION_UNITS, (len(NAMES),))
        return every if indices is None else every[list(indices)]

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> _Opened:
        opened = self._opened
        if opened is None or opened.pid != os.getpid():  # a forked process would share the place in the file
            opened = self._opened = _Opened(self.path)
        return opened


class _Member(NamedTuple):
    offset: int
    """Of the local header."""
    size: int
    crc: int


class _Opened:
    """An open clip and its table of contents, of one process."""

    def __init__(self, path: Path):
        self.path, self.pid = path, os.getpid()
        self.lock = threading.Lock()
        self.arrays: dict[str, np.ndarray] = {}
        try:
            self.file = open(path, "rb")
        except OSError as error:
            raise BadData(f"{path} cannot be read: {error.strerror}.") from None
        self.close = weakref.finalize(self, self.file.close)
        self._read_contents()

    def _read_contents(self) -> None:
        try:
            with zipfile.ZipFile(self.file) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, struct.error):
            raise BadData(f"{self.path} is no clip: not a zip file, or cut off; prepare it again.") from None
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise BadData(f"{self.path} is compressed; clips are stored (zip -0), so that they can be read anywhere.")
        self.others = {info.filename: _Member(info.header_offset, info.file_size, info.CRC) for info in infos}
        count = sum(name.startswith("frames/") and name.endswith(".jpg") for name in self.others)
        wanted = [_frame_name(index) for index in range(count)]
        required = ["wave.wav", "landmarks.npy", "boxes.npy", "clip.json"]
        if missing := [name for name in [*wanted, *required] if name not in self.others]:
            raise BadData(f"{self.path} is no clip: it has no {missing[0]}; prepare it again.")
        self.frames = [self.others.pop(name) for name in wanted]
        sound = self.others["wave.wav"]
        if not count or self.read(sound, 0, _WAVE_HEADER) != _wave_header(max(0, sound.size - _WAVE_HEADER) // 2):
            raise BadData(f"{self.path} is no clip: it needs frames and 16 bit mono sound at {SAMPLE_RATE} Hz.")
        try:
            self.about = json.loads(self.read_whole(self.others["clip.json"]))
            version, *_ = (int(self.about[key]) for key in ("format", "width", "height"))
        except (ValueError, KeyError, TypeError):
            raise BadData(f"{self.path} is no clip: its clip.json lacks format, width or height.") from None
        if version != FORMAT:
            raise BadData(f"{self.path} is in format {version}, this fctfg reads {FORMAT}; prepare it again.")

    def read(self, member: _Member, start: int, num: int) -> bytes:
        """`num` bytes from `start` of a member."""
        try:
            with self.lock:
                self.file.seek(member.offset)
                signature, name, extra = _LOCAL_HEADER.unpack(self.file.read(_LOCAL_HEADER.size))
                self.file.seek(member.offset + _LOCAL_HEADER.size + name + extra + start)
                content = self.file.read(num)
        except (OSError, ValueError, struct.error) as error:
            raise BadData(f"{self.path} cannot be read: {error}.") from None
        if signature != b"PK\x03\x04" or len(content) < num or num < 0:
            raise BadData(f"{self.path} is damaged or cut off; prepare it again.")
        return content

    def read_whole(self, member: _Member) -> bytes:
        """A member that is what its checksum says."""
        content = self.read(member, 0, member.size)
        if zlib.crc32(content) != member.crc:
            raise BadData(f"{self.path} is damaged: its checksums do not agree; prepare it again.")
        return content

    def array(self, name: str, row: tuple[int, ...]) -> np.ndarray:
        """A whole `.npy` member with one row of shape `row` per frame, read once."""
        if name not in self.arrays:
            try:
                content = io.BytesIO(self.read_whole(self.others[name]))
                array = np.load(content, allow_pickle=False)
            except (ValueError, OSError, EOFError):
                raise BadData(f"{self.path}: {name} is no array; prepare it again.") from None
            if array.shape != (len(self.frames), *row) or array.dtype.kind != "f":
                raise BadData(f"{self.path}: {name} is {array.shape}, expected {(len(self.frames), *row)}.")
            self.arrays[name] = array.astype(np.float32, copy=False)
        return self.arrays[name]


def encode_jpeg(frame: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 RGB as JPEG with full colour resolution: lips are red against skin."""
    encoded = io.BytesIO()
    Image.fromarray(frame).save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()


def decode_jpeg(encoded: bytes, size: int | None = None) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB, brought to `size` squared, antialiased, where it differs."""
    image = Image.open(io.BytesIO(encoded), formats=("JPEG",))
    if size is not None and image.size != (size, size):
        image.draft("RGB", (size, size))  # decodes at 1/2, 1/4 or 1/8 where that is still large enough
        image = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _frame_name(index: int) -> str:
    return f"frames/{index:06}.jpg"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # The date and the system are those of no run, so that equal clips are equal files.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    archive.writestr(info, content)


def _checked(what: str, values, shape: tuple[int | None, ...]) -> np.ndarray:
    """`values` as finite float32 of `shape`, where None is any length."""
    array = np.asarray(values, np.float32)
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape)):
        raise ValueError(f"{what} is {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} has values that are not finite")
    return array


def _checked_units(values, count: int) -> np.ndarray:
    """Action units of `count` frames, which may be NaN."""
    array = np.asarray(values, np.float32)
    _checked("action_units", np.nan_to_num(array, nan=0.0, posinf=np.inf), (count, len(NAMES)))
    if (outside := (array < 0) | (array > 1)).any():
        raise ValueError(f"action_units has {outside.sum()} values outside [0, 1]")
    return array


def _to_npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _to_pcm(wave: np.ndarray) -> bytes:
    return np.clip(np.round(wave * 32768), -32768, 32767).astype("<i2").tobytes()


def _wave_header(num: int) -> bytes:
    """The 44 bytes before `num` samples of 16 bit mono sound."""
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 2 * num, b"WAVE", b"fmt ", 16, 1, 1,
                       SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16, b"data", 2 * num)
