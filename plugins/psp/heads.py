"""How a feature map becomes one style code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EqualLinear(nn.Module):
    """A linear layer whose weight is drawn with deviation 1 and scaled as it is used (Karras et al., 2018,
    arXiv:1710.10196), so that all layers learn at the same pace."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = inputs ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class StyleHead(nn.Module):
    """Strided convolutions down to one pixel, then a linear layer: pSp's map2style.

    Args:
        channels: of the feature map.
        spatial: height and width of the feature map, a power of two.
        width: of the code.
    """

    def __init__(self, channels: int, spatial: int, width: int):
        super().__init__()
        layers = []
        for _ in range(round(math.log2(spatial))):
            layers += [nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))
