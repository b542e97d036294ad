"""FID and FVD: how far drawn films are from real ones as two sets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from fctfg.checkpoints import read_weights
from fctfg.errors import BadOption, BadWeights, CannotMeasure
from fctfg.interfaces import Film, Measurement, Metric, Moments, Quantity, Score
from fctfg.metrics import Region, demand, weight_file

from . import i3d, inception
from .frechet import frechet_distance

AT_ONCE = 16
"""Pictures that go through the network together."""
NOTHING = "the face is not seen where it is to be looked at"


class SetMetric(Metric):
    """What FID and FVD share: features of each film, drawn and real, compared once all films are there."""

    needs = frozenset({"face", "reference"})
    name: ClassVar[str]
    file: ClassVar[str]
    """The public weights of its network."""

    def __init__(self, *, region: str, size: int | None, weights: str | None, most: int):
        if most < 1:
            raise BadOption(f"metric '{self.name}': most {most} looks at nothing; give 1 or more.")
        self.region = Region(region, size)
        self.needs = self.region.needs | {"reference"}
        self.most = most
        self._weights = weights
        self.network: nn.Module | None = None
        self.device = torch.device("cpu")

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, to be filled."""

    def load(self, device: str | torch.device = "cpu") -> None:
        path = weight_file(self.name, self._weights, self.file)
        network = self.build()
        tensors = read_weights(path).tensors
        own = getattr(network, "network", network)
        counted = {key: value for key, value in own.state_dict().items() if key.endswith("num_batches_tracked")}
        wanted = {key: value.shape for key, value in own.state_dict().items()}
        if {key: value.shape for key, value in {**counted, **tensors}.items()} != wanted:
            raise BadWeights(f"{path} is not {self.file}, which metric '{self.name}' looks through.")
        own.load_state_dict({**counted, **tensors})
        self.use(network, device)

    def use(self, network: nn.Module, device: str | torch.device = "cpu") -> None:
        """Look through `network`."""
        self.device = torch.device(device)
        self.network = network.to(self.device).eval().requires_grad_(False)

    def pool(self, scores: Sequence[Score]) -> dict[str, float]:
        drawn, true = ([getattr(score, side) for score in scores if score.features is not None]
                       for side in ("features", "reference_features"))
        count = sum(map(len, drawn))
        if count < 2:
            return {}
        distance = frechet_distance(np.concatenate(drawn), np.concatenate(true))
        return {self.name: distance, f"{self.name}-n": float(count)}


class FIDMetric(SetMetric):
    """How far the pictures of drawn films are from those of real ones, as two sets.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017,
    arXiv:1706.08500. Inception v3 of 2015 by pt_inception-2015-12-05-6726825d.pth, resizing as pytorch-fid does. A film
    alone has no FID: all films are pooled.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
        weights: the network's file; by default the one that `fctfg weights` keeps.
        most: frames of each film that are looked at, evenly spread.
    """

    paper = ("Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, 2017, "
             "arXiv:1706.08500")
    licence = "MIT; the public weights Apache-2.0, trained on ImageNet"
    quantities = (Quantity("fid", "lower", 0, float("inf"), about="Of all films together; 0 for equal sets."),
                  Quantity("fid-n", "neither", 0, float("inf"), "frames", "That were looked at, on either side."))
    blindness = ("It falls with the number of frames alone: compare equal numbers only, and under 2,048 the order of "
                 "systems, not the value. Frames of one film are no independent samples. It cannot see that the mouth "
                 "is wrong, nor that a film stands still; compression and resizing move it by several points.")
    name, file = "fid", inception.FILE

    def __init__(self, *, region: str = "face", size: int | None = None, weights: str | None = None, most: int = 100):
        super().__init__(region=region, size=size, weights=weights, most=most)

    @property
    def protocol(self) -> str:
        return (f"{self.region}, bilinear without antialiasing to {inception.SIZE} px, Inception v3 ({self.file}), "
                f"{inception.WIDTH} features, at most {self.most} frames of a film, all films pooled")

    def build(self) -> nn.Module:
        return inception.FIDInception()

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if self.network is None:
            self.load()
        return _Pictures(self, spread(film.num_frames, self.most))


