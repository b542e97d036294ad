"""Moving a video's sound against its picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import BadMedia
from .container import open_media, probe_video, video_stream
from .files import NewFile
from .sound import Sound
from .writer import FORMATS, EncodedSound

CONTAINERS = {**FORMATS, ".mkv": "matroska"}
WHOLE = 1e6
"""Seconds that no sound lasts."""


def shift_sound(path: str | os.PathLike, out: str | os.PathLike, seconds: float) -> None:
    """Write the video `path` to `out` with its sound played `seconds` later, or earlier where they are below 0.

    The picture is copied as it is, bit for bit, and the sound encoded anew as AAC at its own rate and channels. It
    keeps its length: what is moved beyond an end is cut, and silence comes in at the other.

    Raises:
        BadMedia: the video or its sound cannot be read, `out` cannot be written, or its kind of file cannot hold such
            pictures.
    """
    import av

    out = Path(out)
    if out.suffix.lower() not in CONTAINERS:
        raise BadMedia(f"{out} cannot be written: videos are written as {', '.join(CONTAINERS)}.")
    info = probe_video(path)
    if out.exists() and out.samefile(path):
        raise BadMedia(f"{out} would be written over, and it is an input; give another name.")
    with NewFile(out) as temporary, Sound(path) as sound, open_media(path) as video:
        stream = video_stream(video)
        with av.open(f"file:{temporary}", "w", format=CONTAINERS[out.suffix.lower()]) as container:
            container.metadata.update(info.metadata)
            try:
                picture = container.add_stream_from_template(stream)
                track = EncodedSound(_Shifted(sound, seconds), container)
                container.start_encoding()
            except (ValueError, av.FFmpegError):  # a codec that the container has no place for, by PyAV's word and FFmpeg's
                raise BadMedia(f"{out} cannot hold the picture of {path} as it is, {stream.codec_context.name}; give a "
                               "name that ends in .mkv.") from None
            start = round(info.start / stream.time_base)
            for packet in video.demux(stream):
                if not packet.size:
                    continue
                packet.stream = picture
                packet.pts = None if packet.pts is None else packet.pts - start
                packet.dts = None if packet.dts is None else packet.dts - start
                now = 0.0 if packet.pts is None else float(packet.pts * stream.time_base)
                container.mux(packet)
                container.mux(track.until(now))
            container.mux(track.until(WHOLE))
            container.mux(track.end())


class _Shifted:
    """A sound that is heard so many seconds later, and ends when it did."""

    def __init__(self, sound: Sound, seconds: float):
        self.sound, self.seconds = sound, seconds
        self.stream = sound.stream

    def pieces(self, sample_rate: int, layout: str) -> Iterator[np.ndarray]:
        """As `Sound.pieces`."""
        late = round(self.seconds * sample_rate)
        pieces = self.sound.pieces(sample_rate, layout)
        return _later(pieces, late) if late > 0 else _earlier(pieces, -late)


def _later(pieces: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    held = None
    for piece in pieces:
        held = np.concatenate([np.zeros((len(piece), samples), np.float32) if held is None else held, piece], 1)
        yield held[:, :-samples]
        held = held[:, -samples:]


def _earlier(pieces: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    cut = 0
    for piece in pieces:
        here = min(samples - cut, piece.shape[1])
        cut += here
        if here < piece.shape[1]:
            yield piece[:, here:]
    if cut:
        yield np.zeros((len(piece), cut), np.float32)
