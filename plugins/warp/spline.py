"""Splines through scattered points, solved and evaluated for many frames at once."""

from __future__ import annotations

import torch
from torch import Tensor

STIFFNESS = 1e-4
"""Ridge on the kernel: how little a spline minds missing its values. Keeps coinciding points solvable."""


class Spline:
    """The smoothest surface through values at points of the plane, or the smoothest curve through values on a line.

    Minimises bending energy: in the plane the thin-plate spline of Bookstein, "Principal warps: thin-plate splines and
    the decomposition of deformations", 1989; on the line the natural cubic spline. Differs: regularised, so that it
    misses its values by a hair instead of failing where points coincide.
    """

    def __init__(self, points: Tensor, values: Tensor):
        """Fit `values` (M, P, V) at `points` (M, P, E), in E = 1 or 2 dimensions; about the unit of [-1, 1]."""
        self.points = points
        count, edge = points.shape[1], points.shape[-1] + 1
        flat = torch.cat([torch.ones_like(points[..., :1]), points], dim=-1)
        system = points.new_zeros(len(points), count + edge, count + edge)
        system[:, :count, :count] = self._kernel(points) + STIFFNESS * _eye(count, points)
        system[:, :count, count:] = flat
        system[:, count:, :count] = flat.transpose(1, 2)
        # Where all points lie on one line the flat part is free; this holds it still.
        system[:, count:, count:] = -1e-6 * _eye(edge, points)
        wanted = torch.cat([values, values.new_zeros(len(values), edge, values.shape[-1])], dim=1)
        self.bends, self.level, self.slopes = torch.linalg.solve(system, wanted).split((count, 1, edge - 1), dim=1)

    def __call__(self, at: Tensor) -> Tensor:
        """The values (M, Q, V) at places (M, Q, E), or (1, Q, E) shared by all M."""
        return self._kernel(at) @ self.bends + at @ self.slopes + self.level

    def _kernel(self, at: Tensor) -> Tensor:
        """(M, Q, P)"""
        from_points = [at[..., i, None] - self.points[:, None, :, i] for i in range(at.shape[-1])]
        if len(from_points) == 1:
            return from_points[0].abs() ** 3
        squared = from_points[0].square() + from_points[1].square()
        return 0.5 * squared * squared.clamp_min(1e-12).log()  # r^2 log r


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, device=like.device, dtype=like.dtype)