class FVDMetric(SetMetric):
    """How far drawn films are from real ones in how they look and move, as two sets of clips of 16 frames.

    Unterthiner et al., "Towards Accurate Generative Models of Video: A New Metric & Challenges", 2018,
    arXiv:1812.01717. The 400 scores of I3D, trained on Kinetics-400, by rgb_imagenet.pt. Published FVDs disagree in
    network, resizing and number of clips: compare what was measured by one program.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        weights: the network's file; by default the one that `fctfg weights` keeps.
        most: clips of each film that are looked at, evenly spread, without overlap.
    """

    paper = ("Unterthiner et al., Towards Accurate Generative Models of Video: A New Metric and Challenges, 2018, "
             "arXiv:1812.01717; Carreira and Zisserman, Quo Vadis, Action Recognition?, 2017, arXiv:1705.07750")
    licence = "MIT; the public weights Apache-2.0, trained on Kinetics-400"
    quantities = (Quantity("fvd", "lower", 0, float("inf"), about="Of all films together; 0 for equal sets."),
                  Quantity("fvd-n", "neither", 0, float("inf"), "clips", "That were looked at, on either side."))
    blindness = ("It falls with the number of clips alone, and under some hundred means little. It looks at pictures "
                 "more than at motion, and hears nothing: lips out of step are no worse.")
    frame_rate = 25
    name, file = "fvd", i3d.FILE

    def __init__(self, *, region: str = "face", weights: str | None = None, most: int = 8):
        super().__init__(region=region, size=None if region == "frame" else i3d.SIZE, weights=weights, most=most)

    @property
    def protocol(self) -> str:
        return (f"25 fps, {self.region}, {i3d.SIZE} px, I3D ({self.file}), {i3d.CLASSES} scores, clips of {i3d.FRAMES} "
                f"frames without overlap, at most {self.most} of a film, all films pooled")

    def build(self) -> nn.Module:
        return i3d.I3D()

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        if film.num_frames < i3d.FRAMES:
            raise CannotMeasure(f"it is too short: {film.num_frames} frames, and a clip has {i3d.FRAMES}")
        if self.network is None:
            self.load()
        return _Clips(self, spread(film.num_frames // i3d.FRAMES, self.most))


def spread(count: int, most: int) -> frozenset[int]:
    """At most `most` of the numbers under `count`, evenly spread."""
    return frozenset((2 * i + 1) * count // (2 * min(count, most)) for i in range(min(count, most)))


class _SetMeasurement(Measurement):
    """Gathers pairs of pictures or clips, and takes their features some at a time."""

    def __init__(self, metric: SetMetric, wanted: frozenset[int]):
        self.metric, self.wanted = metric, wanted
        self._features: list[np.ndarray] = []

    @torch.no_grad()
    def look(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take the features of `pairs`, drawn and true, as the network wants them."""
        shown = torch.stack([side for pair in pairs for side in pair]).to(self.metric.device)
        self._features.append(self.metric.network(shown).float().cpu().numpy().reshape(len(pairs), 2, -1))

    def score(self) -> Score:
        if not self._features:
            raise CannotMeasure(NOTHING)
        both = np.concatenate(self._features)
        return Score({}, {}, both[:, 0], both[:, 1])


class _Pictures(_SetMeasurement):

    def __init__(self, metric: SetMetric, wanted: frozenset[int]):
        super().__init__(metric, wanted)
        self._pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def see(self, moments: Moments) -> None:
        for place, picture, reference in self.metric.region.show(moments):
            if moments.first + place in self.wanted:
                self._pairs.append(tuple(torch.from_numpy(side.copy()).permute(2, 0, 1) / 255
                                         for side in (picture, reference)))
            if 2 * len(self._pairs) >= AT_ONCE:
                self._flush()

    def score(self) -> Score:
        self._flush()
        return super().score()

    def _flush(self) -> None:
        if self._pairs:
            self.look(self._pairs)
            self._pairs = []


class _Clips(_SetMeasurement):

    def __init__(self, metric: SetMetric, wanted: frozenset[int]):
        super().__init__(metric, wanted)
        self._held: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._number = -1  # of the clip that they belong to

    def see(self, moments: Moments) -> None:
        for place, picture, reference in self.metric.region.show(moments):
            number = (moments.first + place) // i3d.FRAMES
            if number != self._number:  # the last one lacked a frame
                self._number, self._held = number, []
            if number in self.wanted:
                self._held.append((self._shown(picture), self._shown(reference)))
            if len(self._held) == i3d.FRAMES:
                self.look([tuple(torch.stack(side, 1) for side in zip(*self._held))])
                self._held = []

    @staticmethod
    def _shown(picture: np.ndarray) -> torch.Tensor:
        """(3, 224, 224) in [-1, 1]."""
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1
        if pixels.shape[1:] != (i3d.SIZE, i3d.SIZE):
            pixels = nn.functional.interpolate(pixels[None], (i3d.SIZE, i3d.SIZE), mode="bilinear", align_corners=False,
                                               antialias=True)[0]
        return pixels
