"""Where a video cuts from one shot to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from PIL import Image

AHEAD = 3
"""Frames held back, and compared with on either side."""
LEAST = 11.0  # grey levels by which a cut changes the picture
RATIO = 3.5  # how many times more than the frames around it do
NOISE = 1.0  # grey levels that change anyway
BACK = 0.5  # of the change: where the picture soon differs by less from what it was before, it has come back


def number_shots(frames: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Each of `frames` (H, W, 3) uint8 with the number of its shot, from 0; `AHEAD` frames are held back.

    A cut changes the picture far more than the frames before and after it change theirs, and for good. A moving camera
    or hand changes several frames in a row, and after a flash the picture is as before; fades are not cuts.
    """
    held: deque[np.ndarray] = deque()
    around: deque[np.ndarray] = deque(maxlen=2 * AHEAD + 1)  # thumbnails of the oldest frame held and those about it
    changes: deque[float] = deque(maxlen=2 * AHEAD + 1)  # of each from the one before
    shot = 0
    for frame in frames:
        small = _thumbnail(frame)
        changes.append(_change(around[-1], small) if around else 0.0)
        around.append(small)
        held.append(frame)
        if len(held) > AHEAD:
            shot += _is_cut(around, changes, len(around) - 1 - AHEAD)
            yield shot, held.popleft()
    while held:
        shot += _is_cut(around, changes, len(around) - len(held))
        yield shot, held.popleft()


def _is_cut(around: deque[np.ndarray], changes: deque[float], at: int) -> bool:
    others = [change for place, change in enumerate(changes) if place != at]
    usual = sum(others) / max(len(others), 1)
    if changes[at] <= max(LEAST, RATIO * (usual + NOISE)):
        return False
    before, after = islice(around, max(0, at - AHEAD), at), list(islice(around, at, at + AHEAD + 1))
    return min(_change(one, other) for one in before for other in after) > BACK * changes[at]


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """The mean difference in grey levels."""
    return float(np.abs(after - before).mean()) if before.shape == after.shape else 255.0


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """About 48 pixels on the shorter side, float32: every n-th pixel, then blocks of 3x3 averaged against noise."""
    step = max(1, min(frame.shape[:2]) // 144)
    sparse = Image.fromarray(np.ascontiguousarray(frame[::step, ::step]))
    return np.asarray(sparse.reduce(3), np.float32)
