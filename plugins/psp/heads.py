"""How a feature map becomes one style code."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..stylegan2.layers import EqualLinear


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
