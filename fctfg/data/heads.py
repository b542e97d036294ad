"""The shape of a drawn head: who it is, how it is held, and where its points are.

A head is a set of points in space, in units of half its width: x to the right, y down from the line of the eyes, z
towards the viewer. The 68 iBUG points are among those it is drawn from, and thus exact.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

SKINS = ("#f6dcc8", "#f0cbaa", "#e6b590", "#d49c70", "#bd8254", "#a06b45", "#825538", "#66422b")
HAIRS = ("#15110f", "#2a1c14", "#4a3020", "#6e4a2c", "#a87c48", "#d3b273", "#8e3f22", "#9a9a98")
EYES = ("#5a3a22", "#3d2a1a", "#4f7a9a", "#5f8a5a", "#6b6f73")
HAIRSTYLES = ("short", "parted", "long", "bun", "curly", "bald")


@dataclass(frozen=True)
class Look:
    """What one person looks like. Lengths are in half head widths."""

    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    eyes: tuple[int, int, int]
    lips: tuple[int, int, int]
    clothes: tuple[int, int, int]
    wall: tuple[int, int, int]
    hairstyle: str
    beard: float
    """Strength of the beard's shadow, 0 to 1."""
    glasses: bool
    chin: float
    """How far the chin lies below the eyes."""
    jaw: float
    """0 for a pointed jaw, 1 for a square one."""
    crown: float
    """How far the skull reaches above the eyes."""
    eye_width: float
    eye_height: float
    eye_distance: float
    """Of the middle of an eye from the middle of the face."""
    brow_height: float
    brow_thickness: float
    brow_tilt: float
    nose_width: float
    nose_length: float
    mouth_height: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    light: float
    """Where the light comes from: -1 from the left, 1 from the right."""
    pattern: int
    """What hangs on the wall."""

    @classmethod
    def of(cls, rng: np.random.Generator) -> Look:
        """A person at random."""
        tone = rng.beta(1.1, 1.5) * (len(SKINS) - 1.001)
        skin = mix(_rgb(SKINS[int(tone)]), _rgb(SKINS[int(tone) + 1]), tone % 1)
        hair = rng.choice(HAIRS[:3] if tone > 4.5 else HAIRS)
        beard = rng.uniform(0.3, 0.8) if rng.random() < 0.2 else 0.0
        nose = rng.uniform(0.56, 0.68)
        lips = mix(mix(skin, (176, 62, 66), rng.uniform(0.4, 0.75)), (90, 40, 40), 0.05 * tone)
        return cls(
            skin=skin, hair=_rgb(hair), eyes=_rgb(rng.choice(EYES[:2] if tone > 3.5 else EYES)), lips=lips,
            clothes=_hsv(rng.random(), rng.uniform(0.2, 0.75), rng.uniform(0.25, 0.8)),
            wall=_hsv(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.45, 0.9)),
            hairstyle=str(rng.choice(HAIRSTYLES, p=(0.28, 0.2, 0.2, 0.12, 0.14, 0.06))), beard=beard,
            glasses=bool(rng.random() < 0.12), chin=rng.uniform(1.42, 1.66), jaw=rng.uniform(0.0, 1.0),
            crown=rng.uniform(1.25, 1.42), eye_width=rng.uniform(0.20, 0.235), eye_height=rng.uniform(0.075, 0.1),
            eye_distance=rng.uniform(0.41, 0.46), brow_height=rng.uniform(0.27, 0.34),
            brow_thickness=rng.uniform(0.045, 0.1), brow_tilt=rng.uniform(-0.03, 0.06),
            nose_width=rng.uniform(0.2, 0.28), nose_length=nose,
            mouth_height=nose + rng.uniform(0.3, 0.36), mouth_width=rng.uniform(0.36, 0.44),
            upper_lip=rng.uniform(0.07, 0.12), lower_lip=rng.uniform(0.1, 0.16), light=rng.uniform(-1, 1),
            pattern=int(rng.integers(4)))


