"""How a face's skin moves with its landmarks: displacements on a lattice over the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from .mouth import INNER_LOWER, INNER_UPPER, JAW_LINE, OUTER_LOWER, OUTER_UPPER, FaceFrame, smoothstep
from .spline import Spline

CELLS = 48
"""The lattice has so many cells a side."""
STILL = (27, 30, 31, 32, 33, 34, 35, 36, 39, 42, 45)
"""Points on the nose and at the eyes' corners, which hold the skin around them."""
ABOVE = tuple(dict.fromkeys(OUTER_UPPER + INNER_UPPER + JAW_LINE + STILL))
BELOW = tuple(dict.fromkeys(OUTER_LOWER + INNER_LOWER + JAW_LINE + STILL))
HANGING = (61, 62, 63)
"""Points of the upper lip that the teeth hang from."""
REACH = 1.45
"""How far from the mouth the skin moves, where the jaw line is 1."""


def lattice(like: Tensor) -> Tensor:
    """The places (G, G, 2) of the knots: x then y, -1 and 1 on the picture's edges."""
    line = torch.linspace(-1, 1, CELLS + 1, device=like.device, dtype=like.dtype)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1)


def displacements(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The way from each knot to the place in the source that is seen there, above the mouth's line and below.

    `source` and `target` are landmarks (M, 68, 2); each way is (M, 2, G, G).
    """
    frame = FaceFrame.of(target)
    knots = lattice(source)
    held = _held_points(source, frame)
    # The teeth that the source shows move with the upper lip: further points, below it, that go its way.
    depths = torch.tensor([0.12, 0.25], device=source.device, dtype=source.dtype)[:, None, None]
    hanging = (depths * (frame.width[..., None] * frame.down)[:, None]).expand(-1, -1, len(HANGING), -1).flatten(1, 2)
    hung_source, hung_target = (points[:, HANGING].repeat(1, len(depths), 1) + hanging for points in (source, target))

    def carry(first: list[Tensor], last: list[Tensor]) -> Tensor:
        first, last = torch.cat([*first, held], dim=1), torch.cat([*last, held], dim=1)
        way = Spline(last, first - last)(knots.reshape(1, -1, 2)).unflatten(1, knots.shape[:2])
        return (way * _freedom(knots, target, frame)).permute(0, 3, 1, 2)

    return (carry([source[:, ABOVE], hung_source], [target[:, ABOVE], hung_target]),
            carry([source[:, BELOW]], [target[:, BELOW]]))


def lower_part(target: Tensor) -> Tensor:
    """1 below the mouth's line and 0 above at each knot (M, 1, G, G); blurred, the more the farther from the lips."""
    frame = FaceFrame.of(target)
    across, down = frame.inside(lattice(target).reshape(1, -1, 2))
    corner_across, corner_down = frame.inside(target[:, (60, 64)])
    left = across < corner_across.mean(-1, keepdim=True)
    away = torch.where(left, corner_across[:, :1] - across, across - corner_across[:, 1:]).clamp_min(0)
    line = torch.where(left, corner_down[:, :1], corner_down[:, 1:])
    return smoothstep((down - line) / (0.02 + 0.7 * away) + 0.5).unflatten(1, (CELLS + 1, CELLS + 1))[:, None]


def _held_points(source: Tensor, frame: FaceFrame) -> Tensor:
    """Places (M, P, 2) beyond the jaw and along the picture's edges that stay where they are."""
    ring = (frame.origin + REACH * (source[:, 2:15] - frame.origin)).clamp(-1, 1)
    line = torch.linspace(-1, 1, 5, device=source.device, dtype=source.dtype)
    square = torch.cartesian_prod(line, line)
    border = square[square.abs().amax(-1) > 0.99].expand(len(source), -1, -1)
    return torch.cat([ring, border], dim=1)


def _freedom(knots: Tensor, target: Tensor, frame: FaceFrame) -> Tensor:
    """How freely each knot moves (M, G, G, 1): not at all above the nose, nor at the picture's border."""
    _, down = frame.inside(knots.reshape(1, -1, 2))
    _, nose = frame.inside(target[:, (28, 33)])
    free = smoothstep((down - nose[:, :1]) / (nose[:, 1:] - nose[:, :1]).clamp_min(0.05)).unflatten(1, knots.shape[:2])
    border = smoothstep((1 - knots.abs().amax(-1)) / 0.12)
    return (free * border)[..., None]
