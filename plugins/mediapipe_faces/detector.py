"""MediaPipe's face detector and face landmarker as one detector."""

from __future__ import annotations

import os
import sys
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import mediapipe
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions
from PIL import Image

from fctfg import weights
from fctfg.errors import BadWeights, BrokenPlugin
from fctfg.faces.boxes import overlap, square, usual_place
from fctfg.interfaces import Detector, Face

from .blendshapes import to_action_units
from .mesh import IBUG

MODEL = "face_landmarker_v2_with_blendshapes.task"
LOOK = 256  # pixels a side at which faces are looked for; the network takes 128
AROUND = 0.5  # of the face's size, seen on each side of it
PATCH = 512  # pixels a side of a face's surroundings at most; the mesh's network takes 256 for the face alone
LENIENT = 0.2  # the score that is enough where a face is known to be


class MediaPipeDetector(Detector):
    """Faces by BlazeFace, 68 of the 478 points of the face mesh, and action units from its 52 blendshapes.

    Bazarevsky et al., "BlazeFace", 2019, arXiv:1907.05047; Kartynnik et al., "Real-time Facial Surface Geometry from
    Monocular Video on Mobile GPUs", 2019, arXiv:1907.06724. Loads `model`, a path, or else
    face_landmarker_v2_with_blendshapes.task from where weights are kept (Google, Apache-2.0); it holds all networks.

    A frame is looked at as a whole, in which a face must have an eighth of the longer side; where there is none, in
    overlapping squares, ever smaller, down to a part `zoom` of that side, unless `zoom` is 1. Every face found is then
    looked at closely and stands only if the mesh sees it too. A lower `min_score` finds more, false ones too.
    """

    paper = ("Bazarevsky et al., BlazeFace, 2019, arXiv:1907.05047; Kartynnik et al., Real-time Facial Surface "
             "Geometry from Monocular Video on Mobile GPUs, 2019, arXiv:1907.06724")
    licence = "Apache-2.0 (MediaPipe and its models)"

    def __init__(self, *, model: str | None = None, min_score: float = 0.5, zoom: float = 4.0):
        self.model = model
        self.min_score = min_score
        self.zoom = zoom

    def detect(self, frame: np.ndarray) -> list[Face]:
        for part in _parts(self.zoom):
            small = _at_most(frame, round(LOOK / part))
            scale = np.tile(np.divide(small.shape[1::-1], frame.shape[1::-1]), 2)
            faces = [Face((box + (left, top, left, top)) / scale, score) for left, top in _corners(small)
                     for box, score in self._find(small[top:top + LOOK, left:left + LOOK], self.min_score)]
            kept: list[Face] = []
            for face in sorted(faces, key=lambda face: -face.score):
                if (seen := self._mesh(frame, face.box)) and not any(overlap(seen.box, one.box) > 0.5 for one in kept):
                    kept.append(Face(seen.box, face.score, seen.points))
            if kept:
                return kept
        return []

    def confirm(self, frame: np.ndarray, box: np.ndarray) -> Face | None:
        corner, part = _surroundings(frame, box)
        small = _at_most(part, LOOK)
        scale = np.tile(np.divide(small.shape[1::-1], part.shape[1::-1]), 2)
        scores = [score for near, score in self._find(small, LENIENT)
                  if overlap(near / scale + np.tile(corner, 2), box) > 0.5]
        if not scores or not (seen := self._mesh(frame, box)):
            return None
        return Face(seen.box, max(scores), seen.points)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        seen = self._mesh(frame, box)
        return seen.points if seen else usual_place(box)

    def action_units(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        seen = self._mesh(frame, square(landmarks))
        return to_action_units(seen.shapes) if seen else None

    def _find(self, picture: np.ndarray, min_score: float) -> list[tuple[np.ndarray, float]]:
        """Boxes (4,) of the faces in `picture`, in its pixels, and their scores."""
        found = []
        for detection in self._finder(picture).detections:
            if (score := detection.categories[0].score) >= min_score:
                box = detection.bounding_box
                corners = (box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height)
                found.append((np.array(corners, float), score))
        return found

    def _mesh(self, frame: np.ndarray, box: np.ndarray) -> _Seen | None:
        """The face in `box`, seen closely; None where the mesh sees none."""
        corner, part = _surroundings(frame, box)
        result = self._landmarker(_at_most(part, PATCH))
        size = np.array(part.shape[1::-1])
        best, most = None, 0.25
        for points, shapes in zip(result.face_landmarks, result.face_blendshapes):
            places = np.array([(point.x, point.y) for point in points])[list(IBUG)] * size + corner
            around = square(places)
            if (share := overlap(around, box)) > most:
                best, most = _Seen(places, around, {shape.category_name: shape.score for shape in shapes}), share
        return best

    @cached_property
    def _path(self) -> Path:
        path = Path(self.model).expanduser() if self.model else weights.need(MODEL)
        if not path.is_file():
            raise BadWeights(f"{path} is not there; give the path of {MODEL}, or leave it out to take the one that "
                             "`fctfg weights` keeps.")
        return path

    @cached_property
    def _finder(self) -> Callable:
        try:
            network = zipfile.ZipFile(self._path).read("face_detector.tflite")
        except (zipfile.BadZipFile, KeyError, OSError):
            raise BadWeights(f"{self._path} is no face landmarker: it holds no face_detector.tflite; the file that is "
                             f"wanted is {MODEL}.") from None
        return self._open(vision.FaceDetector, vision.FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=network), min_detection_confidence=LENIENT))

    @cached_property
    def _landmarker(self) -> Callable:
        return self._open(vision.FaceLandmarker, vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._path)), num_faces=2, output_face_blendshapes=True,
            min_face_detection_confidence=LENIENT, min_face_presence_confidence=LENIENT))

    def _open(self, kind: type, options) -> Callable:
        """A function from a picture (H, W, 3) to what a task of MediaPipe finds in it."""
        try:
            with _quietly():
                task = kind.create_from_options(options)
                task.detect(_to_mediapipe(np.zeros((64, 64, 3), np.uint8)))  # says its last words
        except OSError as error:
            raise BrokenPlugin(explain(error)) from None
        except (ValueError, RuntimeError) as error:
            raise BadWeights(f"{self._path} cannot be read by MediaPipe {mediapipe.__version__}: "
                             f"{str(error).splitlines()[0]}; the file that is wanted is {MODEL}.") from None
        weakref.finalize(self, _close, task)
        return lambda picture: task.detect(_to_mediapipe(picture))


