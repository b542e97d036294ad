"""The critic's network: how real a picture looks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import filters
from .layers import GAIN, SLOPE, Bias, EqualLinear, Kernel, full_precision
from .sizes import channels_at, check_size, sizes_above_four

GROUP = 4
"""The fewest pictures that are compared with each other, where there are as many."""


class Weight(nn.Module):
    """Of a convolution, stored at unit variance."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))


class ConvLayer(nn.Sequential):
    """A convolution, and where `activated` a bias and a leaky ReLU; where `down`, to half the size behind the filter."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, down: bool = False, activated: bool = True):
        super().__init__(*[Kernel()] * down, Weight(inputs, outputs, kernel), *[Bias(outputs)] * activated)
        self.down, self.activated = down, activated
        self.halved = down and kernel == 1  # by the filter itself: pixels that a stride would skip are not computed
        self.stride = 2 if down and not self.halved else 1
        self.padding = 0 if down else kernel // 2
        self.scale = 1 / math.sqrt(inputs * kernel ** 2)
        if down:
            self.scale /= 4  # the filter's sum is 2 along each axis, what doubling needs

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """(M, O, h, w) from `x` (M, I, H, W), multiplied by `gain`."""
        if self.activated:
            gain = gain * GAIN
        if self.down:
            x = filters.halve(x) if self.halved else filters.blur(x, padding=2)
        weight = self[1 if self.down else 0].weight * (self.scale * gain)
        if not self.activated:
            return F.conv2d(x, weight, None, self.stride, self.padding)
        return F.leaky_relu(F.conv2d(x, weight, self[-1].bias * gain, self.stride, self.padding), SLOPE, inplace=True)


class ResidualBlock(nn.Module):
    """Pictures at half the size with other channels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = ConvLayer(inputs, inputs, 3)
        self.conv2 = ConvLayer(inputs, outputs, 3, down=True)
        self.skip = ConvLayer(inputs, outputs, 1, down=True, activated=False)

    def forward(self, x: Tensor) -> Tensor:
        keep_variance = 1 / math.sqrt(2)
        return self.conv2(self.conv1(x), keep_variance) + self.skip(x, keep_variance)


class Discriminator(nn.Module):
    """How real pictures look, as logits: what `d` of rosinality's and `D` of NVIDIA's files fill.

    Karras et al., 2020, arXiv:1912.04958: residual, with the deviation within groups of a batch as a last channel
    (Karras et al., "Progressive Growing of GANs", 2018, arXiv:1710.10196). The last layers run in float32 under autocast
    too. Differs: groups have at least 4 pictures, so that batches of any size work.
    """

    def __init__(self, size: int, channel_multiplier: float = 2, channel_max: int = 512):
        super().__init__()
        check_size("critic", size)
        sides = [*reversed(sizes_above_four(size)), 4]
        channels = [channels_at(side, channel_multiplier, channel_max) for side in sides]
        self.convs = nn.Sequential(ConvLayer(3, channels[0], 1),
                                   *(ResidualBlock(*pair) for pair in zip(channels, channels[1:])))
        last = channels[-1]
        self.final_conv = ConvLayer(last + 1, last, 3)
        self.final_linear = nn.Sequential(EqualLinear(last * 4 * 4, last, activated=True), EqualLinear(last, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (M,) in float32 of `pictures` (M, 3, H, W)."""
        x = self.convs(pictures.contiguous(memory_format=torch.channels_last)).float()
        with full_precision(x):
            x = self.final_conv(torch.cat([x, deviation(x)], 1))
            return self.final_linear(x.flatten(1)).squeeze(1)


def deviation(x: Tensor) -> Tensor:
    """The mean standard deviation, over the pictures `x` (M, C, h, w) of a group, as a channel (M, 1, h, w).

    Groups are every n-th picture, so frames of one clip are compared with those of other clips first.
    """
    pictures, _, height, width = x.shape
    groups = max(1, pictures // GROUP)
    means = torch.stack([(x[group::groups].var(0, correction=0) + 1e-8).sqrt().mean() for group in range(groups)])
    own = torch.arange(pictures, device=x.device) % groups
    return means[own][:, None, None, None].expand(-1, 1, height, width)
