"""The two towers of the small expert: mouths and sounds in one space, a vector a frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg.audio import MEL_BANDS

from .mouths import HEIGHT, SHAPE_SIZE, WIDTH

COLUMNS = 4
"""Mel columns a frame: 100 a second."""
SEES = 5
"""Frames that reach into one vector of a mouth."""
HEARS = 4
"""Frames before and after its own that reach into one vector of a sound."""


class MouthExpert(nn.Module):
    """Mouths and sounds as unit vectors, those of one moment near each other.

    0.16 M parameters at width 64. Of a mouth it sees how its shape and its picture differ from their means over the
    clip, which say who it is. Of a sound it hears 0.3 s of mel spectrogram about the frame.

    Args:
        width: channels of the hidden layers, and of the vectors.
        dropout: the share of channels silenced while it learns.
    """

    def __init__(self, width: int = 64, dropout: float = 0.3):
        super().__init__()
        self.picture = nn.Sequential(
            _conv(1, 12, 5), _conv(12, 24, 3), _conv(24, 32, 3), nn.Dropout2d(dropout / 2), nn.Flatten(),
            nn.Linear(32 * math.ceil(HEIGHT / 8) * math.ceil(WIDTH / 8), width), nn.BatchNorm1d(width))
        self.mouth = nn.Sequential(
            *_layer(width + SHAPE_SIZE, width, SEES, dropout, padding=SEES // 2), *_layer(width, width, 1, dropout),
            nn.Conv1d(width, width, 1))
        self.sound = nn.Sequential(
            *_layer(MEL_BANDS, width, 6, dropout, stride=2, padding=2),
            *_layer(width, width, 6, dropout, stride=2, padding=2),
            *_layer(width, width, 5, dropout, padding=2), nn.Conv1d(width, width, 1))
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        self.odds = nn.Linear(1, 1)
        nn.init.constant_(self.odds.weight, 5.0)
        nn.init.zeros_(self.odds.bias)

    def see(self, shapes: Tensor, pictures: Tensor) -> Tensor:
        """Mouths (B, T, A), float32, of `mouth_shapes` (B, T, 50) and `mouth_pictures` (B, T, 20, 32)."""
        shown = self.picture(pictures.flatten(0, 1)[:, None]).unflatten(0, pictures.shape[:2])
        seen = torch.cat([shown - shown.mean(1, keepdim=True), shapes - shapes.mean(1, keepdim=True)], -1)
        return F.normalize(self.mouth(seen.transpose(1, 2)).transpose(1, 2).float(), dim=-1)

    def hear(self, mel: Tensor) -> Tensor:
        """Sounds (B, T, A), float32, of mel columns (B, 80, 4 T) in [-4, 4]; those at the ends feel the silence beyond."""
        return F.normalize(self.sound(mel / 2).transpose(1, 2).float(), dim=-1)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before a softmax chooses among them."""
        return self.log_scale.exp().clamp(max=50)

    def log_odds(self, cosines: Tensor) -> Tensor:
        """Of the mouth and the sound being of one moment, where as many are as are not."""
        return self.odds(cosines[..., None])[..., 0]


def _conv(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, 2, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def _layer(channels: int, out: int, kernel: int, dropout: float, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv1d(channels, out, kernel, stride, padding), nn.BatchNorm1d(out), nn.ReLU(), nn.Dropout(dropout)]
