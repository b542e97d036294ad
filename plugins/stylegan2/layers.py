"""The layers of StyleGAN2: equalised learning rates, convolutions that a style modulates, noise.

    M  pictures, B * T of them     I, O  channels in and out     k  kernel size     D  width of a code

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", 2020, arXiv:1912.04958. A style scales the
channels that go into a convolution and demodulation those that come out of it, which equals a weight for each picture but
leaves one plain convolution for all of them. Styles are computed in float32 under autocast too: a motion is a small
change of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import filters

SLOPE = 0.2
GAIN = math.sqrt(2)
"""What the leaky ReLU takes from the variance is given back. Scaling before it is the same, and free."""


def full_precision(x: Tensor) -> torch.autocast:
    """Within it, nothing on the device of `x` is computed in a lower precision."""
    return torch.autocast(x.device.type, enabled=False)


def over_picture(channels: Tensor) -> Tensor:
    """(C,) or (M, C) as factors of pictures (M, C, H, W)."""
    return channels[..., None, None]


class PixelNorm(nn.Module):
    """Vectors (M, D) brought to a mean square of 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class EqualLinear(nn.Module):
    """A linear layer in float32 whose weights are stored at unit variance, so that all learn equally fast.

    Args:
        bias: what the bias begins with.
        lr: multiplies the layer's learning rate.
        activated: a leaky ReLU follows.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, lr: float = 1.0, activated: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.lr, self.activated = lr, activated
        self.scale = lr / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        gain = GAIN if self.activated else 1.0
        with full_precision(x):
            y = F.linear(x.to(self.weight.dtype) * (self.scale * gain), self.weight, self.bias * (self.lr * gain))
        return F.leaky_relu(y, SLOPE) if self.activated else y


class Kernel(nn.Module):
    """Holds the filter as public files do; what is computed is in `filters`."""

    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.register_buffer("kernel", filters.kernel(gain))


class Bias(nn.Module):
    """One number for each channel, added before the activation."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class Noise(nn.Module):
    """How strongly a layer is moved by noise."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class ModulatedConv(nn.Module):
    """A convolution whose input channels a style scales.

    Args:
        width: D.
        up: to twice the size, and a filter behind it.
        demodulated: the variance that the style brought in is taken out again.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, width: int, up: bool = False, demodulated: bool = True):
        super().__init__()
        self.up, self.demodulated = up, demodulated
        self.scale = 1 / math.sqrt(inputs * kernel ** 2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        if up:
            self.blur = Kernel(gain=4)
        self.modulation = EqualLinear(width, inputs, bias=1.0)

    def forward(self, x: Tensor, codes: Tensor, delta: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """`x` (M, I, h, w) convolved, and what is still to be multiplied with it: (M, O), or None without demodulation.

        `codes` (B, T, D); `delta` (B, O, I, k, k), or what broadcasts to it, offsets the weight of each clip.
        """
        style = self.modulation(codes) * self.scale  # (B, T, I)
        x = x * over_picture(style.flatten(0, 1)).to(x.dtype)
        if delta is None:
            weight = self.weight
            x = self._convolve(x, weight)
        else:  # a clip's weight is made once and serves all of its frames
            weight = (self.weight * (1 + delta)).expand(len(codes), *self.weight.shape)
            clips = zip(x.unflatten(0, codes.shape[:2]), weight)
            x = torch.cat([self._convolve(frames, own) for frames, own in clips])
        return x, self._demodulation(weight, style) if self.demodulated else None

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if not self.up:
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return filters.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1)

    def _demodulation(self, weight: Tensor, style: Tensor) -> Tensor:
        with full_precision(style):
            power = weight.square().sum((-1, -2))  # (O, I), or (B, O, I)
            return torch.rsqrt(style.square() @ power.mT + 1e-8).flatten(0, 1)

    # Public files have an axis of 1 in front of the weight. Here it would keep the weight from being laid out channels-last.

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = destination[f"{prefix}weight"][None]

    def _load_from_state_dict(self, state_dict, prefix, *others) -> None:
        name = f"{prefix}weight"
        if name in state_dict and state_dict[name].ndim == self.weight.ndim + 1:
            state_dict[name] = state_dict[name][0]
        super()._load_from_state_dict(state_dict, prefix, *others)


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, bias, activation."""

    def __init__(self, inputs: int, outputs: int, *, width: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, width=width, up=up)
        self.noise = Noise()
        self.activate = Bias(outputs)

    def forward(self, x: Tensor, codes: Tensor, noise: Tensor | None, delta: Tensor | None = None) -> Tensor:
        """(M, O, h, w) from `x` (M, I, h, w), or (M, I, h/2, w/2) where it doubles the size.

        `codes` (B, T, D); `noise` (M or 1, 1, h, w), None for none; `delta` as of ModulatedConv.
        """
        x, demodulation = self.conv(x, codes, delta)
        bias = over_picture(self.activate.bias * GAIN).to(x.dtype)
        first = bias if noise is None else (noise * (self.noise.weight * GAIN)).to(x.dtype)
        x = torch.addcmul(first, x, over_picture(demodulation * GAIN).to(x.dtype))
        if noise is not None:
            x += bias
        return F.leaky_relu(x, SLOPE, inplace=True)


class ToRGB(nn.Module):
    """What a layer adds to the picture, which it takes over from the layer before at half the size."""

    def __init__(self, inputs: int, *, width: int, up: bool = True):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if up:
            self.upsample = Kernel(gain=4)
        self.conv = ModulatedConv(inputs, 3, 1, width=width, demodulated=False)

    def forward(self, x: Tensor, codes: Tensor, picture: Tensor | None = None, delta: Tensor | None = None) -> Tensor:
        """(M, 3, h, w) in float32, from `x` (M, I, h, w) and `picture` (M, 3, h/2, w/2)."""
        drawn = self.conv(x, codes, delta)[0].float() + self.bias
        return drawn if picture is None else drawn + filters.double(picture)
