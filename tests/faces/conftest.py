"""A face in numbers, and a detector that knows where it is."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.interfaces import Detector, Face


def neutral_face() -> np.ndarray:
    """68 landmarks of a face seen from the front with its mouth closed, (0, 0) between its eyes, which lie 1 apart."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack([1.12 * np.cos(angle), 0.05 + 1.85 * np.sin(angle) ** 1.2], axis=-1)
    brow = np.stack([np.linspace(-0.8, -0.2, 5), -0.3 - 0.12 * np.sin(np.linspace(0.2, 3, 5))], axis=-1)
    bridge = np.stack([np.zeros(4), np.linspace(0.0, 0.52, 4)], axis=-1)
    nostrils = np.stack([np.linspace(-0.2, 0.2, 5), np.full(5, 0.72)], axis=-1)
    around = np.array([np.pi, 2 * np.pi / 3, np.pi / 3, 0, -np.pi / 3, -2 * np.pi / 3])
    eye = np.stack([0.22 * np.cos(around), -0.08 * np.sin(around)], axis=-1)
    lips = np.array([np.pi * (1 - k / 6) for k in range(12)])
    outer = np.stack([0.4 * np.cos(lips), 1.13 - 0.16 * np.sin(lips)], axis=-1)
    lips = np.array([np.pi * (1 - k / 4) for k in range(8)])
    inner = np.stack([0.3 * np.cos(lips), 1.13 - 0.02 * np.sin(lips)], axis=-1)
    flip = np.array([-1, 1])
    eyes = eye - [0.5, 0], eye + [0.5, 0]
    return np.concatenate([jaw, brow, (brow * flip)[::-1], bridge, nostrils, *eyes, outer, inner])


def opened(face: np.ndarray, by: float) -> np.ndarray:
    """The same face with its jaw dropped, the lower lip `by` eye distances lower."""
    unit = np.hypot(*(face[42:48].mean(0) - face[36:42].mean(0)))
    face = face.copy()
    face[[*range(5, 12), *range(55, 60), 65, 66, 67], 1] += by * unit
    return face


class KnowingDetector(Detector):
    """Sees whatever `truth` says is in a frame, {name: landmarks (68, 2)}, by the number painted in its corner."""

    def __init__(self, truth: list[dict[str, np.ndarray]], noise: float = 0.0,
                 people: dict[str, np.ndarray] | None = None):
        self.truth, self.noise, self.people = truth, noise, people
        self.looks: list[int] = []
        self.random = np.random.default_rng(0)

    def frames(self, shades=None) -> list[np.ndarray]:
        """The frames it knows, all of one grey, or of the grey that `shades` gives each."""
        frames = []
        for number in range(len(self.truth)):
            frame = np.full((240, 320, 3), 90 if shades is None else shades[number], np.uint8)
            frame[0, 0, :2] = divmod(number, 256)
            frames.append(frame)
        return frames

    def seen(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        return self.truth[int(frame[0, 0, 0]) * 256 + int(frame[0, 0, 1])]

    def detect(self, frame: np.ndarray) -> list[Face]:
        self.looks.append(int(frame[0, 0, 0]) * 256 + int(frame[0, 0, 1]))
        return [Face(box_of(points), 1.0) for points in self.seen(frame).values()]

    def confirm(self, frame: np.ndarray, box: np.ndarray) -> Face | None:
        for points in self.seen(frame).values():
            if np.abs(box_of(points) - box).max() < 0.4 * (box[2] - box[0]):
                return Face(box_of(points), 1.0)
        return None

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Of the face nearest to `box`; where there is none, as detectors do, something in the box all the same."""
        there = list(self.seen(frame).values()) or [neutral_face() * (box[2] - box[0]) / 2.5 + (box[:2] + box[2:]) / 2]
        nearest = min(there, key=lambda points: np.abs(box_of(points) - box).sum())
        return nearest + self.random.normal(0, self.noise, nearest.shape)

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        if self.people is None:
            return None
        seen = self.seen(frame)
        return self.people[min(seen, key=lambda name: np.abs(seen[name] - landmarks).sum())]


def box_of(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high])


@pytest.fixture
def face() -> np.ndarray:
    return neutral_face()


@pytest.fixture
def open_mouth():
    return opened


@pytest.fixture
def knowing():
    """Makes a detector that knows: `knowing(truth, noise=0.5)`."""
    return KnowingDetector
