"""From tracked faces to stretches of a video: who speaks when, and what cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

NO_FACE = "no face"
SEVERAL_FACES = "several faces"
SMALL_FACE = "small face"
TOO_SHORT = "too short"

DOMINANT = 1.5  # how many times as high as any other face the speaker's must be
PER_FRAME = 4 + 2 * 68  # values that are kept of a face in a frame
BLIP = 5  # frames; what is seen for fewer is taken for an error of the detector


class Run:
    """One face, seen in every frame from `first` on.

    What is known of it grows in one piece: small arrays of each frame, kept among large ones that come and go, would
    leave holes in the memory too small for the next frame, and an hour of video would take tens of gigabytes.
    """

    def __init__(self, first: int, values: bytes = b""):
        self.first = first
        self._values = bytearray(values)

    def add(self, box: np.ndarray, landmarks: np.ndarray) -> None:
        """Add the next frame: box (4,) and landmarks (68, 2), in pixels of the video."""
        self._values += np.concatenate([box, landmarks.ravel()]).astype(np.float32).tobytes()

    @property
    def stop(self) -> int:
        return self.first + len(self._values) // (4 * PER_FRAME)

    @property
    def boxes(self) -> np.ndarray:
        """(T, 4) float32"""
        return np.frombuffer(bytes(self._values), np.float32).reshape(-1, PER_FRAME)[:, :4]

    @property
    def landmarks(self) -> np.ndarray:
        """(T, 68, 2) float32"""
        return np.frombuffer(bytes(self._values), np.float32).reshape(-1, PER_FRAME)[:, 4:].reshape(-1, 68, 2)

    @property
    def height(self) -> float:
        """Of the face, in pixels: the median over the run."""
        boxes = self.boxes
        return float(np.median(boxes[:, 3] - boxes[:, 1]))

    def cut(self, first: int, stop: int) -> Run:
        """The part of it in the frames from `first` up to `stop`."""
        start, end = (4 * PER_FRAME * (frame - self.first) for frame in (first, stop))
        return Run(first, self._values[start:end])


@dataclass(frozen=True)
class Stretch:
    """The frames from `first` up to `stop`: either one face to keep, or the reason to drop them."""

    first: int
    stop: int
    face: Run | None = None
    reason: str = ""


def choose(runs: Iterable[Run], count: int, *, min_frames: int, max_frames: int, min_face: float) -> list[Stretch]:
    """Divide the `count` frames of a video into stretches that cover it without a gap.

    Kept is a face that nobody in the picture rivals: the highest one, where it is `DOMINANT` times as high as the next.
    Of people side by side nobody knows who speaks, and a wrong guess teaches the wrong mouth: they are dropped.
    A long stretch is split evenly into clips of at most `max_frames`.
    """
    coming = sorted((run for run in runs if run.stop - run.first >= BLIP), key=lambda run: -run.first)
    heights = {id(run): run.height for run in coming}
    edges = sorted({0, count, *(run.first for run in coming), *(run.stop for run in coming)})
    stretches, present = [], []
    for start, end in pairwise(edges):
        present = [run for run in present if run.stop > start]
        while coming and coming[-1].first == start:
            present.append(coming.pop())
        highest = sorted(present, key=lambda run: -heights[id(run)])
        if not highest:
            stretches.append(Stretch(start, end, reason=NO_FACE))
        elif len(highest) > 1 and heights[id(highest[0])] < DOMINANT * heights[id(highest[1])]:
            stretches.append(Stretch(start, end, reason=SEVERAL_FACES))
        else:
            stretches.append(Stretch(start, end, highest[0]))
    return [part for stretch in join(stretches) for part in _judge(stretch, min_frames, max_frames, min_face)]


def join(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The same stretches, neighbours of one face or of one reason made one."""
    joined: list[Stretch] = []
    for stretch in stretches:
        last = joined[-1] if joined else None
        if last and last.stop == stretch.first and last.face is stretch.face and last.reason == stretch.reason:
            joined[-1] = replace(last, stop=stretch.stop)
        else:
            joined.append(stretch)
    return joined


def _judge(stretch: Stretch, min_frames: int, max_frames: int, min_face: float) -> list[Stretch]:
    if stretch.face is None:
        return [stretch]
    face = stretch.face.cut(stretch.first, stretch.stop)
    count = stretch.stop - stretch.first
    if count < min_frames:
        return [Stretch(stretch.first, stretch.stop, reason=TOO_SHORT)]
    if face.height < min_face:
        return [Stretch(stretch.first, stretch.stop, reason=SMALL_FACE)]
    parts = -(-count // max_frames)
    edges = [stretch.first + count * part // parts for part in range(parts + 1)]
    return [Stretch(start, end, face.cut(start, end)) for start, end in pairwise(edges)]
