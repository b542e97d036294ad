"""InsightFace's networks: SCRFD finds faces, the others of a pack say what they can."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime
from insightface import model_zoo
from insightface.app.common import Face as Seen

from fctfg import weights
from fctfg.errors import BadWeights
from fctfg.faces.boxes import five_of
from fctfg.faces.fivepoints import LENIENT, FivePointDetector

MODEL = "scrfd_500m_bnkps.onnx"
PACKS = ("buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "antelopev2")
HOME = Path("~/.insightface/models")
"""Where the package itself keeps its packs."""
SIDES = (160, 320, 640, 1280)
"""Of the squares that a network sees: it is set up anew for every size, so there are few."""
OWN_SIDE, OWN_MIDDLE = 1.29, np.array([0.0, -0.08])
"""How large SCRFD's own box is, which the landmarks' network expects, and how it lies; in sides of the box here."""
SAME = 0.28
"""The cosine of two identities from which on they are taken for one person; 0.56 apart, as `Detector.embed` has it."""


class InsightFaceDetector(FivePointDetector):
    """Faces by SCRFD; identities by ArcFace and 68 landmarks by the 3D model, where the pack has them.

    Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021, arXiv:2105.04714; Deng et
    al., "ArcFace", 2018, arXiv:1801.07698. `pack` is a folder of InsightFace's ONNX files, such as buffalo_l; by
    default one from where weights are kept, or from where the package keeps its own. Without a pack, SCRFD alone is
    read from `model`, or else scrfd_500m_bnkps.onnx from where weights are kept (InsightFace; **not for commercial
    use**). What the pack lacks is said by the detector `landmarker`. Other options as `FivePointDetector` has them.
    """

    paper = ("Guo et al., Sample and Computation Redistribution for Efficient Face Detection, 2021, arXiv:2105.04714; "
             "Deng et al., ArcFace, 2018, arXiv:1801.07698")
    licence = "MIT (insightface); its models are for non-commercial research only"

    def __init__(self, *, model: str | None = None, pack: str | None = None, pixels: int = 120_000,
                 min_score: float = 0.5, zoom: float = 2.5, landmarker: str = "dlib-hog"):
        super().__init__(model=model, pixels=pixels, min_score=min_score, zoom=zoom, landmarker=landmarker)
        self.pack = pack

    def find(self, picture: np.ndarray, min_score: float) -> list[tuple[np.ndarray, float]]:
        longer = max(picture.shape[:2])
        side = next((side for side in SIDES if side >= longer), SIDES[-1] * math.ceil(longer / SIDES[-1]))
        square = np.zeros((side, side, 3), np.uint8)
        square[:picture.shape[0], :picture.shape[1]] = picture[..., ::-1]
        boxes, points = self._finder.detect(square, input_size=(side, side))
        return [(five.astype(float), float(box[4])) for box, five in zip(boxes, points) if box[4] >= min_score]

    def landmarks(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        if self._landmarks is None:
            return super().landmarks(frame, box)
        middle, side = (box[:2] + box[2:]) / 2, float(box[2] - box[0])
        middle, half = middle + OWN_MIDDLE * side, OWN_SIDE / 2 * side
        own = np.concatenate([middle - half, middle + half])
        points = self._landmarks.get(np.ascontiguousarray(frame[..., ::-1]), Seen(bbox=own))
        return points[:, :2].astype(float)

    def embed(self, frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
        if self._identity is None:
            return super().embed(frame, landmarks)
        seen = Seen(kps=five_of(landmarks).astype(np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the package's own use of scikit-image
            code = self._identity.get(np.ascontiguousarray(frame[..., ::-1]), seen).astype(float)
        return code / max(float(np.linalg.norm(code)), 1e-9) * (0.56 / math.sqrt(2 - 2 * SAME))

    @cached_property
    def _folder(self) -> Path | None:
        """The pack, if there is one."""
        if self.pack:
            folder = Path(self.pack).expanduser()
            if not any(folder.glob("det*.onnx")):
                raise BadWeights(f"{folder} is no pack of InsightFace: it holds no det_*.onnx; give a folder such as "
                                 "buffalo_l, unzipped.")
            return folder
        if self.model:
            return None
        places = [weights.folder() / name for name in PACKS] + [HOME.expanduser() / name for name in PACKS]
        return next((place for place in places if any(place.glob("det*.onnx"))), None)

    @cached_property
    def _finder(self):
        if self._folder:
            path = min(self._folder.glob("det*.onnx"))
        else:
            path = Path(self.model).expanduser() if self.model else weights.need(MODEL)
        network = _read(path, "detection")
        network.prepare(0, input_size=(640, 640), det_thresh=LENIENT)
        return network

    @cached_property
    def _landmarks(self):
        path = self._folder and self._folder / "1k3d68.onnx"
        return _read(path, "landmark_3d_68") if path and path.is_file() else None

    @cached_property
    def _identity(self):
        names = "*w600k*.onnx", "glint*.onnx"
        found = [path for name in names for path in sorted(self._folder.glob(name))] if self._folder else []
        return _read(found[0], "recognition") if found else None


def _read(path: Path, task: str):
    """The network in `path`, for `task`, in InsightFace's words."""
    if not path.is_file():
        raise BadWeights(f"{path} is not there; `fctfg weights list` says what there is for InsightFace.")
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        network = model_zoo.get_model(str(path), providers=providers)
    except Exception as error:  # onnxruntime has a class of its own for each thing that may be wrong with a file
        raise BadWeights(f"{path} cannot be read by onnxruntime: {str(error).splitlines()[0]}") from None
    if getattr(network, "taskname", None) != task or (task == "detection" and not network.use_kps):
        raise BadWeights(f"{path} is no network for {task.replace('_', ' ')} that gives what is needed"
                         + (", five points among it." if task == "detection" else "."))
    return network
