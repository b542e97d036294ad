"""Where a video cuts from one shot to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

AHEAD = 3
"""Frames held back, and compared with on either side."""
LEAST = 11.0  # grey levels by which a cut changes the picture
RATIO = 3.5  # how many times more than the frames around it do
NOISE = 1.0  # grey levels that change anyway


def number_shots(frames: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Each of `frames` (H, W, 3) uint8 with the number of its shot, from 0; `AHEAD` frames are held back.

    A cut changes the picture far more than the frames before and after it change theirs. A moving camera or hand changes
    several in a row, a flash two; fades are not cuts.
    """
    held: deque[np.ndarray] = deque()
    changes: deque[float] = deque(maxlen=2 * AHEAD + 1)  # of the oldest frame held, those before it and those held after it
    shot, last = 0, None
    for frame in frames:
        small = _thumbnail(frame)
        changes.append(_change(last, small))
        last = small
        held.append(frame)
        if len(held) > AHEAD:
            shot += _is_cut(changes, len(changes) - 1 - AHEAD)
            yield shot, held.popleft()
    while held:
        shot += _is_cut(changes, len(changes) - len(held))
        yield shot, held.popleft()


def _is_cut(changes: deque[float], at: int) -> bool:
    around = [change for place, change in enumerate(changes) if place != at]
    usual = sum(around) / max(len(around), 1)
    return changes[at] > max(LEAST, RATIO * (usual + NOISE))


def _change(before: np.ndarray | None, after: np.ndarray) -> float:
    """The mean difference in grey levels; none where there is no frame before."""
    if before is None:
        return 0.0
    return float(np.abs(after - before).mean()) if before.shape == after.shape else 255.0


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """About 48 pixels on the shorter side, float32: every n-th pixel, then blocks of 3x3 averaged against noise."""
    step = max(1, min(frame.shape[:2]) // 144)
    sparse = Image.fromarray(np.ascontiguousarray(frame[::step, ::step]))
    return np.asarray(sparse.reduce(3), np.float32)
