"""Whether the drawn face is still the same person, as a network of face recognition sees it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadData, BadRecipe, BadWeights
from fctfg.faces import recrop
from fctfg.interfaces import Clip, Loss, Output
from fctfg.registry import suggest
from fctfg.weights import find, how_to_get

from .iresnet import BLOCKS, IResNet
from .irse import IRSE50
from .public import fill

PAPER = "Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019, arXiv:1801.07698"
LICENCE = "MIT; public weights: non-commercial research only, trained on MS-Celeb-1M and its descendants"
PROFILE, SIZE = "arcface112", 112
"""The only crop that the networks know, and its height and width."""
FILES = {"irse50": "model_ir_se50.pth", "iresnet50": "backbone.pth", "iresnet100": "backbone.pth"}
"""The public weights of each network; insightface calls those of r50 and of r100 alike."""


class IdentityLoss(Loss):
    """One minus the cosine between who is drawn and who was to be drawn, frame by frame.

    Deng et al., 2019, arXiv:1801.07698; as a loss in Richardson et al., "Encoding in Style" (pSp), 2021,
    arXiv:2008.00951, eq. 3. The network is frozen. Loads model_ir_se50.pth (TreB1eN/InsightFace_Pytorch) or the
    backbone.pth of insightface (non-commercial research only).

    Differs: pSp cuts a fixed box that suits FFHQ's alignment alone; here each frame is aligned by its landmarks, drawn
    and true ones alike.

    Args:
        crop: the crop profile that the frames have; given by the recipe.
        network: `irse50` (pSp's choice), `iresnet50` or `iresnet100`.
        frames: how many frames of each clip are looked at, evenly spread; None for all of them.
        scale: multiplies the channels of every layer; 1 is the public network.
        weights: a local file of `network`; where it is left out, the one that `fctfg weights` keeps.
    """

    paper = PAPER
    licence = LICENCE
    built_with = frozenset({"crop"})
    test_options = {"scale": 1 / 16, "frames": 1}

    def __init__(self, *, crop: str, network: str = "irse50", frames: int | None = None, scale: float = 1.0,
                 weights: str | None = None):
        super().__init__()
        if network not in FILES:
            raise BadRecipe(f"loss 'identity': no network '{network}'.{suggest(network, FILES)} Give one of "
                            f"{', '.join(FILES)}.")
        if frames is not None and frames < 1:
            raise BadRecipe(f"loss 'identity': frames {frames} leaves none to look at; give 1 or more; none for all.")
        self.crop = crop
        self.frames = frames
        self.public_file = FILES[network]
        self.network = IRSE50(scale) if network == "irse50" else IResNet(BLOCKS[network], scale)
        self._fill(network, scale, weights)
        self.network.requires_grad_(False).eval()
        self.told = False

    def _fill(self, network: str, scale: float, weights: str | None) -> None:
        """From the file that is named, or the one that is kept where it is of this network."""
        if weights and scale != 1:
            raise BadRecipe(f"loss 'identity': no public network has its channels scaled by {scale}; leave out scale "
                            "or weights.")
        path = weights or (find(FILES[network]) if scale == 1 else None)
        if path and fill(self.network, network, path) != network and weights:
            raise BadWeights(f"{weights} does not hold the weights of network '{network}'; give {FILES[network]} of "
                             "its authors, or the network that it is of.")

    def train(self, mode: bool = True) -> IdentityLoss:
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, output: Output, clip: Clip) -> Tensor:
        landmarks = self._landmarks(clip)
        with torch.no_grad():
            wanted = self.embed(clip.frames, landmarks)
        return 1 - (self.embed(output.frames, landmarks) * wanted).sum(-1).mean()

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """How alike the person in `source` is to the drawn frames, `source`, and to the true ones, `source_of_truth`.

        The second says what can be reached. A source has no landmarks of its own: it is aligned by the mean ones of the
        frames, near which the crop profile lays every face.
        """
        landmarks = self._landmarks(clip)
        with torch.no_grad():
            mean = landmarks.mean(1, keepdim=True).expand(-1, clip.source.shape[1], -1, -1)
            source = F.normalize(self.embed(clip.source, mean).mean(1, keepdim=True), dim=-1)
            return {name: (self.embed(frames, landmarks) * source).sum(-1).mean()
                    for name, frames in (("source", output.frames), ("source_of_truth", clip.frames))}

    def advice(self) -> str | None:
        """That the network has learnt nothing, where no file has filled it; said once."""
        first = next(module for module in self.network.modules() if isinstance(module, nn.BatchNorm2d))
        if self.told or first.running_mean.any():
            return None
        self.told = True
        way = f": {how}" if (how := how_to_get(self.public_file)) else ""
        return ("The identity loss looks through a random network, which tells nobody apart. Fill it from a public "
                f"file with --start-from {self.public_file}{way}; or give the loss no weight with --loss identity=0.")

    def embed(self, frames: Tensor, landmarks: Tensor) -> Tensor:
        """Vectors of length one (B, T, 512) of the faces in `frames` (B, T, 3, H, W), those that are looked at."""
        count = frames.shape[1]
        if self.frames is not None and self.frames < count:
            looked_at = [(2 * i + 1) * count // (2 * self.frames) for i in range(self.frames)]
            frames, landmarks = frames[:, looked_at], landmarks[:, looked_at]
        faces = self.align(frames, landmarks)
        return F.normalize(self.network(faces.flatten(0, 1)).unflatten(0, faces.shape[:2]), dim=-1)

    def align(self, frames: Tensor, landmarks: Tensor) -> Tensor:
        """The faces (B, T, 3, 112, 112) in `frames` (B, T, 3, H, W)."""
        if self.crop != PROFILE:
            return recrop(frames, landmarks, PROFILE, SIZE)
        if frames.shape[-2:] == (SIZE, SIZE):
            return frames
        resized = F.interpolate(frames.flatten(0, 1), (SIZE, SIZE), mode="bilinear", antialias=True)
        return resized.unflatten(0, frames.shape[:2])

    def _landmarks(self, clip: Clip) -> Tensor:
        if clip.landmarks is None:
            raise BadData("The clips carry no landmarks, by which loss 'identity' aligns faces; prepare the data again "
                          "with them.")
        return clip.landmarks
