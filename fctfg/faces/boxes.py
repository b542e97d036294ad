"""Boxes about faces, steady since they are computed from points; all are left, top, right, bottom in pixels."""

from __future__ import annotations

import numpy as np

from .profiles import Measures

EDGES = np.array([-1.24, -0.74, 1.24, 1.74])
"""Of the square about brows, jaw and chin that dlib's HOG detector draws: from between the eyes, in their distances."""
SPREAD = 0.66
"""How far eyes, nose and corners of the mouth spread, in distances between the eyes: the median of real faces."""


def square(landmarks: np.ndarray) -> np.ndarray:
    """The box (4,) of a face with these `landmarks` (68, 2): as dlib's HOG detector draws it, but steady."""
    measures = Measures.of(landmarks[None])
    return np.tile(measures.middle[0], 2) + EDGES * measures.unit[0]


def square_of_five(points: np.ndarray) -> np.ndarray:
    """The same, from five points (5, 2): eyes, tip of the nose, corners of the mouth, the right ones first."""
    away = points - points.mean(0)
    unit = max(np.sqrt(np.square(away).sum(-1).mean()), 1e-6) / SPREAD
    return np.tile(points[:2].mean(0), 2) + EDGES * unit


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """The part of the smaller of two boxes that lies in the other."""
    common = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return float(common / max(min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod()), 1e-9))


def five_of(landmarks: np.ndarray) -> np.ndarray:
    """The five points (5, 2) among `landmarks` (68, 2)."""
    return np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]])


def usual_place(box: np.ndarray) -> np.ndarray:
    """Where the 68 points (68, 2) of a face in `box` are, as a rule: those of a drawn face that looks ahead."""
    from ..data.heads import Look, Pose, Shape

    drawn = Shape(Look.of(np.random.default_rng(0)), Pose()).landmarks[:, :2]
    around = square(drawn)
    return (drawn - around[:2]) / (around[2:] - around[:2]) * (box[2:] - box[:2]) + box[:2]
