"""How a face is cut out of a frame: crop profiles by name, so that training and inference can never disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import UnknownPlugin
from ..registry import suggest

JAW = slice(0, 17)
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # the person's own right
STILL = slice(17, 48)
"""Brows, nose and eyes: what speech hardly moves."""
SPREAD = 0.61
"""How far the still points spread, in distances between the eyes, on a face seen from the front."""


@dataclass(frozen=True)
class Measures:
    """The parts of faces that do not move when they speak; what crops are measured by."""

    middle: np.ndarray
    """(T, 2): between the eyes."""
    unit: np.ndarray
    """(T,): the size of the face: the distance between the eyes, were it seen from the front.

    Taken from the root mean square spread of the still points, since the distance itself shrinks when the head turns.
    """
    right: np.ndarray
    """(T, 2): the direction, of length 1, from the person's right eye to the left."""

    @classmethod
    def of(cls, landmarks: np.ndarray) -> Measures:
        """Measure faces by their landmarks (T, 68, 2), in pixels."""
        right_eye, left_eye = (landmarks[:, eye].mean(1) for eye in (RIGHT_EYE, LEFT_EYE))
        middle, across = (right_eye + left_eye) / 2, left_eye - right_eye
        right = across / np.maximum(np.hypot(*across.T), 1e-6)[:, None]
        still = landmarks[:, STILL]
        away = still - still.mean(1, keepdims=True)
        return cls(middle, np.maximum(np.sqrt(np.square(away).sum(-1).mean(-1)), 1e-6) / SPREAD, right)

    def turned(self, points: np.ndarray) -> np.ndarray:
        """`points` (T, P, 2) of the frame from the middle, the eyes being level: x to the right, y down, in units."""
        away = points - self.middle[:, None]
        x, y = self.right[:, None, 0], self.right[:, None, 1]
        level = np.stack([away[..., 0] * x + away[..., 1] * y, away[..., 1] * x - away[..., 0] * y], axis=-1)
        return level / self.unit[:, None, None]

    def frame(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `turned`."""
        x, y = self.right[:, None, 0], self.right[:, None, 1]
        away = np.stack([points[..., 0] * x - points[..., 1] * y, points[..., 0] * y + points[..., 1] * x], axis=-1)
        return away * self.unit[:, None, None] + self.middle[:, None]


@dataclass(frozen=True)
class Fade:
    """Where a crop is drawn over the frame: wholly within `inner`, not at all beyond `outer`, and softly between.

    Both are left, top, right, bottom in [0, 1] of the crop.
    """

    inner: tuple[float, float, float, float]
    outer: tuple[float, float, float, float]

    def mask(self, size: int) -> np.ndarray:
        """(size, size) float32 in [0, 1]; 0 along the border."""
        place = (np.arange(size) + 0.5) / size
        x, y = (np.maximum(np.maximum((low - place) / (low - first), (place - high) / (last - high)), 0)
                for low, high, first, last in ((*self.inner[i::2], *self.outer[i::2]) for i in (0, 1)))
        depth = np.clip(1 - np.hypot(x[None], y[:, None]), 0, 1)
        mask = depth * depth * (3 - 2 * depth)
        mask[[0, -1]] = mask[:, [0, -1]] = 0
        return mask.astype(np.float32)


@dataclass(frozen=True)
class CropProfile:
    """One way to cut a face out of a frame, and to blend it back."""

    name: str
    size: int
    """Pixels a side, as prepared folders store it."""
    place: Callable[[np.ndarray], np.ndarray]
    """From landmarks (T, 68, 2) to matrices (T, 2, 3), each frame by itself: streams are cut like whole clips."""
    fade: Fade

    def matrices(self, landmarks: np.ndarray) -> np.ndarray:
        """Where in their frames the crops of faces with `landmarks` (T, 68, 2), in pixels, lie: (T, 2, 3) float64.

        Each takes the unit square, x then y, to the frame: (0, 0) is the crop's upper left corner, (1, 1) the lower
        right. Coordinates of frames are continuous: the first pixel reaches from 0 to 1.
        """
        return self.place(np.asarray(landmarks, np.float64))

    def mask(self, size: int) -> np.ndarray:
        """How much of a drawn crop is blended over the frame: (size, size) float32 in [0, 1], 0 along the border."""
        return self.fade.mask(size)


def find_profile(name: str) -> CropProfile:
    """The crop profile called `name`.

    Raises:
        UnknownPlugin: there is none; the message has the nearest name and the list.
    """
    if name not in PROFILES:
        raise UnknownPlugin(f"No crop profile called '{name}'.{suggest(name, PROFILES)} "
                            f"There are: {', '.join(sorted(PROFILES))}.")
    return PROFILES[name]


def _upright(middle: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Matrices (T, 2, 3) of upright boxes about `middle` (T, 2)."""
    matrices = np.zeros((len(middle), 2, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = width, height
    matrices[:, 0, 2], matrices[:, 1, 2] = middle[:, 0] - width / 2, middle[:, 1] - height / 2
    return matrices


def _turned_square(corner: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Matrices (T, 2, 3) of squares by their upper left `corner` (T,) and upper `side` (T,), as complex x + iy."""
    matrices = np.empty((len(side), 2, 3))
    for column, way in enumerate((side, 1j * side, corner)):
        matrices[:, 0, column], matrices[:, 1, column] = way.real, way.imag
    return matrices


def _tight(landmarks: np.ndarray) -> np.ndarray:
    """As S3FD draws boxes, and a little more below: from jaw to jaw, from the middle of the forehead to the chin."""
    measures = Measures.of(landmarks)
    jaw = measures.turned(landmarks[:, JAW])[..., 0]
    left, right = jaw.min(1), jaw.max(1)
    top, bottom = -1.2, 2.1
    middle = np.stack([(left + right) / 2, np.full_like(left, (top + bottom) / 2)], axis=-1)
    width, height = (right - left) * measures.unit, (bottom - top) * measures.unit
    return _upright(measures.frame(middle[:, None])[:, 0], width, height)


def _whole(landmarks: np.ndarray) -> np.ndarray:
    """A square around the whole head."""
    measures = Measures.of(landmarks)
    jaw = measures.turned(landmarks[:, JAW])[..., 0]
    middle = np.stack([(jaw.min(1) + jaw.max(1)) / 2, np.full(len(jaw), 0.2)], axis=-1)
    side = 4.6 * measures.unit
    return _upright(measures.frame(middle[:, None])[:, 0], side, side)


def _syncnet(landmarks: np.ndarray) -> np.ndarray:
    """A square of 1.4 times the box that S3FD draws, which lies in its upper middle: more neck than hair.

    That of joonson/syncnet_python, whose public network expects it.
    """
    measures = Measures.of(landmarks)
    jaw = measures.turned(landmarks[:, JAW])[..., 0]
    top, bottom = -1.2, 1.9  # of the box; it is higher than wide
    side = 1.4 * (bottom - top)
    middle = np.stack([(jaw.min(1) + jaw.max(1)) / 2, np.full(len(jaw), top + side / 2)], axis=-1)
    return _upright(measures.frame(middle[:, None])[:, 0], side * measures.unit, side * measures.unit)


def _voxceleb(landmarks: np.ndarray) -> np.ndarray:
    """An upright square twice as wide as the landmarks reach, and a sixth of their reach higher.

    That of StelaBou/voxceleb_preprocessing, whose public networks expect it. They mirror and blur what lies outside the
    frame; here its edge goes on. As the landmarks reach to the chin, this one swells with the mouth, by 2 or 3 % in
    real speech. `face` covers much the same (92 % of the union of both, over 119 real faces) and keeps still.
    """
    low, high = landmarks.min(1), landmarks.max(1)
    reach = (high - low).max(1)
    return _upright((low + high) / 2 - reach[:, None] * [0, 1 / 6], 2 * reach, 2 * reach)


def _ffhq(landmarks: np.ndarray) -> np.ndarray:
    """The square of FFHQ, which pSp, e4e and HyperStyle share: level with the eyes and square to the line to the mouth.

    Karras et al., "A Style-Based Generator Architecture for GANs", 2019, arXiv:1812.04948, appendix C. They mirror and
    blur what lies outside the frame; here its edge goes on.
    """
    points = landmarks @ [1, 1j]
    right_eye, left_eye = points[:, RIGHT_EYE].mean(1), points[:, LEFT_EYE].mean(1)
    middle, across = (right_eye + left_eye) / 2, left_eye - right_eye
    down = (points[:, 48] + points[:, 54]) / 2 - middle
    level = across - 1j * down
    half = np.maximum(2 * np.abs(across), 1.8 * np.abs(down)) * level / np.maximum(np.abs(level), 1e-6)
    return _turned_square(middle + 0.1 * down - (1 + 1j) * half, 2 * half)


ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where insightface lays the eyes, the tip of the nose and the corners of the mouth in 112 x 112 pixels. It counts from
the middle of the first pixel."""


def _arcface(landmarks: np.ndarray) -> np.ndarray:
    """The similarity that brings five points nearest to ARCFACE (Umeyama, 1991). The chin lies at the lower edge."""
    eyes = (landmarks[:, eye].mean(1) for eye in (RIGHT_EYE, LEFT_EYE))
    points = np.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], axis=1) @ [1, 1j]
    wanted = (ARCFACE + 0.5) / 112 @ [1, 1j]
    away, wanted_away = points - points.mean(1, keepdims=True), wanted - wanted.mean()
    # From frame to crop, least squares says z -> factor z + shift. This is its inverse.
    factor = (away.conj() * wanted_away).sum(1) / np.maximum(np.square(np.abs(away)).sum(1), 1e-12)
    side = 1 / np.where(np.abs(factor) > 1e-12, factor, 1)
    return _turned_square(points.mean(1) - side * wanted.mean(), side)


PROFILES: dict[str, CropProfile] = {profile.name: profile for profile in (
    CropProfile("arcface112", 112, _arcface, Fade((0.22, 0.3, 0.78, 0.86), (0.04, 0.1, 0.96, 0.99))),
    CropProfile("face", 256, _whole, Fade((0.25, 0.3, 0.75, 0.8), (0.05, 0.06, 0.95, 0.97))),
    CropProfile("ffhq", 256, _ffhq, Fade((0.22, 0.3, 0.78, 0.88), (0.04, 0.06, 0.96, 0.99))),
    CropProfile("syncnet", 224, _syncnet, Fade((0.24, 0.2, 0.76, 0.72), (0.05, 0.04, 0.95, 0.94))),
    CropProfile("voxceleb", 256, _voxceleb, Fade((0.25, 0.3, 0.75, 0.81), (0.05, 0.06, 0.95, 0.97))),
    CropProfile("wav2lip", 96, _tight, Fade((0.16, 0.62, 0.84, 0.88), (0.02, 0.48, 0.98, 0.99))),
)}
