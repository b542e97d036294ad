"""Detectors that see five points of a face: what they share."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property

import numpy as np
from PIL import Image

from .. import registry
from ..interfaces import Detector, Face
from .boxes import overlap, square_of_five

AROUND = 0.35  # of a face's size, seen on each side of it
CONFIRM = 96  # pixels across a face that is looked at again
LENIENT = 0.3  # the score that is enough where a face was a moment ago


class FivePointDetector(Detector):
    """Faces by their eyes, nose and corners of the mouth; the rest of what a detector says by another one.

    The box is computed from the five points as dlib would draw it, since landmarks depend on boxes and these are drawn
    by every network in a way of its own. The 68 landmarks and identities are those that the detector `landmarker` sees
    in that box. There are no action units.

    A frame is looked at with `pixels` pixels; where there is no face, once more `zoom` times as large, unless `zoom` is
    1. A lower `min_score` finds more faces, false ones too.
    """

    def __init__(self, *, model: str | None = None, pixels: int = 120_000, min_score: float = 0.6, zoom: float = 2.5,
                 landmarker: str = "dlib-hog"):
        self.model = model
        self.pixels = pixels
        self.min_score = min_score
        self.zoom = zoom
        self.landmarker = landmarker

    @abstractmethod
    def find(self, picture: np.ndarray, min_score: float) -> list[tuple[np.ndarray, float]]:
        """The five points (5, 2) of each face in `picture` (H, W, 3) uint8 RGB, in its pixels, and its score."""

    @cached_property
    def other(self) -> Detector:
        """The detector called `landmarker`."""
        return registry.build("detector", self.landmarker)

    def detect(self, frame: np.ndarray) -> list[Face]:
        scale = min(1.0, math.sqrt(self.pixels / (frame.shape[0] * frame.shape[1])))
        faces: list[Face] = []
        for scale in (scale, self.zoom * scale) if self.zoom > 1 else (scale,):
            faces = self._found(frame, scale, self.min_score)
            if faces:
                break
        return sorted(faces, key=lambda face: -face.score)

    def confirm(self, frame: np.ndarray, box: np.ndarray) -> Face | None:
        size = np.array(frame.shape[1::-1])
        width = max(float(box[2] - box[0]), 2.0)
        left, top = np.clip(np.floor(box[:2] - AROUND * width), 0, size - 1).astype(int)
        right, bottom = np.clip(np.ceil(box[2:] + AROUND * width), (left + 1, top + 1), size).astype(int)
        faces = self._found(frame[top:bottom, left:right], CONFIRM / width, LENIENT)
        for face in faces:
            face.box = face.box + (left, top, left, top)
        near = [face for face in faces if overlap(face.box, box) > 0.5]
        return max(near, key=lambda face: face.score, default=None)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        return self.other.landmarks(frame, box)

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        return self.other.embed(frame, landmarks)

    def _found(self, frame: np.ndarray, scale: float, min_score: float) -> list[Face]:
        """The faces in `frame`, looked at at `scale` times its size."""
        size = tuple(max(16, round(side * scale)) for side in frame.shape[1::-1])
        picture = np.ascontiguousarray(frame)
        if size != frame.shape[1::-1]:
            picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        exact = np.divide(size, frame.shape[1::-1])
        return [Face(square_of_five(points / exact), score) for points, score in self.find(picture, min_score)]
