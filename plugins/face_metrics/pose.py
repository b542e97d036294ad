"""How the head is held and moves, from landmarks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from fctfg.data.heads import Look, Pose, Shape
from fctfg.errors import CannotMeasure
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import NO_FACE, demand

RIGID = (36, 39, 42, 45, *range(27, 36))
"""Of the iBUG points: the corners of the eyes and the nose, which neither speech nor the brows move."""
HEADS = 64
ANGLES = ("yaw", "pitch", "roll")
LEAST = 5
"""Frames that a spread is taken of, at the least."""


class HeadPoseMetric(Metric):
    """How much the head moves, and how far its pose is from the reference's.

    As the diversity of head motion in Zhang et al., "SadTalker", 2023, arXiv:2211.12194, who take the spread of a
    network's features; here it is that of three angles, from the corners of the eyes and the nose under a scaled
    orthographic camera. Their places in space are the mean of 64 drawn heads. Angles are read from each frame alone.
    """

    paper = ("Zhang et al., SadTalker: Learning Realistic 3D Motion Coefficients for Stylized Audio-Driven Single "
             "Image Talking Face Animation, 2023, arXiv:2211.12194")
    quantities = (
        *(Quantity(f"{angle}-std", "near the reference", 0, 180, "degrees", f"The standard deviation of {about}.")
          for angle, about in zip(ANGLES, ("turning to the side", "nodding", "tilting to a shoulder"))),
        Quantity("head-speed", "near the reference", 0, float("inf"), "degrees/s", "How fast it turns, in the mean. "
                 "Landmarks alone tremble by some degrees a second."),
        Quantity("pose-error", "lower", 0, 180, "degrees", "The angle between the head and the reference's, less the "
                 "film's mean of it, since faces differ from the model. Only beside a reference."))
    blindness = ("Faces differ from the model by some degrees, so that angles are compared within one person only. "
                 "Shaking counts as motion; whether it goes with the speech is not seen. Beyond 40 degrees to the "
                 "side, landmarks are guesses.")
    needs = frozenset({"face"})

    @property
    def protocol(self) -> str:
        return f"{len(RIGID)} of 68 iBUG points, mean of {HEADS} drawn heads, scaled orthography, every frame"

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        return _PoseMeasurement(film)


class _PoseMeasurement(Measurement):
    """Keeps three angles a frame, of both films."""

    def __init__(self, film: Film):
        self.film = film
        self._own: list[np.ndarray] = []
        self._true: list[np.ndarray] = []

    def see(self, moments: Moments) -> None:
        self._own.append(rotations(moments.landmarks))
        if moments.reference is not None:
            self._true.append(rotations(moments.reference.landmarks))

    def score(self) -> Score:
        turns = np.concatenate(self._own) if self._own else np.empty((0, 3, 3))
        seen = np.isfinite(turns).all((1, 2))
        if seen.sum() < LEAST:
            raise CannotMeasure(NO_FACE if not seen.any() else f"the face is seen in {seen.sum()} frames only")
        held = angles(turns)
        values = {f"{name}-std": float(std) for name, std in zip(ANGLES, np.nanstd(held, 0))}
        steps = between(turns[1:], turns[:-1]) * float(self.film.frame_rate)
        if np.isfinite(steps).any():
            values["head-speed"] = float(np.nanmean(steps))
        if self._true and (error := _error(turns, np.concatenate(self._true))) is not None:
            values["pose-error"] = error
        return Score(values, {name: held[:, place].astype(np.float32) for place, name in enumerate(ANGLES)})


def _error(turns: np.ndarray, true: np.ndarray) -> float | None:
    """The mean angle in degrees between two films' heads, but for what is always between them."""
    away = turns @ true.transpose(0, 2, 1)
    known = np.isfinite(away).all((1, 2))
    if not known.any():
        return None
    left, _, right = np.linalg.svd(away[known].mean(0))
    mean = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right  # the rotation nearest to all of them
    return float(between(away[known], np.broadcast_to(mean, away[known].shape)).mean())


def rotations(landmarks: np.ndarray) -> np.ndarray:
    """How heads with `landmarks` (T, 68, 2) are turned: rotations (T, 3, 3) of one that looks at us; NaN unseen."""
    turns = np.full((len(landmarks), 3, 3), np.nan)
    seen = np.isfinite(landmarks).all((1, 2))
    points = landmarks[seen][:, RIGID].astype(np.float64)
    if not len(points):
        return turns
    solve = _model()
    away = points - points.mean(1, keepdims=True)
    affine = away.transpose(0, 2, 1) @ solve  # (T, 2, 3): scaled rows of the rotation
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    rows = left @ right  # the nearest pair of rows that are square to each other and of one length
    turns[seen] = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], 1)
    return turns


@lru_cache(maxsize=1)
def _model() -> np.ndarray:
    """What solves for the rotation: the pseudo-inverse (n, 3) of the rigid points, x right, y down, z away from us."""
    rng = np.random.default_rng(0)
    shapes = [Shape(Look.of(rng), Pose()).landmarks for _ in range(HEADS)]
    points = np.mean(shapes, 0)[list(RIGID)] * (1, 1, -1)  # right-handed, so that rotations are
    return np.linalg.pinv(points - points.mean(0)).T


def angles(turns: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (T, 3) in degrees: to the right of the picture, downwards, clockwise as we see it."""
    yaw = np.arcsin(np.clip(-turns[:, 2, 0], -1, 1))
    pitch = np.arctan2(turns[:, 2, 1], turns[:, 2, 2])
    roll = np.arctan2(turns[:, 1, 0], turns[:, 0, 0])
    return np.degrees(np.stack([-yaw, pitch, roll], -1))


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(T,): the angles in degrees between rotations (T, 3, 3)."""
    trace = np.einsum("tij,tij->t", a, b)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
