"""Faces cut out as joonson/syncnet_python does, step by step, from the landmarks of the face that is followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from fctfg.faces import find_profile
from fctfg.interfaces import Moments
from fctfg_plugins.syncnet.network import SIZE

CROP_SCALE = 0.4
"""Of the box's half side, that the crop is larger on each side; and twice that below."""
MEDIAN = 13
"""Frames over which the place and the size of the box are smoothed."""
GREY = 110
"""What lies outside the frame."""
SAME = 0.5
"""The overlap of the boxes of two frames, intersection over union, from which on a track goes on."""


class Box(NamedTuple):
    """The square that a detector draws about a face, in pixels."""

    half: float
    x: float
    y: float

    def overlap(self, other: Box) -> float:
        """Intersection over union."""
        across, down = (max(0.0, self.half + other.half - max(abs(a - b), abs(self.half - other.half)))
                        for a, b in ((self.x, other.x), (self.y, other.y)))
        shared = across * down
        return shared / (4 * self.half**2 + 4 * other.half**2 - shared)


NOTHING = Box(0.0, 0.0, 0.0)


def boxes(landmarks: np.ndarray) -> list[Box]:
    """Where S3FD would draw boxes about faces (T, 68, 2): the crop profile `syncnet`, less its margin."""
    matrices = find_profile("syncnet").matrices(landmarks)
    halves = matrices[:, 0, 0] / (2 * (1 + CROP_SCALE))
    return [Box(float(half), float(left + (1 + CROP_SCALE) * half), float(top + half))
            for half, (left, top) in zip(halves, matrices[:, :, 2])]


class Track:
    """Frames one after the other that show the face in about the same place.

    Args:
        first: the number of the first of them.
        sink: takes their faces (224, 224, 3) uint8 RGB, six frames late.
    """

    def __init__(self, first: int, sink: Callable[[np.ndarray], None]):
        self.first, self.length = first, 0
        self._sink = sink
        self._last: Box | None = None
        self._sides = 0.0
        self._frames: deque[np.ndarray] = deque()
        self._around = deque([NOTHING] * (MEDIAN // 2), maxlen=MEDIAN)  # the boxes about the oldest of these frames

    @property
    def side(self) -> float:
        """The mean height and width of its boxes, in pixels."""
        return self._sides / self.length

    def takes(self, box: Box) -> bool:
        """Whether a face at `box` in the next frame is of this track."""
        return self._last is None or self._last.overlap(box) > SAME

    def add(self, frame: np.ndarray, box: Box) -> None:
        """The next frame (H, W, 3) uint8."""
        self._frames.append(frame)
        self._last = box
        self._sides += 2 * box.half
        self.length += 1
        self._push(box)

    def finish(self) -> None:
        """Cut the last frames, whose medians take in zeros beyond the end, as scipy.signal.medfilt has it."""
        for _ in range(MEDIAN // 2):
            self._push(NOTHING)

    def _push(self, box: Box) -> None:
        self._around.append(box)
        if len(self._around) == MEDIAN and self._frames:
            self._sink(cut(self._frames.popleft(), Box(*np.median(self._around, 0))))


def cut(frame: np.ndarray, box: Box) -> np.ndarray:
    """The face (224, 224, 3) uint8 in `frame` (H, W, 3) uint8, with CROP_SCALE about `box`, grey outside the frame."""
    margin = int(box.half * (1 + 2 * CROP_SCALE))
    y, x, half = box.y + margin, box.x + margin, box.half
    top, bottom = int(y - half), int(y + half * (1 + 2 * CROP_SCALE))
    left, right = int(x - half * (1 + CROP_SCALE)), int(x + half * (1 + CROP_SCALE))
    part = np.full((max(1, bottom - top), max(1, right - left), 3), GREY, np.uint8)
    height, width = frame.shape[:2]
    inside = [slice(max(0, low - margin), max(0, min(high - margin, most)))
              for low, high, most in ((top, bottom, height), (left, right, width))]
    seen = frame[inside[0], inside[1]]
    row, column = inside[0].start - (top - margin), inside[1].start - (left - margin)
    part[row:row + seen.shape[0], column:column + seen.shape[1]] = seen
    return resized(part)


def resized(picture: np.ndarray) -> np.ndarray:
    """`picture` (h, w, 3) uint8 at 224 px, bilinear between four pixels whatever the size, as cv2.resize has it."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    found = F.interpolate(pixels, (SIZE, SIZE), mode="bilinear", align_corners=False)
    return found[0].permute(1, 2, 0).round().byte().numpy()


def seen_boxes(moments: Moments) -> Iterator[tuple[int, np.ndarray, Box | None]]:
    """The number of each frame, the frame, and the box of its face where it is seen."""
    seen = np.isfinite(moments.landmarks).all((1, 2))
    found = iter(boxes(moments.landmarks[seen]) if seen.any() else ())
    for place, frame in enumerate(moments.frames):
        yield moments.first + place, frame, next(found) if seen[place] else None
