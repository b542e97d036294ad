"""What the networks of Wav2Lip are made of, and how its pictures differ from ours.

The names `conv_block` and `act` and the places within are those of the public weight files.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.errors import BadRecipe

PAPER = ("Prajwal et al., A Lip Sync Expert Is All You Need for Speech to Lip Generation In the Wild, 2020, "
         "arXiv:2008.10010")
LICENCE = "MIT; public weights: research and personal use only, trained on LRS2 (BBC)"
SIZE = 96
"""Height and width of the only pictures it knows."""


class ConvBlock(nn.Module):
    """Convolution, batch norm, the input again where `residual`, ReLU."""

    def __init__(self, channels: int, out: int, kernel, stride=1, padding=0, residual: bool = False):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(channels, out, kernel, stride, padding), nn.BatchNorm2d(out))
        self.act = nn.ReLU()
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return self.act(y + x if self.residual else y)


class UpBlock(nn.Module):
    """Transposed convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, kernel, stride=1, padding=0, output_padding=0):
        super().__init__()
        self.conv_block = nn.Sequential(nn.ConvTranspose2d(channels, out, kernel, stride, padding, output_padding),
                                        nn.BatchNorm2d(out))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv_block(x))


class PlainConvBlock(nn.Module):
    """Convolution without a norm, leaky ReLU."""

    def __init__(self, channels: int, out: int, kernel, stride=1, padding=0):
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(channels, out, kernel, stride, padding))
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv_block(x))


def residuals(channels: int, count: int) -> list[ConvBlock]:
    return [ConvBlock(channels, channels, 3, 1, 1, residual=True) for _ in range(count)]


def audio_tower(scale: float, last_residuals: int) -> nn.Sequential:
    """From mel windows (M, 1, 80, 16) to (M, 512 scale, 1, 1). Where 1 residual block is last, the expert has 2."""
    c32, c64, c128, c256, c512 = (scaled(channels, scale) for channels in (32, 64, 128, 256, 512))
    return nn.Sequential(
        ConvBlock(1, c32, 3, 1, 1), *residuals(c32, 2),
        ConvBlock(c32, c64, 3, (3, 1), 1), *residuals(c64, 2),  # 27 x 16
        ConvBlock(c64, c128, 3, 3, 1), *residuals(c128, 2),  # 9 x 6
        ConvBlock(c128, c256, 3, (3, 2), 1), *residuals(c256, last_residuals),  # 3 x 3
        ConvBlock(c256, c512, 3), ConvBlock(c512, c512, 1))


def scaled(channels: int, scale: float) -> int:
    return max(1, round(channels * scale))


def to_bgr(pictures: Tensor) -> Tensor:
    """From our RGB in [-1, 1] to BGR in [0, 1]; colours are the third axis from the end."""
    return pictures.flip(-3) * 0.5 + 0.5


def from_bgr(pictures: Tensor) -> Tensor:
    """From BGR in [0, 1] to our RGB in [-1, 1]."""
    return pictures.flip(-3) * 2 - 1


def lower_half(frames: Tensor) -> Tensor:
    """What the critics see of `frames` (B, T, 3, H, W), RGB in [-1, 1]: (B, T, 3, 48, 96), BGR in [0, 1]."""
    pictures = to_bgr(frames)
    if pictures.shape[-2:] != (SIZE, SIZE):
        pictures = F.interpolate(pictures.flatten(0, 1), (SIZE, SIZE), mode="bilinear", align_corners=False,
                                 antialias=True).unflatten(0, frames.shape[:2])
    return pictures[..., SIZE // 2:, :]


def check_size(what: str, size: int) -> None:
    if size != SIZE:
        raise BadRecipe(f"{what} 'wav2lip' works at {SIZE} px only, not at {size}; give size: {SIZE}.")


def check_batch(what: str, network: nn.Module, count: int) -> None:
    """Refuse to let batch norm learn from a single picture or sound: at 1x1 it would have one value per channel."""
    if network.training and count < 2:
        raise BadRecipe(f"{what} cannot learn from a batch of one: its batch norm compares. Give batch: 2 or more; "
                        "the authors advise 4 to 8 at least.")
