"""Whether the person is still the same: CSIM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fctfg import registry
from fctfg.errors import BadOption, BadWeights
from fctfg.faces import crop, find_profile
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity
from fctfg.metrics import FrameMeans, demand, unknown, weight_file
from fctfg.registry import suggest
from fctfg_plugins.arcface.iresnet import BLOCKS, IResNet
from fctfg_plugins.arcface.irse import IRSE50
from fctfg_plugins.arcface.public import fill

Look = Callable[[list[np.ndarray], np.ndarray], np.ndarray]
"""From frames and the landmarks of their faces to vectors (n, D)."""

DLIB = "dlib"
FILES = {"irse50": "model_ir_se50.pth", "iresnet50": "backbone.pth", "iresnet100": "backbone.pth"}
PROFILE, SIZE = "arcface112", 112


class CSIMMetric(Metric):
    """How alike the face is to the reference's in the same frame: the cosine of two vectors of a face recogniser.

    As CSIM in Zakharov et al., "Few-Shot Adversarial Learning of Realistic Neural Talking Head Models", 2019,
    arXiv:1905.08233, with the network named. `dlib` is at hand and lies high: its vectors have nearly one direction;
    the others are ArcFace's (Deng et al., 2019, arXiv:1801.07698), which papers mean, and read a file.

    Args:
        backbone: `dlib`; `irse50` (model_ir_se50.pth); `iresnet50` or `iresnet100` (backbone.pth of insightface).
        weights: its file, but for dlib; by default the one that `fctfg weights` keeps.
        every: looks at every so many frames.
    """

    paper = ("Zakharov et al., Few-Shot Adversarial Learning of Realistic Neural Talking Head Models, 2019, "
             "arXiv:1905.08233; Deng et al., ArcFace, 2019, arXiv:1801.07698")
    licence = "MIT; dlib and its network BSL-1.0 and CC0; ArcFace's public weights: non-commercial research only"
    quantities = (Quantity("csim", "higher", -1, 1, about="1 for equal faces. By dlib one person has 0.95 and more, "
                           "two have 0.78 to 0.93 (14 real people); by ArcFace one has 0.5 and more."),)
    blindness = ("Recognisers are taught to overlook expression, light and blur, and so they do: a frozen face of the "
                 "right person scores best. Every backbone has a scale of its own; systems that are trained against "
                 "one score too well by it. Profiles and small faces pull it down.")
    needs = frozenset({"face", "reference"})
    test_options = {"every": 60}

    def __init__(self, *, backbone: str = DLIB, weights: str | None = None, every: int = 10):
        names = (DLIB, *FILES)
        if backbone not in names:
            raise BadOption(f"metric 'csim': no backbone '{backbone}'.{suggest(backbone, names)} Give one of "
                            f"{', '.join(names)}.")
        if every < 1:
            raise BadOption(f"metric 'csim': every {every} looks at no frame; give 1 or more.")
        if weights and backbone == DLIB:
            raise BadOption(f"metric 'csim': backbone dlib takes no weights; {weights} may be one of "
                            f"{', '.join(FILES)}.")
        self.backbone, self.every = backbone, every
        self._weights = weights
        self._look: Look | None = None

    @property
    def protocol(self) -> str:
        how = ("aligned by dlib to 150 px, 128 numbers" if self.backbone == DLIB
               else f"aligned by five points to {SIZE} px, 512 numbers")
        return f"{self.backbone} ({how}), cosine with the reference's same frame, every {self.every} frames, mean"

    def load(self, device: str | torch.device = "cpu") -> None:
        if self.backbone == DLIB:
            detector = registry.build("detector", "dlib-hog")
            self._look = lambda frames, points: np.stack([detector.embed(*pair) for pair in zip(frames, points)])
        else:
            path = weight_file("csim", self._weights, FILES[self.backbone])
            self.use(filled(self.backbone, path), device)

    def use(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        """Look through `network`, which makes vectors (n, D) of pictures (n, 3, 112, 112) in [-1, 1]."""
        network = network.to(device).eval().requires_grad_(False)

        @torch.no_grad()
        def look(frames: list[np.ndarray], points: np.ndarray) -> np.ndarray:
            matrices = find_profile(PROFILE).matrices(points)
            faces = np.stack([crop(frame, matrix, SIZE) for frame, matrix in zip(frames, matrices)])
            pictures = torch.from_numpy(faces).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            return network(pictures).float().cpu().numpy()

        self._look = look

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if self._look is None:
            self.load()
        return FrameMeans(["csim"], self._compare, "the face is not seen in the film and in its reference at once")

    def _compare(self, moments: Moments) -> dict[str, np.ndarray]:
        found = unknown(moments, "csim")
        both = (moments, moments.reference)
        seen = np.logical_and(*(np.isfinite(film.landmarks).all((1, 2)) for film in both))
        seen &= (moments.first + np.arange(len(seen))) % self.every == 0
        places = np.flatnonzero(seen)
        if len(places):
            vectors = (self._look([film.frames[place] for place in places], film.landmarks[places].astype(np.float64))
                       for film in both)
            drawn, true = (torch.from_numpy(side).double() for side in vectors)
            found["csim"][places] = F.cosine_similarity(drawn, true).numpy()
        return found


def filled(backbone: str, path) -> nn.Module:
    """The network `backbone` with the weights of `path`.

    Raises:
        BadWeights: it is another file.
    """
    network = IRSE50() if backbone == "irse50" else IResNet(BLOCKS[backbone])
    known = fill(network, backbone, path)
    if known != backbone:
        raise BadWeights(f"{path} is not what backbone {backbone} reads ({FILES[backbone]})"
                         f"{f'; give backbone={known}' if known else ''}.")
    return network
