"""StyleGAN2's low-pass filter, [1, 3, 3, 1] along each axis, before, after and while the size of pictures changes.

The filter's sum is 2 along each axis, what keeps the brightness when pixels are spread to twice the size. Each function
is the gradient of another, so gradients of any order cost what the filter costs.

How it is computed decides how fast StyleGAN2 is. On a GPU a depthwise convolution takes longer than all matrix work
of the network; sums of shifted pictures, which torch.compile fuses with their surroundings, do not. On a CPU it is the other
way round: there each shifted sum walks through the memory once more, and the depthwise convolution only once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = (1, 3, 3, 1)


def kernel(gain: float = 1.0) -> Tensor:
    """The filter (4, 4) with the sum `gain`."""
    taps = torch.tensor(TAPS, dtype=torch.float32)
    return taps[:, None] * taps * (gain / taps.sum() ** 2)


def blur(x: Tensor, padding: int) -> Tensor:
    """`x` (M, C, H, W) filtered to (M, C, H + 2 padding - 3, W + 2 padding - 3); beyond its edges are zeros."""
    return _Blur.apply(x, padding)


def halve(x: Tensor) -> Tensor:
    """`x` (M, C, H, W) filtered and every second pixel kept."""
    return _Halve.apply(x)


def double(x: Tensor) -> Tensor:
    """`x` (M, C, H, W) at twice the size."""
    return _Double.apply(x)


class _Blur(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, padding: int) -> Tensor:
        ctx.padding = padding
        return _filtered(x, padding, step=1)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Blur.apply(gradient, len(TAPS) - 1 - ctx.padding), None


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _filtered(x, padding=1, step=2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Double.apply(gradient)


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        # Weights 1/4 and 3/4, as bilinear interpolation has them; the margin makes them so at the edges too.
        return F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")[..., 2:-2, 2:-2]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Halve.apply(gradient)


def _filtered(x: Tensor, padding: int, step: int) -> Tensor:
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        channels = x.shape[1]
        weight = kernel(gain=4).to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(x, weight, stride=step, padding=padding, groups=channels)
    x = F.pad(x, (padding,) * 4)
    for axis in (-1, -2):
        length = x.shape[axis] - len(TAPS) + 1
        first, second, third, fourth = (_every(x, axis, start, start + length, step) for start in range(len(TAPS)))
        x = torch.lerp(first + fourth, second + third, 0.75)
    return x


def _every(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    return x[..., start:end:step] if axis == -1 else x[..., start:end:step, :]
