"""The visual-quality critic: whether the lower half of a face is a photograph or drawn."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.interfaces import Clip, Critic, Output

from .blocks import LICENCE, PAPER, PlainConvBlock, lower_half, scaled


class VisualQualityNetwork(nn.Module):
    """How real the lower half of a face looks, as a logit: what visual_quality_disc.pth fills."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        c32, c64, c128, c256, c512 = (scaled(channels, scale) for channels in (32, 64, 128, 256, 512))
        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(PlainConvBlock(3, c32, 7, 1, 3)),  # 48 x 96
            nn.Sequential(PlainConvBlock(c32, c64, 5, (1, 2), 2), PlainConvBlock(c64, c64, 5, 1, 2)),  # 48 x 48
            nn.Sequential(PlainConvBlock(c64, c128, 5, 2, 2), PlainConvBlock(c128, c128, 5, 1, 2)),  # 24
            nn.Sequential(PlainConvBlock(c128, c256, 5, 2, 2), PlainConvBlock(c256, c256, 5, 1, 2)),  # 12
            nn.Sequential(PlainConvBlock(c256, c512, 3, 2, 1), PlainConvBlock(c512, c512, 3, 1, 1)),  # 6
            nn.Sequential(PlainConvBlock(c512, c512, 3, 2, 1), PlainConvBlock(c512, c512, 3, 1, 1)),  # 3
            nn.Sequential(PlainConvBlock(c512, c512, 3), PlainConvBlock(c512, c512, 1)),  # 1
        ])
        self.binary_pred = nn.Sequential(nn.Conv2d(c512, 1, 1))

    def forward(self, halves: Tensor) -> Tensor:
        """Logits (M,) in float32 of `halves` (M, 3, 48, 96), BGR in [0, 1]."""
        for block in self.face_encoder_blocks:
            halves = block(halves)
        return self.binary_pred(halves).float().flatten()


class VisualQualityLoss(Critic):
    """How far the drawn lower half is from passing for a photograph.

    Prajwal et al., 2020, arXiv:2008.10010: binary cross entropy on single frames,
    drawn ones meant to score 1; the critic learns 1 for real and 0 for drawn ones. Sees 96 px; other sizes are
    resized. Loads visual_quality_disc.pth (research and personal use only).

    Args:
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    test_options = {"scale": 1 / 16}

    def __init__(self, *, lr: float = 1e-4, betas: tuple[float, float] = (0.5, 0.999), scale: float = 1.0):
        super().__init__()
        self.network = VisualQualityNetwork(scale).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=tuple(betas))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return F.softplus(-self._judge(output.frames)).mean()  # softplus(-x) is -log(sigmoid(x))

    def critic_loss(self, output: Output, clip: Clip) -> tuple[Tensor, dict[str, Tensor]]:
        real, fake = self._judge(clip.frames), self._judge(output.frames)
        return F.softplus(-real).mean() + F.softplus(fake).mean(), _scores(real, fake)

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        with torch.no_grad():
            return _scores(self._judge(clip.frames), self._judge(output.frames))

    def _judge(self, frames: Tensor) -> Tensor:
        return self.network(lower_half(frames).flatten(0, 1))


def _scores(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The mean probabilities of being a photograph that are given to `real` ones and to `fake`."""
    return {"real": real.sigmoid().mean(), "fake": fake.sigmoid().mean()}
