"""Convolutions over spectrograms and pictures as IETaFS has them, with the names that its files have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

SOURCE = ("Meher, IETaFS: Identity-preserved Expressive Talking Faces with Synchrony, 2021 (no paper; code at "
          "github.com/meherabhi/IETaFS)")
LICENCE = "MIT; the authors' files have no licence"
SLOPE = 0.2
ACROSS_ROWS, ACROSS_COLUMNS = (2, 1), (1, 2)


class ConvTower(nn.Module):
    """Convolutions `conv1` and so on, each with a bias, a batch norm `conv1_bn` and a leaky ReLU.

    Args:
        inputs: channels that go in.
        layers: of each its channels, kernel (height, width) and stride; padded by half the kernel.
    """

    def __init__(self, inputs: int, layers: Iterable[tuple[int, tuple[int, int], Sequence[int]]]):
        super().__init__()
        self.depth = 0
        for channels, kernel, stride in layers:
            self.depth += 1
            padding = kernel[0] // 2, kernel[1] // 2
            self.add_module(f"conv{self.depth}", nn.Conv2d(inputs, channels, kernel, tuple(stride), padding))
            self.add_module(f"conv{self.depth}_bn", nn.BatchNorm2d(channels))
            inputs = channels

    def convolved(self, x: Tensor) -> Tensor:
        """The last maps, as vectors (M, C h w), of `x` (M, C, H, W)."""
        for number in range(1, self.depth + 1):
            conv, norm = getattr(self, f"conv{number}"), getattr(self, f"conv{number}_bn")
            x = F.leaky_relu(norm(conv(x)), SLOPE)
        return x.flatten(1)


def over_spectrograms(scale: float, rows: Sequence[int], columns: Sequence[int]) -> list:
    """Layers of so many channels that halve the rows, then layers that halve the columns."""
    down = [(scaled(c, scale), (3 if i else 5, 1), ACROSS_ROWS) for i, c in enumerate(rows)]
    return down + [(scaled(c, scale), (1, 3), ACROSS_COLUMNS) for c in columns]


def scaled(channels: int, scale: float) -> int:
    return max(1, round(channels * scale))