class _Seen:
    """A face as the mesh has it: 68 points in pixels of the frame, the box about them, and blendshapes by name."""

    def __init__(self, points: np.ndarray, box: np.ndarray, shapes: dict[str, float]):
        self.points, self.box, self.shapes = points, box, shapes


def explain(error: OSError) -> str:
    """What to do where MediaPipe's own library cannot be loaded."""
    library = str(error).split(":")[0]
    if "libEGL" in library or "libGLES" in library:
        return (f"MediaPipe needs the system library {library}, which this machine lacks; "
                "`apt-get install libegl1 libgles2` brings it (Fedora: mesa-libEGL mesa-libGLES)")
    return f"MediaPipe's library cannot be loaded: {error}"


def _to_mediapipe(picture: np.ndarray):
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))


def _close(task) -> None:
    """Close `task`; at the end of Python, when its thread is gone already, leave it, so that nothing is said of it."""
    with _quietly(), suppress(RuntimeError):
        task.close()
    task.close = lambda: None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what MediaPipe's C++ writes to stderr, whatever one asks it: how it accelerates, and that it logs."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _parts(zoom: float) -> Iterator[float]:
    """How large the squares are that are looked at one after the other, in longer sides of the frame."""
    part = 1.0
    while part * zoom >= 0.99:
        yield part
        part /= 2


def _corners(picture: np.ndarray) -> list[tuple[int, int]]:
    """Left and top of squares that cover `picture` and overlap by half, or nearly."""
    tops, lefts = (np.linspace(0, more, 1 + round(2 * more / LOOK)).astype(int) if (more := size - LOOK) > 0 else [0]
                   for size in picture.shape[:2])
    return [(int(left), int(top)) for top in tops for left in lefts]


def _surroundings(frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper left corner (2,) of what lies around `box`, and its picture."""
    height, width = frame.shape[:2]
    margin = AROUND * max(float((box[2:] - box[:2]).max()), 2.0)
    left, top = np.clip(np.floor(box[:2] - margin), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(box[2:] + margin), (left + 1, top + 1), (width, height)).astype(int)
    return np.array([left, top]), frame[top:bottom, left:right]


def _at_most(picture: np.ndarray, side: int) -> np.ndarray:
    """`picture`, made smaller where its longer side is longer than `side`."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
