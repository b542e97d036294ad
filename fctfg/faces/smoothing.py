"""Landmarks without jitter and without lag."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .profiles import STILL

POSE_REACH = 4
"""Frames on either side that say where the head is."""
SHAPE_REACH = 2
"""Frames on either side that say what the face looks like; the mouth, which is quick, is left as it is."""
MOUTH = slice(48, 68)


def smooth(landmarks: np.ndarray, at: int) -> np.ndarray:
    """Frame `at` of `landmarks` (n, 68, 2), smoothed by its neighbours: (68, 2).

    The head's place, size and turn are smoothed by more frames than the expression. The filter is a parabola fitted by
    least squares to the frames around (Savitzky and Golay, 1964), which delays nothing; at the ends it sees one side.
    """
    first = max(0, at - POSE_REACH)
    window, at = landmarks[first:at + POSE_REACH + 1], at - first
    points = window[..., 0] + 1j * window[..., 1]
    middles = points[:, STILL].mean(1)
    shape = points[at] - middles[at]

    # Similarities as complex factors: frame t lies where factors[t] * shape + middles[t] says, but for its expression.
    still = shape[STILL]
    factors = (points[:, STILL] - middles[:, None]) @ still.conj() / max(np.vdot(still, still).real, 1e-9)
    factors = np.where(np.abs(factors) > 1e-3, factors, 1)
    shapes = (points - middles[:, None]) / factors[:, None]

    near = slice(max(0, at - SHAPE_REACH), at + SHAPE_REACH + 1)
    smoothed = np.tensordot(_weights(len(shapes[near]), at - near.start), shapes[near], 1)
    smoothed[MOUTH] = shape[MOUTH]
    pose = _weights(len(window), at)
    placed = (pose @ factors) * smoothed + pose @ middles
    return np.stack([placed.real, placed.imag], axis=-1)


@lru_cache(maxsize=None)
def _weights(count: int, at: int) -> np.ndarray:
    """What each of `count` samples adds to the value at `at` of the parabola fitted to them."""
    powers = np.vander(np.arange(count) - float(at), min(count, 3), increasing=True)
    return np.linalg.pinv(powers)[0]
