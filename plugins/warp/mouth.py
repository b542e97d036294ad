"""The mouth in the 68 iBUG points, and the axes of the face that it is measured by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Each ring starts at the corner on the picture's left and runs to the one on its right.
OUTER_UPPER = (48, 49, 50, 51, 52, 53, 54)
OUTER_LOWER = (48, 59, 58, 57, 56, 55, 54)
INNER_UPPER = (60, 61, 62, 63, 64)
INNER_LOWER = (60, 67, 66, 65, 64)
UPPER_LIP = (49, 50, 51, 52, 53, 61, 62, 63)
LOWER_LIP = (55, 56, 57, 58, 59, 65, 66, 67)
LEFT_EYE = tuple(range(36, 42))
RIGHT_EYE = tuple(range(42, 48))
JAW_LINE = tuple(range(17))

JAW_SHARE = (0, 0, 0.05, 0.15, 0.35, 0.6, 0.82, 0.95, 1, 0.95, 0.82, 0.6, 0.35, 0.15, 0.05, 0, 0)
"""How much of the chin's way each point of the jaw line goes."""


@dataclass
class FaceFrame:
    """The face's own axes, from its mouth's middle: `across` to the right along eyes and lips, `down` to the chin."""

    origin: Tensor
    """(..., 1, 2)"""
    across: Tensor
    """(..., 1, 2), of length one"""
    width: Tensor
    """(..., 1): of the mouth, corner to corner; steadied by the eyes' distance, which speech does not change."""

    @classmethod
    def of(cls, points: Tensor) -> FaceFrame:
        """From landmarks (..., 68, 2)."""
        lips = points[..., 54, :] - points[..., 48, :]
        eyes = points[..., RIGHT_EYE, :].mean(-2) - points[..., LEFT_EYE, :].mean(-2)
        across = _unit(_unit(lips) + _unit(eyes))
        width = 0.5 * (lips * across).sum(-1).abs() + 0.4 * (eyes * across).sum(-1).abs()
        origin = 0.5 * (points[..., 48, :] + points[..., 54, :])
        return cls(origin[..., None, :], across[..., None, :], width[..., None].clamp_min(1e-3))

    @property
    def down(self) -> Tensor:
        return torch.stack([-self.across[..., 1], self.across[..., 0]], dim=-1)

    def inside(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """How far across and down (..., P) `points` (..., P, 2) lie, in mouth widths."""
        offset = points - self.origin
        return (offset * self.across).sum(-1) / self.width, (offset * self.down).sum(-1) / self.width

    def outside(self, across: Tensor, down: Tensor) -> Tensor:
        """Points (..., P, 2) from how far across and down they lie."""
        return self.origin + self.width[..., None] * (across[..., None] * self.across + down[..., None] * self.down)


def turned_to_us(across: Tensor) -> Tensor:
    """1 for a face seen from in front, 0 for a profile (..., 1), from how far across (..., 68) its points lie."""
    nose = across[..., 33:34]
    left, right = nose - across[..., 48:49], across[..., 54:55] - nose
    return smoothstep((torch.minimum(left, right) / torch.maximum(left, right).clamp_min(1e-3) - 0.05) / 0.25)


def _unit(vector: Tensor) -> Tensor:
    length = vector.norm(dim=-1, keepdim=True)
    right = torch.tensor([1.0, 0.0], dtype=vector.dtype, device=vector.device)
    return torch.where(length > 1e-6, vector / length.clamp_min(1e-6), right)


def smoothstep(x: Tensor) -> Tensor:
    """0 below 0, 1 above 1, smooth between."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)
