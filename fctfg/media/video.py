"""Reading videos: upright RGB frames at a constant rate, streamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from math import ceil

import numpy as np

from .container import Clock, decoded, open_media, probe_video, square_size, turn, video_stream

# FFmpeg's numbers, which PyAV takes as they are.
FULL_RANGE, LIMITED_RANGE = 2, 1
BT709, BT601, OTHER_MATRICES = 1, 5, {4, 6, 7, 9, 10}
POINT, BICUBIC, FULL_CHROMA, ACCURATE = 0x10, 0x4, 0x2000, 0x40000

INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Formats that tell exactly where each key frame is, and when it is shown."""


def read_video(path: str | os.PathLike, frame_rate: Fraction | None = None, start: int = 0) -> VideoFrames:
    """The frames (H, W, 3) uint8 RGB of a video, upright, at a constant rate, one after the other.

    With `frame_rate`, frame k is what is on screen k / frame_rate seconds after the first frame appeared. Without, the
    file's own rate is kept: regular frames come out one for one, varying ones each at the nearest moment. Either way
    there are round(duration * rate) of them. The first `start` are left out, and as far as possible not decoded.

    Raises:
        BadMedia: it is missing, empty, damaged, or not a video but a picture, a sound, a text.
    """
    return VideoFrames(path, frame_rate, start)


class VideoFrames(Iterator[np.ndarray]):
    """The frames that `read_video` yields. Each is the caller's own to draw on."""

    def __init__(self, path: str | os.PathLike, frame_rate: Fraction | None = None, start: int = 0):
        self.path = path
        self.start = start
        self.info = probe_video(path)
        self.frame_rate = self.info.frame_rate if frame_rate is None else Fraction(frame_rate).limit_denominator(1001)
        self.problem: str | None = None
        """What went wrong while reading, in one sentence; what could be decoded was yielded all the same."""
        self._frames = self._read()

    def __next__(self) -> np.ndarray:
        return next(self._frames)

    def close(self) -> None:
        """Let go of the file before the end is reached."""
        self._frames.close()

    def _read(self) -> Iterator[np.ndarray]:
        rate = float(self.frame_rate)
        # Time stamps are rounded, to a millisecond in some containers. At the file's own rate, a frame that comes
        # somewhat late is still the one that belongs there.
        slack = 0.5 / rate if self.frame_rate == self.info.frame_rate else 1e-3
        with open_media(self.path) as container:
            stream = video_stream(container)
            stream.thread_type = "AUTO"
            if self.start and container.format.name in INDEXED:
                # The key frame before it; what comes out until `start` is passed over.
                moment = self.info.start + self.start / rate - 2 * slack
                container.seek(int(moment / stream.time_base), stream=stream)
            paint, held, place, end = Painter(stream), None, self.start, 0.0
            for frame, begin, end in self._timed(container, stream):
                if held is not None:
                    following = max(place, ceil((begin - slack) * rate))
                    yield from _repeated(paint, held, following - place)
                    place = following
                held = frame
            if held is not None:
                yield from _repeated(paint, held, max(1, round(end * rate)) - place)

    def _timed(self, container, stream) -> Iterator[tuple]:
        """Decoded frames, when each begins, and when it ends if none follows."""
        usual = 1 / float(self.info.frame_rate)
        clock, lost = Clock(self.info.start, self.info.duration), 0
        for frame in decoded(container, stream):
            if frame is None:
                lost += 1
                continue
            # Only where frames vary does the stated length of the last one say something.
            stated = 0 if self.info.constant_rate else frame.duration * float(frame.time_base)
            begin = clock.time(frame.time, usual)
            yield frame, begin, begin + (stated or usual)
        if clock.now < self.info.duration - max(0.5, 0.02 * self.info.duration):
            stated = f"{self.info.duration:.2f} seconds"
            self.problem = f"{self.path} ends after {clock.now:.2f} of {stated}; it was cut short."
        elif lost:
            self.problem = f"{self.path} is damaged: {lost} of its pieces could not be decoded."


def _repeated(paint: Painter, frame, times: int) -> Iterator[np.ndarray]:
    """The frame as RGB, `times` times, each an array of its own."""
    if times > 0:
        picture = paint(frame)
        for _ in range(times - 1):
            yield picture.copy()
        yield picture


class Painter:
    """Turns decoded frames of one stream into RGB: (H, W, 3) uint8, upright, square pixels, exact to rounding.

    Where pixels share their colour they all get it, as `VideoWriter` takes it from all of them: what is read and
    written unchanged keeps its colours.
    """

    def __init__(self, stream):
        from av.video.reformatter import VideoReformatter

        self._stream = stream
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._filters = ""
        self._graph = self._fits = None

    def __call__(self, frame) -> np.ndarray:
        if self._size is None:
            # What the first frame is, all are: a stream that changes its size in the middle is scaled to it.
            degrees, self._filters = turn(frame)
            size = square_size(self._stream, frame)
            self._size = size[::-1] if degrees in (90, 270) else size
        frame = self._upright(frame)
        scaled = (frame.width, frame.height) != self._size
        matrix = _matrix(frame)
        rgb = self._reformatter.reformat(
            frame, *self._size, format="rgb24", src_colorspace=matrix, src_color_range=_range(frame),
            # RGB has no matrix, but PyAV before 17 passes nothing on where both are the same.
            dst_colorspace=BT601 if matrix == BT709 else BT709, dst_color_range=FULL_RANGE,
            # FFmpeg's fast way is off by up to three levels, and darker on the whole.
            interpolation=(BICUBIC if scaled else POINT) | FULL_CHROMA | ACCURATE)
        return rgb.to_ndarray()

    def _upright(self, frame):
        """Turned before it becomes RGB, which is twenty times faster than after."""
        import av

        kind = (frame.width, frame.height, frame.format.name)
        if kind != self._fits:
            self._graph, self._fits = av.filter.Graph(), kind
            last = self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format,
                                          time_base=Fraction(1, 1000))
            for step in filter(None, ["setparams=chroma_location=center", *self._filters.split(","), "buffersink"]):
                name, _, options = step.partition("=")
                before, last = last, self._graph.add(name, options or None)
                before.link_to(last)
            self._graph.configure()
        self._graph.push(frame)
        upright = self._graph.pull()
        upright.colorspace, upright.color_range = frame.colorspace, frame.color_range
        return upright


def _matrix(frame) -> int:
    """How brightness and colour were taken apart. Where the file does not say, it is BT.709 for large pictures."""
    if frame.colorspace in {BT709, BT601, *OTHER_MATRICES}:
        return frame.colorspace
    return BT709 if max(frame.width, frame.height) > 1024 else BT601


def _range(frame) -> int:
    if frame.color_range in (LIMITED_RANGE, FULL_RANGE):
        return frame.color_range
    return FULL_RANGE if frame.format.is_rgb or frame.format.name.startswith(("yuvj", "gray")) else LIMITED_RANGE