@dataclass(frozen=True)
class Pose:
    """How a head is held at one moment, and what its face does."""

    yaw: float = 0.0
    """Radians; to the right of the picture."""
    pitch: float = 0.0
    """Radians; downwards."""
    roll: float = 0.0
    """Radians; clockwise."""
    x: float = 0.0
    """Moved to the right, in half head widths; `y` downwards."""
    y: float = 0.0
    scale: float = 1.0
    opening: float = 0.0
    """Of the mouth, in [0, 1]"""
    spread: float = 0.0
    """Of the mouth, in [-1, 1]"""
    blink: float = 0.0
    """0 for open eyes, 1 for shut ones"""
    brows: float = 0.0
    """How far they are raised, about [0, 1]"""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Where the eyes look, each in [-1, 1]"""


class Shape:
    """The points of one face at one moment, each (n, 3), before it is turned.

    Features in pairs are those on the right of the picture; `mirrored` gives the others.
    """

    def __init__(self, look: Look, pose: Pose):
        gap = 0.36 * pose.opening
        self.jaw = self._jaw(look, 0.75 * gap)
        self.skull = self._skull(look)
        self.eye = self._eye(look, pose.blink)
        self.brow = self._brow(look, pose.brows)
        self.bridge, self.nose = self._nose(look)
        self.outer_lips, self.inner_lips = self._lips(look, gap, pose.spread)

    @property
    def landmarks(self) -> np.ndarray:
        """The 68 iBUG points (68, 3)."""
        return np.concatenate([self.jaw, mirrored(self.brow[::-1]), self.brow, self.bridge, self.nose,
                               mirrored(self.eye[[3, 2, 1, 0, 5, 4]]), self.eye, self.outer_lips, self.inner_lips])

    @staticmethod
    def _jaw(look: Look, drop: float) -> np.ndarray:
        """From ear to chin to ear (17, 3); the chin falls as the mouth opens, the ears stay."""
        angle = np.linspace(np.pi, 0, 17)
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (0.92 - 0.2 * look.jaw)
        y = look.chin * np.sin(angle) ** (1.12 - 0.12 * look.jaw) + drop * np.sin(angle) ** 2
        return np.stack([x, y, 0.3 - 0.75 * x**2], -1)

    @staticmethod
    def _skull(look: Look) -> np.ndarray:
        """From the right ear over the crown to the left one."""
        angle = np.linspace(0, np.pi, 25)
        x, y = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8 * 1.02, -look.crown * np.sin(angle) ** 0.9
        return np.stack([x, y, np.full_like(x, -0.3)], -1)

    @staticmethod
    def _eye(look: Look, blink: float) -> np.ndarray:
        """Points 42 to 47: the inner corner, over the upper lid to the outer one, and back below."""
        x = look.eye_distance + look.eye_width * np.array([-1, -0.42, 0.38, 1, 0.4, -0.38])
        upper, lower = np.array([0.1, -1.05, -1.0, -0.12, 0, 0]), np.array([0.1, 0.62, 0.72, -0.12, 0.85, 0.75])
        share = np.array([0, blink, blink, 0, 1, 1])
        y = look.eye_height * (upper * (1 - share) + lower * share)
        return np.stack([x, y, face_depth(x) - 0.1], -1)

    @staticmethod
    def _brow(look: Look, raised: float) -> np.ndarray:
        """Points 22 to 26, from the inner end to the outer one."""
        x = look.eye_distance + np.array([-0.27, -0.12, 0.05, 0.22, 0.36])
        arch = np.array([0.02, -0.035, -0.06, -0.03, 0.065])
        y = -look.brow_height - 0.1 * raised + arch - look.brow_tilt * np.linspace(-1, 1, 5)
        return np.stack([x, y, face_depth(x) + 0.02], -1)

    @staticmethod
    def _nose(look: Look) -> tuple[np.ndarray, np.ndarray]:
        """Points 27 to 30 down the bridge, and 31 to 35 along the base."""
        bottom, wing = look.nose_length, look.nose_width
        bridge = [(0, 0.0, 0.5), (0, bottom * 0.3, 0.6), (0, bottom * 0.57, 0.72), (0, bottom * 0.84, 0.82)]
        base = [(share * wing, bottom * down, z) for share, down, z in
                ((-0.75, 0.98, 0.5), (-0.38, 1.05, 0.6), (0, 1.09, 0.66), (0.38, 1.05, 0.6), (0.75, 0.98, 0.5))]
        return np.array(bridge), np.array(base)

    @staticmethod
    def _lips(look: Look, gap: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
        """Points 48 to 59 around the lips and 60 to 67 around the mouth's opening, `gap` high."""
        half = look.mouth_width * (1 + (0.15 if spread > 0 else 0.32) * spread)
        plump = 1 - 0.22 * spread
        # Along the upper lip from the left to the right, then back along the lower one.
        across = np.array([-1, -0.62, -0.24, 0, 0.24, 0.62, 1, 0.66, 0.3, 0, -0.3, -0.66])
        thick = np.array([0, -0.62, -1, -0.8, -1, -0.62, 0, 0.62, 0.95, 1, 0.95, 0.62])
        thick = thick * plump * np.where(thick < 0, look.upper_lip, look.lower_lip)
        inner_across = np.array([-0.9, -0.5, 0, 0.5, 0.9, 0.5, 0, -0.5])
        below = np.array([0.0] * 7 + [1] * 5), np.array([0.0] * 5 + [1] * 3)

        def contour(across, below, thick):
            apart = np.sqrt(np.clip(1 - across**2, 0, 1)) * np.where(below, 0.82, -0.18) * gap
            smile = 0.03 - 0.055 * across**2 + 0.25 * gap * across**2
            x = half * across
            z = face_depth(x) + 0.12 + 0.1 * np.clip(-spread, 0, 1) - 0.1 * across**2
            return np.stack([x, look.mouth_height + smile + apart + thick, z], -1)

        return contour(across, below[0], thick), contour(inner_across, below[1], np.zeros(8))


