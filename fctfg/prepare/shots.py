"""Where a video cuts from one shot to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

NEIGHBOURS = 3  # frames on either side that say how much this video changes anyway
LEAST = 12.0  # grey levels by which a frame must differ from the one before
RATIO = 3.5  # and how many times more than its neighbours do


def number_shots(frames: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Each frame (H, W, 3) uint8 with the number of its shot, from 0. Holds `NEIGHBOURS` frames, to look ahead.

    A frame begins a shot where it differs from the one before it far more than the frames around it differ from theirs:
    a hand or a moving camera changes many frames in a row, a cut only one. Fades are not cuts.
    """
    waiting: deque[np.ndarray] = deque()
    changes: deque[float] = deque(maxlen=2 * NEIGHBOURS + 1)  # of the frame in the middle and those around it
    shot, before = 0, None
    for frame in frames:
        thumbnail = _thumbnail(frame)
        changes.append(0.0 if before is None else float(np.abs(thumbnail - before).mean()))
        before = thumbnail
        waiting.append(frame)
        if len(waiting) > NEIGHBOURS:
            shot += _is_cut(changes, len(changes) - 1 - NEIGHBOURS)
            yield shot, waiting.popleft()
    while waiting:
        shot += _is_cut(changes, len(changes) - len(waiting))
        yield shot, waiting.popleft()


def _is_cut(changes: deque[float], middle: int) -> bool:
    around = [change for at, change in enumerate(changes) if at != middle]
    usual = sum(around) / max(len(around), 1) + 1  # a level of noise that no picture is under
    return changes[middle] > max(LEAST, RATIO * usual)


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """About 64 x 36 pixels, float32: every n-th pixel, then averaged in fours, which is enough and costs little."""
    step = max(1, min(frame.shape[0] // 144, frame.shape[1] // 256))
    sparse = frame[::step, ::step]
    block = 4 if min(sparse.shape[:2]) >= 4 else 1
    height, width = sparse.shape[0] // block, sparse.shape[1] // block
    blocks = sparse[: height * block, : width * block].reshape(height, block, width, block, 3)
    return blocks.mean((1, 3), dtype=np.float32)
