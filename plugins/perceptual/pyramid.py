"""The perceptual loss of the first-order-model: VGG19 features, compared at several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Loss, Output
from fctfg.weights import find

from .backbones import VGG19, Backbone
from .looking import looked_at, random_advice

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1]."""


class VGG19Loss(Loss):
    """The mean absolute difference of VGG19's features between drawn and true frames, summed over layers and scales.

    Siarohin et al., "First Order Motion Model for Image Animation", 2019, arXiv:2003.00196, after Johnson et al., 2016,
    arXiv:1603.08155: the layers relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1, on a pyramid of Gaussian blurs. FC-TFG
    names VGG19 without saying how. The backbone comes from a file of torchvision's that you give, by option or by
    --start-from, or that `fctfg weights fetch` has brought; without one its features are random. Pixels are clamped to
    [-1, 1].

    Differs: scales at which a frame has less than 16 px a side, of which relu5_1 shows nothing, are left out.

    Args:
        size: of the frames; given by the recipe.
        weights: of the five layers.
        scales: each one over a whole number.
        backbone: a local file: vgg19-dcbb9e9d.pth; where it is left out, the one that `fctfg weights` keeps.
        frames: how many frames of each clip are looked at, evenly spread; None for all of them.
        scale: multiplies the channels of every layer; 1 is the public network. At 64 px 0.25 is nine times as fast.
    """

    paper = "Siarohin et al., First Order Motion Model for Image Animation, 2019, arXiv:2003.00196"
    licence = "MIT; torchvision's backbone BSD-3-Clause, trained on ImageNet"
    built_with = frozenset({"size"})
    test_options = {"scale": 1 / 16}

    def __init__(self, *, size: int, weights: Sequence[float] = (10, 10, 10, 10, 10),
                 scales: Sequence[float] = (1, 0.5, 0.25, 0.125), backbone: str | None = None,
                 frames: int | None = None, scale: float = 1.0):
        super().__init__()
        if len(weights) != len(VGG19.ends):
            raise BadRecipe(f"loss 'vgg19' has {len(VGG19.ends)} layers and was given {len(weights)} weights; give one "
                            "for each.")
        if any(not 0 < s <= 1 or abs(1 / s - round(1 / s)) > 1e-6 for s in scales):
            raise BadRecipe(f"loss 'vgg19': scales {list(scales)} are not all one over a whole number; give such as "
                            "[1, 0.5].")
        steps = sorted({round(1 / s) for s in scales})
        self.steps = [step for step in steps if size >= VGG19.least * step]
        if not self.steps:
            raise BadRecipe(f"loss 'vgg19': frames of {size} px are too small for scales {list(scales)}; give size: "
                            f"{VGG19.least * min(steps, default=1)} or more.")
        if backbone and scale != 1:
            raise BadRecipe(f"loss 'vgg19': no public backbone has its channels scaled by {scale}; leave out scale or "
                            "backbone.")
        self.weights, self.frames, self.told = tuple(map(float, weights)), frames, False
        self.network = Backbone(VGG19, scale)
        if backbone := backbone or (find(VGG19.file) if scale == 1 else None):
            self.network.fill(backbone, VGG19)
        for step in self.steps:
            self.register_buffer(f"blur{step}", gaussian(step), persistent=False)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, output: Output, clip: Clip) -> Tensor:
        drawn, true = looked_at("vgg19", output.frames, clip.frames, self.frames)
        return sum(self._difference(a, b) for a, b in zip(self._pyramid(drawn), self._pyramid(true)))

    def advice(self) -> str | None:
        """That its features are random, where no file has filled them; said once."""
        if self.told or not self.network.is_random:
            return None
        self.told = True
        return random_advice("vgg19", VGG19.file)

    def _pyramid(self, pictures: Tensor) -> list[Tensor]:
        """`pictures` (M, 3, H, W) in [-1, 1] at every scale, normalised."""
        pictures = pictures.clamp(-1, 1) / 2 + 0.5
        with torch.autocast(pictures.device.type, enabled=False):  # half precision would make steps of smooth shades
            scales = [shrunk(pictures, getattr(self, f"blur{step}"), step) for step in self.steps]
        return [(picture - self.mean) / self.deviation for picture in scales]

    def _difference(self, drawn: Tensor, true: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.network(true)
        return sum(weight * (a.float() - b.float()).abs().mean()
                   for weight, a, b in zip(self.weights, self.network(drawn), wanted) if weight)


def gaussian(step: int) -> Tensor:
    """The kernel (k, k) that blurs before every `step`-th pixel is kept, of deviation (step - 1) / 2; sums to one."""
    deviation = (step - 1) / 2
    reach = round(4 * deviation)
    away = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-away.square() / (2 * deviation**2)) if step > 1 else torch.ones(1, dtype=torch.float64)
    return torch.outer(line, line).div(line.sum() ** 2).float()


def shrunk(pictures: Tensor, kernel: Tensor, step: int) -> Tensor:
    """Every `step`-th pixel of `pictures` (M, 3, H, W) blurred by `kernel` (k, k); beyond their edges is black."""
    if step == 1:
        return pictures
    channels = pictures.shape[1]
    kernels = kernel.expand(channels, 1, *kernel.shape)
    return F.conv2d(pictures, kernels, stride=step, padding=len(kernel) // 2, groups=channels)
