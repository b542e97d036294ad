"""The package face-alignment: S3FD finds faces, FAN their landmarks."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import face_alignment
import numpy as np
import torch
from PIL import Image

from fctfg import weights
from fctfg.errors import BadWeights
from fctfg.faces.boxes import overlap
from fctfg.interfaces import Detector, Face

S3FD = "s3fd-619a316812.pth"
FAN = "2DFAN4-11f355bf06.pth.tar"
AROUND = 0.4  # of a face's size, seen on each side of it
CONFIRM = 96  # pixels across a face that is looked at again
PATCH = 256  # pixels across a face for its landmarks: the package rounds them to whole pixels
LENIENT = 0.2  # the score that is enough where a face was a moment ago


class FaceAlignmentDetector(Detector):
    """Faces by S3FD, turned and partly covered ones too, and 68 landmarks of theirs by FAN, of profiles as well.

    Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector", 2017, arXiv:1708.05237; Bulat and Tzimiropoulos,
    "How far are we from solving the 2D & 3D Face Alignment problem?", 2017, arXiv:1703.07332. Reads `detector_model`
    and `landmark_model`, paths, or else s3fd-619a316812.pth and 2DFAN4-11f355bf06.pth.tar from where weights are kept
    or from where PyTorch keeps what the package itself fetched. Nothing is fetched here.

    A frame is looked at with `pixels` pixels; a lower `min_score` finds more. With `flip`, landmarks are the mean of
    those of the face and of its mirror image. `device` is "cuda" where there is one, else "cpu".
    """

    paper = ("Zhang et al., S3FD: Single Shot Scale-invariant Face Detector, 2017, arXiv:1708.05237; Bulat and "
             "Tzimiropoulos, How far are we from solving the 2D & 3D Face Alignment problem?, 2017, arXiv:1703.07332")
    licence = "BSD-3-Clause (face-alignment); its models state none"

    def __init__(self, *, detector_model: str | None = None, landmark_model: str | None = None, pixels: int = 240_000,
                 min_score: float = 0.5, flip: bool = True, device: str | None = None):
        self.detector_model = detector_model
        self.landmark_model = landmark_model
        self.pixels = pixels
        self.min_score = min_score
        self.flip = flip
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def detect(self, frame: np.ndarray) -> list[Face]:
        scale = min(1.0, math.sqrt(self.pixels / (frame.shape[0] * frame.shape[1])))
        return sorted(self._found(frame, scale, self.min_score), key=lambda face: -face.score)

    def confirm(self, frame: np.ndarray, box: np.ndarray) -> Face | None:
        corner, part = _surroundings(frame, box)
        faces = self._found(part, CONFIRM / max(float(box[2] - box[0]), 2.0), LENIENT)
        for face in faces:
            face.box = face.box + np.tile(corner, 2)
        near = [face for face in faces if overlap(face.box, box) > 0.5]
        return max(near, key=lambda face: face.score, default=None)

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        corner, part = _surroundings(frame, box)
        picture, exact = _resized(part, PATCH / max(float(box[2] - box[0]), 2.0))
        inside = (box - np.tile(corner, 2)) * np.tile(exact, 2)
        points = self._networks.get_landmarks_from_image(picture, detected_faces=[inside])[0]
        return (np.asarray(points, float) + 0.5) / exact + corner

    def _found(self, frame: np.ndarray, scale: float, min_score: float) -> list[Face]:
        picture, exact = _resized(frame, scale)
        with torch.no_grad():
            rows = self._networks.face_detector.detect_from_image(picture)
        return [Face(np.asarray(row[:4], float) / np.tile(exact, 2), float(row[4])) for row in rows
                if row[4] >= min_score]

    @cached_property
    def _networks(self) -> face_alignment.FaceAlignment:
        fan = _locate(self.landmark_model, FAN)
        s3fd = _locate(self.detector_model, S3FD)

        class Local(face_alignment.FaceAlignment):
            """The package's class, which would fetch its landmark network."""

            def _load_native(self, network_name, network_size, device, dtype):
                network = face_alignment.api.FAN(network_size)
                network.load_state_dict(torch.load(fan, map_location=device, weights_only=True))
                return network.to(device, dtype=dtype).eval()

        try:
            return Local(face_alignment.LandmarksType.TWO_D, device=self.device, flip_input=self.flip, compile=False,
                         face_detector_kwargs={"path_to_detector": str(s3fd), "filter_threshold": LENIENT})
        except Exception as error:  # whatever torch.load and load_state_dict raise for a file that is another
            raise BadWeights(f"{fan} and {s3fd} are not FAN and S3FD as face-alignment {face_alignment.__version__} "
                             f"has them: {str(error).splitlines()[0]}") from None


def _locate(given: str | None, name: str) -> Path:
    """The file that was given, or `name` where weights are kept, or where PyTorch keeps what packages fetched."""
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise BadWeights(f"{path} is not there; give the path of {name}.")
        return path
    fetched = Path(torch.hub.get_dir()) / "checkpoints" / name
    return weights.find(name) or (fetched if fetched.is_file() else weights.need(name))


def _surroundings(frame: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper left corner (2,) of what lies around `box`, and its picture."""
    size = np.array(frame.shape[1::-1])
    margin = AROUND * max(float((box[2:] - box[:2]).max()), 2.0)
    left, top = np.clip(np.floor(box[:2] - margin), 0, size - 1).astype(int)
    right, bottom = np.clip(np.ceil(box[2:] + margin), (left + 1, top + 1), size).astype(int)
    return np.array([left, top]), frame[top:bottom, left:right]


def _resized(picture: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """`picture` at about `scale` times its size, and the exact scale across and down (2,)."""
    size = tuple(max(8, round(side * scale)) for side in picture.shape[1::-1])
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.array(resized), np.divide(size, picture.shape[1::-1])
