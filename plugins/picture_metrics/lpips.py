"""LPIPS as a metric."""

from __future__ import annotations

import numpy as np
import torch

from fctfg.checkpoints import read_weights
from fctfg.errors import BadOption
from fctfg.interfaces import Film, Measurement, Moments, Quantity
from fctfg.metrics import FrameMeans, demand, unknown, weight_file
from fctfg.registry import suggest
from fctfg.weights import need
from fctfg_plugins.perceptual.lpips import HEADS, LPIPS, NETS

from .pictures import NOTHING, RegionMetric

AT_ONCE = 8
"""Pairs of pictures that go through the network together."""


class LPIPSMetric(RegionMetric):
    """How different drawn and true pictures look, as people have judged.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018, arXiv:1801.03924,
    version 0.1, with the network of plugin `perceptual`. Nothing is measured through random features: the backbone is
    torchvision's, from a file.

    Args:
        region: `face`, another crop profile, `mouth`, or `frame`.
        size: pixels a side of the crop; None for the region's own.
        net: `alex`, which papers report; `vgg`; or `squeeze`.
        weights: the backbone's file; by default the one that `fctfg weights` keeps.
    """

    paper = ("Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018, "
             "arXiv:1801.03924")
    licence = "MIT; the channel weights BSD-2-Clause (lpips), torchvision's backbones BSD-3-Clause, trained on ImageNet"
    quantities = (Quantity("lpips", "lower", 0, float("inf"), about="0 for equal pictures; seldom above 1."),)
    blindness = ("alex and vgg are two scales: compare numbers of one net, region and size only. It forgives small "
                 "shifts and new texture of the right kind, such as invented teeth; whether the mouth says the right "
                 "thing it does not see.")

    def __init__(self, *, region: str = "face", size: int | None = None, net: str = "alex", weights: str | None = None):
        super().__init__(region=region, size=size)
        if net not in NETS:
            raise BadOption(f"metric 'lpips': no net '{net}'.{suggest(net, NETS)} Give one of {', '.join(NETS)}.")
        self.net = net
        self._weights = weights
        self.network: LPIPS | None = None

    @property
    def protocol(self) -> str:
        return f"{self.region}, LPIPS 0.1 {self.net} ({NETS[self.net].file}), mean over frames"

    def load(self, device: str | torch.device = "cpu") -> None:
        path = weight_file("lpips", self._weights, NETS[self.net].file)
        network = LPIPS(self.net)
        network.load_state_dict(read_weights(need(HEADS[self.net])).tensors, strict=False)
        network.net.fill(path, NETS[self.net])
        self.use(network, device)

    def use(self, network: LPIPS, device: str | torch.device = "cpu") -> None:
        """Look through `network`."""
        self.network = network.to(device).eval().requires_grad_(False)

    def begin(self, film: Film) -> Measurement:
        demand(self, film)
        self.refuse_small(film, NETS[self.net].least)
        if self.network is None:
            self.load()
        return FrameMeans(["lpips"], self._look, NOTHING)

    @torch.no_grad()
    def _look(self, moments: Moments) -> dict[str, np.ndarray]:
        found, shown = unknown(moments, "lpips"), list(self.shown(moments))
        device = self.network.scaling_layer.shift.device
        for first in range(0, len(shown), AT_ONCE):
            some = shown[first:first + AT_ONCE]
            both = np.stack([one.picture for one in some] + [one.reference for one in some])
            pictures = torch.from_numpy(both).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            drawn, true = zip(*(maps.chunk(2) for maps in self.network.features(pictures)))
            found["lpips"][[one.place for one in some]] = self.network.distances(drawn, true).sum(-1).cpu().numpy()
        return found
