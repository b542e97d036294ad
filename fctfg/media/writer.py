"""Writing videos: H.264 with the sound of another file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import BadMedia
from .container import Clock
from .files import NewFile
from .sound import Sound
from .video import BT601, BT709, FULL_RANGE, LIMITED_RANGE

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov"}

# The tags that every player knows; others make FFmpeg write all of them in a newer way that fewer programs read.
KNOWN_TAGS = {"album", "artist", "comment", "composer", "copyright", "date", "description", "encoder", "genre", "title"}

AREA = 0x20  # FFmpeg's number for averaging, which takes four pixels' colour to one exactly

AAC_RATES = (7350, 8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


class VideoWriter:
    """A video being written, frame by frame: H.264 yuv420p that starts playing before it is loaded.

        with VideoWriter("out.mp4", 640, 360, Fraction(30000, 1001), sound="speech.wav") as writer:
            writer.write(frame)

    The file appears when the block is left; an exception leaves nothing behind. An odd width or height gets one more
    column or row, a copy of the last. Frame k is shown at exactly k / frame_rate.

    `sound` is a sound file or a video: its sound from the moment of its first frame on, at its own sample rate and
    channels. AAC is copied as it is, everything else becomes AAC. It is cut after `duration` seconds, or where the
    frames end. `metadata` are tags that `probe_video` reads back. A lower `crf` is a better picture; 18 looks like the
    source.

    Raises:
        BadMedia: the name or its folder will not do, the disk is full, or `sound` has no sound.
    """

    def __init__(self, path: str | os.PathLike, width: int, height: int, frame_rate: Fraction,
                 sound: str | os.PathLike | None = None, duration: float | None = None,
                 metadata: Mapping[str, str] | None = None, crf: int = 18, preset: str = "veryfast"):
        path = Path(path)
        if path.suffix.lower() not in FORMATS:
            raise BadMedia(f"{path} cannot be written: videos are written as {', '.join(FORMATS)}.")
        self.width, self.height = width, height
        self.frame_rate = Fraction(frame_rate).limit_denominator(1001)
        self.duration = duration
        self.num_frames = 0
        self._sound = None if sound is None else Sound(sound)
        self._file = self._container = self._track = None
        try:
            self._file = NewFile(path)
            self._open(FORMATS[path.suffix.lower()], dict(metadata or {}), {"crf": str(crf), "preset": preset})
        except BaseException:
            self.discard()
            raise

    def _open(self, container_format: str, metadata: dict[str, str], options: dict[str, str]) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        flags = "+faststart" if metadata.keys() <= KNOWN_TAGS else "+faststart+use_metadata_tags"
        # A finer clock than milliseconds keeps the sound's beginning where it was.
        self._container = av.open(f"file:{self._file.temporary}", "w", format=container_format,
                                  container_options={"movflags": flags, "movie_timescale": "90000"})
        self._container.metadata.update(metadata)
        self._video = self._container.add_stream("libx264", rate=self.frame_rate, options=options)
        self._video.width, self._video.height = self.width + self.width % 2, self.height + self.height % 2
        self._video.pix_fmt = "yuv420p"
        self._video.thread_type = "FRAME"
        self._video.codec_context.gop_size = max(1, round(2 * self.frame_rate))
        # Large pictures are BT.709 and small ones BT.601 where a player does not look; the tag tells those that do.
        self._matrix = BT709 if max(self.width, self.height) > 1024 else BT601
        context = self._video.codec_context
        context.colorspace, context.color_range = self._matrix, LIMITED_RANGE
        context.color_primaries = context.color_trc = 1  # BT.709, as sRGB screens
        self._reformatter = VideoReformatter()
        if self._sound is not None:
            copied = self._sound.stream.codec_context.name == "aac"
            self._track = (CopiedSound if copied else EncodedSound)(self._sound, self._container)

    def write(self, frame: np.ndarray) -> None:
        """Append one frame (height, width, 3) uint8 RGB."""
        import av

        if self._container is None:
            raise ValueError(f"{self._file.path} is finished; no frame can be added")
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            wanted = f"({self.height}, {self.width}, 3) uint8"
            raise ValueError(f"the video takes frames {wanted}, not {frame.shape} {frame.dtype}")
        if self.height % 2 or self.width % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, "rgb24"), format="yuv420p", dst_colorspace=self._matrix,
            src_color_range=FULL_RANGE, dst_color_range=LIMITED_RANGE, interpolation=AREA)
        picture.pts, picture.time_base = self.num_frames, 1 / self.frame_rate
        self._mux(self._video.encode(picture))
        self.num_frames += 1
        self._add_sound(self.num_frames / float(self.frame_rate))

    def _add_sound(self, until: float) -> None:
        """Sound goes in beside the frames, so that neither waits in memory for the other."""
        if self._track is not None:
            self._mux(self._track.until(until if self.duration is None else min(until, self.duration)))

    def _mux(self, packets) -> None:
        with self._file.refusing():
            for packet in packets:
                self._container.mux(packet)

    def close(self) -> None:
        """Write what is left and give the file its name."""
        if self._container is None:
            return
        try:
            if not self.num_frames:
                raise BadMedia(f"{self._file.path} cannot be written: it has no frames.")
            if self._track is not None:
                length = self.num_frames / float(self.frame_rate)
                self._mux(self._track.until(length if self.duration is None else self.duration))
                self._mux(self._track.end())
            self._mux(self._video.encode(None))
            with self._file.refusing():
                self._release()
        except BaseException:
            self.discard()
            raise
        self._file.keep()

    def discard(self) -> None:
        """Stop, and remove what was written."""
        try:
            self._release()
        except Exception:  # half a video need not be finished
            pass
        if self._file is not None:
            self._file.discard()

    def _release(self) -> None:
        """Let go of the files; the container writes its index."""
        container, self._container = self._container, None
        try:
            if container is not None:
                container.close()
        finally:
            if self._sound is not None:
                self._sound.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


class CopiedSound:
    """AAC packets from a file, put into another on the clock of its frames."""

    def __init__(self, sound: Sound, container):
        self._sound = sound
        self._stream = container.add_stream_from_template(sound.stream)
        self._packets = self._timed()
        self._next = next(self._packets, None)

    def until(self, seconds: float) -> Iterator:
        """The packets, not given before, that begin before that moment."""
        while self._next is not None and self._next[0] < seconds:
            yield self._next[1]
            self._next = next(self._packets, None)

    def end(self) -> Iterator:
        """Nothing: packets wait for no others."""
        return iter(())

    def _timed(self) -> Iterator[tuple]:
        import av

        base = self._sound.stream.time_base
        start = self._sound.start
        if start is None and self._sound.stream.start_time is not None:
            start = float(self._sound.stream.start_time * base)
        clock, last = Clock(start, self._sound.length), None
        packets = self._sound.container.demux(self._sound.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):  # the end, or where a damaged file ends
                return
            if not packet.size:
                continue
            lasts = float((packet.duration or 0) * base)
            begin = clock.time(None if packet.pts is None else float(packet.pts * base), lasts)
            # AAC unfolds from two packets: the one before the start is needed, those before it are not.
            if begin + 2 * lasts <= 0:
                continue
            ticks = round(begin / base)
            if last is None or ticks > last:
                packet.pts = packet.dts = last = ticks
                packet.stream = self._stream
                yield begin, packet


class EncodedSound:
    """Sound of any kind as AAC, at its own rate or the next that AAC knows, in its own channels or stereo."""

    def __init__(self, sound: Sound, container):
        context = sound.stream.codec_context
        self._rate = next((rate for rate in AAC_RATES if rate >= context.sample_rate), AAC_RATES[-1])
        self._layout = LAYOUTS.get(context.channels, "stereo")
        self._stream = container.add_stream("aac", rate=self._rate, layout=self._layout)
        self._stream.bit_rate = min(128_000, 5 * self._rate) * min(context.channels, 2)
        self._pieces = sound.pieces(self._rate, self._layout)
        self._left = np.zeros((1, 0), np.float32)
        self._given = 0

    def until(self, seconds: float) -> Iterator:
        """The packets that come out by encoding on to that moment."""
        import av

        while (wanted := round(seconds * self._rate) - self._given) > 0:
            if not self._left.size:
                self._left = next(self._pieces, None)
                if self._left is None:
                    self._left = np.zeros((1, 0), np.float32)
                    return
            samples, self._left = self._left[:, :wanted], self._left[:, wanted:]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", self._layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, self._given, Fraction(1, self._rate)
            self._given += samples.shape[1]
            yield from self._stream.encode(frame)

    def end(self) -> Iterator:
        """The packets still in the encoder."""
        yield from self._stream.encode(None)
