"""Faces, landmarks and identities by dlib."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from fctfg.errors import BadWeights, BrokenPlugin
from fctfg.interfaces import Detector, Face
from fctfg.weights import located, need

try:
    import dlib
except ImportError as error:
    raise BrokenPlugin("package dlib is missing; pip install dlib-bin brings it") from error

LANDMARKS = "shape_predictor_68_face_landmarks.dat"
IDENTITY = "dlib_face_recognition_resnet_model_v1.dat"
MMOD = "mmod_human_face_detector.dat"

PATCH = 256  # pixels across a face for its landmarks, at least: dlib rounds them to whole pixels
AROUND = 0.35  # of the face's size, seen on each side of it
SHIFT = 0.03  # of the face's size, between the two boxes whose landmarks are averaged
DOUBT = 0.5  # the score under which a face is looked at twice
CONFIRM = 95  # pixels across a face that is looked at again
STILL_THERE = -0.7  # the score above which a face seen a moment ago is still one; nothing else comes near it


class _DlibDetector(Detector):
    """What the two detectors share: looking twice, 68 landmarks, and identities."""

    def __init__(self, *, pixels: int = 240_000, min_score: float = 0.1, zoom: float = 3.0,
                 landmark_model: str | None = None, identity_model: str | None = None):
        self.pixels = pixels
        self.min_score = min_score
        self.zoom = zoom
        self.landmark_model = landmark_model
        self.identity_model = identity_model

    @abstractmethod
    def _find(self, picture: np.ndarray, min_score: float) -> list[tuple[dlib.rectangle, float]]:
        """The faces in `picture` (H, W, 3) or (H, W), found at its own size."""

    def detect(self, frame: np.ndarray) -> list[Face]:
        scale = min(1.0, math.sqrt(self.pixels / (frame.shape[0] * frame.shape[1])))
        faces: list[Face] = []
        for scale in (scale, self.zoom * scale) if self.zoom > 1 else (scale,):
            picture, across, down = _resized(frame, scale)
            found = [Face(_box(rectangle) / (across, down, across, down), score)
                     for rectangle, score in self._find(picture, self.min_score)]
            faces = [face for face in found if self._doubted(frame, face).score >= self.min_score]
            if faces:
                break
        return sorted(faces, key=lambda face: -face.score)

    def _doubted(self, frame: np.ndarray, face: Face) -> Face:
        """`face` with the mean score of two looks, where one was not enough: few errors are made twice."""
        if face.score < DOUBT:
            again = self.confirm(frame, face.box)
            face.score = (face.score + (again.score if again else -1.0)) / 2
        return face

    def confirm(self, frame: np.ndarray, box: np.ndarray) -> Face | None:
        patch = _Patch(frame, box, CONFIRM)
        found = self._find(patch.grey, STILL_THERE)
        faces = [Face(patch.to_frame(_box(rectangle)), score) for rectangle, score in found]
        near = [face for face in faces if _overlap(face.box, box) > 0.35]
        return max(near, key=lambda face: face.score, default=None)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        width = float(box[2] - box[0])
        patch = _Patch(frame, box, PATCH if width < PATCH else width / (width // PATCH))
        shift = SHIFT * (box[2] - box[0])
        return np.mean([patch.to_frame(_points(self._predictor(patch.grey, patch.rectangle(box + way))))
                        for way in (-shift, shift)], axis=0)

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        left, top = np.floor(landmarks.min(0)).astype(int)
        right, bottom = np.ceil(landmarks.max(0)).astype(int)
        parts = [dlib.point(int(x), int(y)) for x, y in landmarks]
        shape = dlib.full_object_detection(dlib.rectangle(int(left), int(top), int(right), int(bottom)), parts)
        return np.array(self._recogniser.compute_face_descriptor(np.ascontiguousarray(frame), shape))

    @cached_property
    def _predictor(self):
        return _load(dlib.shape_predictor, self.landmark_model or need(LANDMARKS))

    @cached_property
    def _recogniser(self):
        return _load(dlib.face_recognition_model_v1, self.identity_model or need(IDENTITY))


class DlibHOGDetector(_DlibDetector):
    """Faces by histograms of oriented gradients, upright and turned by up to about 45 degrees; 68 landmarks.

    A frame is looked at with `pixels` pixels, of which a face must have 80 across; where there is none, once more
    `zoom` times as large, unless `zoom` is 1. A lower `min_score` finds more faces, false ones too.
    """

    paper = ("Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, 2005; "
             "Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, 2014")
    licence = "BSL-1.0 (dlib); the landmark model is not for commercial use (trained on iBUG 300-W)"

    @cached_property
    def _detector(self):
        return dlib.get_frontal_face_detector()

    def _find(self, picture: np.ndarray, min_score: float) -> list[tuple[dlib.rectangle, float]]:
        rectangles, scores, _ = self._detector.run(picture, 0, min_score)
        return list(zip(rectangles, scores))


class DlibCNNDetector(_DlibDetector):
    """Faces by dlib's convolutional max-margin detector, turned and partly covered ones too; 68 landmarks.

    Takes a second a frame on a CPU, and four where nothing is found. Options as for `dlib-hog`; `model` is the
    detector's file.
    """

    paper = ("King, Max-Margin Object Detection, 2015, arXiv:1502.00046; "
             "Kazemi and Sullivan, One Millisecond Face Alignment with an Ensemble of Regression Trees, 2014")
    licence = "BSL-1.0 (dlib), CC0 (detector); the landmark model is not for commercial use (trained on iBUG 300-W)"

    def __init__(self, *, pixels: int = 240_000, min_score: float = 0.1, zoom: float = 2.0, model: str | None = None,
                 landmark_model: str | None = None, identity_model: str | None = None):
        super().__init__(pixels=pixels, min_score=min_score, zoom=zoom, landmark_model=landmark_model,
                         identity_model=identity_model)
        self.model = model

    @cached_property
    def _detector(self):
        return _load(dlib.cnn_face_detection_model_v1, self.model or need(MMOD))

    def _find(self, picture: np.ndarray, min_score: float) -> list[tuple[dlib.rectangle, float]]:
        found = self._detector(picture, 0)
        return [(face.rect, face.confidence) for face in found if face.confidence >= min_score]


def _load(model: type, path: str | Path):
    path = located(path)
    try:
        return model(str(path))
    except RuntimeError as error:
        raise BadWeights(f"{path} cannot be read as a dlib {model.__name__}: {error}") from None


class _Patch:
    """The surroundings of a box, grey, at a size at which the face is `across` pixels wide."""

    def __init__(self, frame: np.ndarray, box: np.ndarray, across: float):
        width = max(float(box[2] - box[0]), 1.0)
        low = np.floor(box[:2] - AROUND * width).astype(int)
        high = np.ceil(box[2:] + AROUND * width).astype(int)
        left, top = np.clip(low, 0, np.array([frame.shape[1], frame.shape[0]]) - 1)
        right, bottom = np.clip(high, (left + 1, top + 1), (frame.shape[1], frame.shape[0]))
        grey = Image.fromarray(frame[top:bottom, left:right]).convert("L")
        self.grey, *scale = _resized(np.asarray(grey), across / width)
        self.corner, self.scale = np.array([left, top], float), np.array(scale)

    def to_frame(self, places: np.ndarray) -> np.ndarray:
        """Points (..., 2) or a box (4,) of the patch, in the frame."""
        return (places.reshape(-1, 2) / self.scale + self.corner).reshape(places.shape)

    def rectangle(self, box: np.ndarray) -> dlib.rectangle:
        """A box of the frame, in the patch."""
        left, top, right, bottom = ((box.reshape(2, 2) - self.corner) * self.scale).round().astype(int).ravel()
        return dlib.rectangle(int(left), int(top), int(right) - 1, int(bottom) - 1)


def _resized(picture: np.ndarray, scale: float) -> tuple[np.ndarray, float, float]:
    """`picture` at about `scale` times its size, and the exact scale across and down."""
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return np.ascontiguousarray(picture), 1.0, 1.0
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(resized), size[0] / width, size[1] / height


def _box(rectangle: dlib.rectangle) -> np.ndarray:
    """Its edges; dlib counts the last pixel in."""
    return np.array([rectangle.left(), rectangle.top(), rectangle.right() + 1, rectangle.bottom() + 1], float)


def _points(shape: dlib.full_object_detection) -> np.ndarray:
    """Its points in the middle of the pixels that dlib names."""
    return np.array([(point.x, point.y) for point in shape.parts()], float) + 0.5


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = sides.prod()
    return float(shared / max((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared, 1e-9))
