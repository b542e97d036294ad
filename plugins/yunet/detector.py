"""YuNet through OpenCV's FaceDetectorYN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from fctfg import weights
from fctfg.errors import BadWeights
from fctfg.faces.fivepoints import LENIENT, FivePointDetector

MODEL = "yunet_n_640_640.onnx"
OVERLAP = 0.3  # the intersection over union from which on two boxes are of one face
MOST = 50  # faces


class YuNetDetector(FivePointDetector):
    """Faces by YuNet, a network of 75,856 parameters; landmarks and identities by another detector.

    Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023, Machine Intelligence Research 20. Loads
    `model`, a path, or else yunet_n_640_640.onnx from where weights are kept (Apache-2.0); OpenCV's own file of it,
    face_detection_yunet_2023mar.onnx, is of the same form. Other options as `FivePointDetector` has them.
    """

    paper = "Wu, Peng and Yu, YuNet: A Tiny Millisecond-level Face Detector, 2023"
    licence = "Apache-2.0 (OpenCV, YuNet); the landmarks have that of the detector that gives them"

    def find(self, picture: np.ndarray, min_score: float) -> list[tuple[np.ndarray, float]]:
        self._network.setInputSize(picture.shape[1::-1])
        _, rows = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))
        # Left, top, width, height, five points, score; counted from the middles of pixels, as mirrored pictures show.
        return [(row[4:14].reshape(5, 2).astype(float) + 0.5, float(row[14])) for row in (() if rows is None else rows)
                if row[14] >= min_score]

    @cached_property
    def _network(self):
        path = Path(self.model).expanduser() if self.model else weights.need(MODEL)
        try:
            with _quietly():
                network = cv2.FaceDetectorYN.create(str(path), "", (64, 64), LENIENT, OVERLAP, MOST)
                network.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error:
            why = "is no YuNet network that OpenCV can read" if path.is_file() else "is not there"
            raise BadWeights(f"{path} {why}; the file that is wanted is {MODEL}.") from None
        return network


@contextmanager
def _quietly() -> Iterator[None]:
    """Without OpenCV's notes on what its new engine does not do yet."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        logging.setLogLevel(before)
