"""The narrowing halves: from a face, and from either kind of sound, to one vector."""

from __future__ import annotations

from torch import nn

from fctfg.interfaces import SkipShape

from ..wav2lip.blocks import scaled
from .blocks import ConvBlock, CriticBlock, ResidualBlock, convolution


def face_maps(variant: str, scale: float) -> tuple[SkipShape, ...]:
    """The feature maps of a face that a decoder is given, coarse to fine."""
    channels = (512 if variant == "residual" else 256, 512, 512, 256, 128, 64, 32)
    return tuple(SkipShape(scaled(count, scale), height, height)
                 for count, height in zip(channels, (1, 3, 6, 12, 24, 48, 96)))


def face_tower(variant: str, scale: float) -> nn.ModuleList:
    """From the two pictures (M, 6, 96, 96) to maps of 96, 48, 24, 12, 6, 3, 1 and again 1 px."""
    c32, c64, c128, c256, c512 = widths(scale)
    if variant == "basic":
        return nn.ModuleList([
            ConvBlock(6, c32, 11), ConvBlock(c32, c64, 7, 2), ConvBlock(c64, c128, 5, 2), ConvBlock(c128, c256, 3, 2),
            ConvBlock(c256, c512, 3, 2), ConvBlock(c512, c512, 3, 2), ConvBlock(c512, c512, valid=True),
            ConvBlock(c512, c256, 1)])
    return nn.ModuleList([
        ConvBlock(6, c32, 7),  # 96 x 96
        nn.Sequential(ConvBlock(c32, c64, 5, 2), *residuals(c64, 2)),  # 48
        nn.Sequential(ConvBlock(c64, c128, 3, 2), *residuals(c128, 3)),  # 24
        nn.Sequential(ConvBlock(c128, c256, 3, 2), *residuals(c256, 2)),  # 12
        nn.Sequential(ConvBlock(c256, c512, 3, 2), *residuals(c512, 2)),  # 6
        ConvBlock(c512, c512, 3, 2),  # 3
        ConvBlock(c512, c512, valid=True),  # 1
        ConvBlock(c512, c512, 1)])


def mel_tower(variant: str, scale: float) -> nn.Sequential:
    """From mel windows (M, 1, 80, 27) to (M, 512, 1, 1)."""
    c32, c64, c128, c256, c512 = widths(scale)
    more = residuals if variant == "residual" else plains
    return nn.Sequential(
        ConvBlock(1, c32), *more(c32, 2),
        ConvBlock(c32, c64, 3, 3), *more(c64, 2),  # 27 x 9
        ConvBlock(c64, c128, 3, (3, 1)), *more(c128, 2),  # 9 x 9
        ConvBlock(c128, c256, 3, 3), *more(c256, 2),  # 3 x 3
        ConvBlock(c256, c512, valid=True), ConvBlock(c512, c512, 1))


def mfcc_tower(variant: str, scale: float) -> nn.Sequential:
    """From cepstra (M, 1, 12, 35) to (M, 512, 1, 1), or to (M, 256, 1, 1) where `basic`."""
    _, _, c128, c256, c512 = widths(scale)
    if variant == "basic":
        return nn.Sequential(
            ConvBlock(1, c128), row_above(),
            ConvBlock(c128, c256, 3, (1, 2)), ConvBlock(c256, c256),  # 13 x 18
            ConvBlock(c256, c256, 3, 2), ConvBlock(c256, c512, 3, 2),  # 7 x 9, 4 x 5
            ConvBlock(c512, c512, (4, 5), valid=True), ConvBlock(c512, c256, 1))
    return nn.Sequential(
        ConvBlock(1, c128), *residuals(c128, 3), row_above(),
        ConvBlock(c128, c256, 3, (1, 2)), *residuals(c256, 2),  # 13 x 18
        ConvBlock(c256, c512, 3, 2), *residuals(c512, 2),  # 7 x 9
        ConvBlock(c512, c512, 3, 2), *residuals(c512, 1),  # 4 x 5
        ConvBlock(c512, c512, (4, 5), valid=True), ConvBlock(c512, c512, 1))


def critic_face_tower(scale: float) -> nn.Sequential:
    """From faces (M, 3, 96, 96) to (M, 512, 1, 1)."""
    _, c64, c128, c256, c512 = widths(scale)
    return nn.Sequential(
        CriticBlock(3, c64, 7, 2), CriticBlock(c64, c128, 5, 2), CriticBlock(c128, c256, 3, 2),
        CriticBlock(c256, c512, 3, 2), CriticBlock(c512, c512, 3, 2), convolution(c512, c512, 3))


def critic_mel_tower(scale: float) -> nn.Sequential:
    """From mel windows (M, 1, 80, 27) to (M, 512, 1, 1)."""
    c32, c64, c128, c256, c512 = widths(scale)
    return nn.Sequential(
        CriticBlock(1, c32), CriticBlock(c32, c64, 3, 3), CriticBlock(c64, c128, 3, (3, 1)),
        CriticBlock(c128, c256, 3, 3), CriticBlock(c256, c512, valid=True), CriticBlock(c512, c512, 1))


def critic_mfcc_tower(scale: float) -> nn.Sequential:
    """From cepstra (M, 1, 12, 35) to (M, 512, 1, 1)."""
    _, c64, c128, c256, c512 = widths(scale)
    return nn.Sequential(
        CriticBlock(1, c64), CriticBlock(c64, c128), row_above(), CriticBlock(c128, c256, 3, (1, 2)),
        CriticBlock(c256, c256), CriticBlock(c256, c256, 3, 2), CriticBlock(c256, c512, 3, 2),
        convolution(c512, c512, (4, 5)))


def row_above() -> nn.Module:
    """One row of zeros above, so that twelve cepstra become thirteen rows."""
    return nn.ZeroPad2d((0, 0, 1, 0))


def residuals(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


def plains(channels: int, count: int) -> list[nn.Module]:
    return [ConvBlock(channels, channels) for _ in range(count)]


def widths(scale: float) -> tuple[int, int, int, int, int]:
    """32, 64, 128, 256 and 512 channels, times `scale`."""
    return tuple(scaled(channels, scale) for channels in (32, 64, 128, 256, 512))
