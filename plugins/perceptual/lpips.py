"""LPIPS: how different two pictures look, as people have judged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fctfg.checkpoints import read_weights
from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Loss, Output
from fctfg.registry import suggest
from fctfg.weights import find, need

from .backbones import ALEXNET, SQUEEZENET, VGG16, Architecture, Backbone
from .looking import looked_at, random_advice

NETS: dict[str, Architecture] = {"alex": ALEXNET, "squeeze": SQUEEZENET, "vgg": VGG16}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "squeeze": (64, 128, 256, 384, 384, 512, 512),
            "vgg": (64, 128, 256, 512, 512)}
HEADS = {net: f"lpips-v0.1-{net}.pth" for net in NETS}
"""The weights of the channels, in the package lpips, which itself is not imported: it calls torchvision in deprecated
ways."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's mean and standard deviation of pixels in [-1, 1]."""


class LPIPS(nn.Module):
    """The network: features of unit length at every pixel, their squared differences weighed by channel.

    State dicts have the keys of the lpips package, without the copies under `lins.`.
    """

    def __init__(self, net: str = "alex"):
        super().__init__()
        self.scaling_layer = nn.Module()
        self.scaling_layer.register_buffer("shift", torch.tensor(SHIFT)[:, None, None][None])
        self.scaling_layer.register_buffer("scale", torch.tensor(SCALE)[:, None, None][None])
        self.net = Backbone(NETS[net])
        self.count = len(CHANNELS[net])
        for number, channels in enumerate(CHANNELS[net]):
            head = nn.Module()
            head.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))  # a dropout stood first
            self.add_module(f"lin{number}", head)
        self.requires_grad_(False)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Of `pictures` (M, 3, H, W) in [-1, 1], each (M, C, h, w) in float32 and of length one along C."""
        found = self.net((pictures - self.scaling_layer.shift) / self.scaling_layer.scale)
        # vector_norm has a gradient of 0 where all features are 0; a square root of squares has none.
        return [x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10) for x in (x.float() for x in found)]

    def distances(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """(M, L): of two lists of L features, layer by layer; LPIPS is their sum."""
        heads = (self.get_submodule(f"lin{number}.model.1").weight.float() for number in range(self.count))
        return torch.stack([((x - y).square() * head[0]).sum(1).mean((1, 2)) for x, y, head in zip(a, b, heads)], -1)


class LPIPSLoss(Loss):
    """LPIPS between drawn and true frames, frame by frame.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018, arXiv:1801.03924,
    version 0.1. pSp, e4e and HyperStyle train with `alex` and weight 0.8. The weights of the channels come from the
    installed package lpips; the backbone from a file of torchvision's that you give, by option or by --start-from, or
    that `fctfg weights fetch` has brought. Without one its features are random: they compare edges and textures, but
    not as people do.

    Args:
        size: of the frames; given by the recipe.
        net: `alex`, the fastest; `vgg`, the authors' choice for training; or `squeeze`, the smallest.
        backbone: a local file: alexnet-owt-7be5be79.pth, vgg16-397923af.pth or squeezenet1_1-b8a52dc0.pth; where it is
            left out, the one that `fctfg weights` keeps.
        frames: how many frames of each clip are looked at, evenly spread; None for all of them.
    """

    paper = ("Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018, "
             "arXiv:1801.03924")
    licence = "MIT; the channel weights BSD-2-Clause (lpips), torchvision's backbones BSD-3-Clause, trained on ImageNet"
    built_with = frozenset({"size"})
    test_options = {"frames": 2}

    def __init__(self, *, size: int, net: str = "alex", backbone: str | None = None, frames: int | None = None):
        super().__init__()
        if net not in NETS:
            raise BadRecipe(f"loss 'lpips': no net '{net}'.{suggest(net, NETS)} Give one of {', '.join(NETS)}.")
        if size < NETS[net].least:
            raise BadRecipe(f"loss 'lpips': frames of {size} px are too small for net '{net}'; give size: "
                            f"{NETS[net].least} or more.")
        self.net, self.frames, self.told = net, frames, False
        self.network = LPIPS(net)
        self.network.load_state_dict(read_weights(need(HEADS[net])).tensors, strict=False)
        if backbone := backbone or find(NETS[net].file):
            self.network.net.fill(backbone, NETS[net])

    def forward(self, output: Output, clip: Clip) -> Tensor:
        drawn, true = looked_at("lpips", output.frames, clip.frames, self.frames)
        with torch.no_grad():
            wanted = self.network.features(true)
        return self.network.distances(self.network.features(drawn), wanted).sum(-1).mean()

    def advice(self) -> str | None:
        """That its features are random, where no file has filled them; said once."""
        if self.told or not self.network.net.is_random:
            return None
        self.told = True
        return random_advice("lpips", NETS[self.net].file)