def mirrored(points: np.ndarray) -> np.ndarray:
    """The same feature on the other side of the face."""
    return points * (-1, 1, 1)


def face_depth(x: np.ndarray) -> np.ndarray:
    """How far the front of the face stands out at `x`."""
    return 0.45 * np.sqrt(np.clip(1 - (np.asarray(x) / 1.05) ** 2, 0, 1))


def turned(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Where points (n, 3) of the head are seen (n, 2), in half head widths from the middle of the still head's eyes."""
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (pose.yaw, pose.pitch, pose.roll))
    neck = np.array([0, 0.7, -0.5])
    turn = (np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
            @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]))
    seen = (points - neck) @ turn.T + neck
    return seen[:, :2] * (pose.scale / (1 - seen[:, 2:] / 9)) + (pose.x, pose.y)


def smooth(points: np.ndarray, closed: bool = False, steps: int = 5) -> np.ndarray:
    """A curve through `points` (n, d) with `steps` pieces between two of them (Catmull and Rom, 1974)."""
    return _spline(len(points), closed, steps) @ points


@lru_cache(maxsize=None)
def _spline(num: int, closed: bool, steps: int) -> np.ndarray:
    """(m, num): the weight of each point in each place of the curve."""
    share = np.arange(steps) / steps
    weights = np.stack([-share + 2 * share**2 - share**3, 2 - 5 * share**2 + 3 * share**3,
                        share + 4 * share**2 - 3 * share**3, share**3 - share**2], -1) / 2
    pieces = num if closed else num - 1
    matrix = np.zeros((pieces * steps + (not closed), num))
    for piece in range(pieces):
        for k in range(4):
            point = (piece + k - 1) % num if closed else min(max(piece + k - 1, 0), num - 1)
            matrix[piece * steps:(piece + 1) * steps, point] += weights[:, k]
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def _rgb(text: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(text[1:]))


def _hsv(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue, saturation, value))


def mix(one, other, share: float) -> tuple[int, int, int]:
    """The colour `share` of the way from one to the other."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other))
