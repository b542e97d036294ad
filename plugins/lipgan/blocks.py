"""What the networks of LipGAN are made of: the layers of Keras, whose padding and norms are not those of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe

PAPER = "Prajwal K R et al., Towards Automatic Face-to-Face Translation, 2019, arXiv:2003.00418"
LICENCE = "MIT; public weights: published under MIT, but trained on LRS2 (BBC), whose licence is for research only"
SIZE = 96
"""Height and width of the only pictures it knows."""
VARIANTS = ("residual", "basic")

NORM = {"eps": 1e-3, "momentum": 0.2}
"""Keras's epsilon of a batch norm, and the authors' momentum of 0.8, which torch counts from the other end."""


def convolution(channels: int, out: int, kernel, stride=1, padding=0, kind: type = nn.Conv2d) -> nn.Module:
    """A convolution that begins as Keras begins it: weights after Glorot and Bengio (2010), biases 0."""
    layer = kind(channels, out, kernel, stride, padding)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU. Padded as TensorFlow pads "same", or not at all where `valid`."""

    def __init__(self, channels: int, out: int, kernel=3, stride=1, valid: bool = False):
        super().__init__()
        self.pad, padding = same_padding(kernel, stride, valid)
        self.layers = nn.Sequential(convolution(channels, out, kernel, stride, padding), nn.BatchNorm2d(out, **NORM))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layers(self.pad(x)))


class ResidualBlock(nn.Module):
    """Two blocks, and the input again. Nothing in it is negative, so the authors' ReLU after the sum does nothing."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = ConvBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class UpBlock(nn.Module):
    """Transposed convolution with a kernel of 3 to `stride` times the size, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, stride: int = 2):
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(convolution(channels, out, 3, stride, kind=nn.ConvTranspose2d),
                                    nn.BatchNorm2d(out, **NORM))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        up, norm = self.layers
        height, width = (self.stride * length for length in x.shape[-2:])
        return self.act(norm(up(x)[..., :height, :width]))  # TensorFlow's "same" leaves out the last row and column


class CriticBlock(nn.Module):
    """Convolution, norm of the whole sample, leaky ReLU."""

    def __init__(self, channels: int, out: int, kernel=3, stride=1, valid: bool = False):
        super().__init__()
        self.pad, padding = same_padding(kernel, stride, valid)
        self.conv = convolution(channels, out, kernel, stride, padding)
        self.norm = SampleNorm()
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(self.pad(x))))


class SampleNorm(nn.Module):
    """Each sample less its mean over all channels and places, divided by its standard deviation and 0.001.

    The "instance norm" of keras_contrib without an axis; one weight and one bias for all.
    """

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        away = x - x.mean((1, 2, 3), keepdim=True)
        # The root mean square as a norm, whose gradient is 0, not infinite, where nothing differs.
        spread = torch.linalg.vector_norm(away, dim=(1, 2, 3), keepdim=True) / away[0].numel() ** 0.5
        return away / (spread + 1e-3) * self.weight + self.bias


class SamePad(nn.Module):
    """Zeros around a picture as TensorFlow's "same" has them: where their number is odd, one more right and below."""

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int]):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (
            _same(length, kernel, stride) for length, kernel, stride in zip(x.shape[-2:], self.kernel, self.stride))
        return F.pad(x, (left, right, top, bottom))

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, so that -(-length // stride) places come out."""
    zeros = max(0, (-(-length // stride) - 1) * stride + kernel - length)
    return zeros // 2, zeros - zeros // 2


def same_padding(kernel, stride, valid: bool) -> tuple[nn.Module, int | tuple[int, int]]:
    """What pads "same" in front of a convolution, and the padding of the convolution itself, which costs less."""
    kernel, stride = (value if isinstance(value, tuple) else (value, value) for value in (kernel, stride))
    if valid:
        return nn.Identity(), 0
    if stride == (1, 1):
        return nn.Identity(), (kernel[0] // 2, kernel[1] // 2)  # all kernels are odd
    return SamePad(kernel, stride), 0


def check_size(what: str, size: int) -> None:
    if size != SIZE:
        raise BadRecipe(f"{what} 'lipgan' works at {SIZE} px only, not at {size}; give size: {SIZE}.")


def check_variant(what: str, variant: str) -> None:
    if variant not in VARIANTS:
        raise BadRecipe(f"{what}: variant '{variant}' is unknown; give {' or '.join(VARIANTS)}.")
