"""Pictures altered at random before the critic sees them, so that it cannot learn a small data set by heart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LUMA = 1 / math.sqrt(3)
"""The grey axis, in each of R, G and B."""


class Augmentation(nn.Module):
    """Pictures flipped, turned, moved, scaled and recoloured, each with the probability `strength`, which adapts itself.

    Karras et al., "Training Generative Adversarial Networks with Limited Data", 2020, arXiv:2006.06676: the sets
    pixel blitting, geometry and colour, in their order and with their spreads. The strength rises while the critic is
    surer of real pictures than `target` says, and falls otherwise. Differs: pictures are resampled once, bicubically,
    without the wavelet filters, so that those left as they are stay so to the bit; beyond the edges they are mirrored.

    Args:
        target: the mean sign of the critic's logits of real pictures that is aimed at.
        pictures: how many the critic must see for the strength to go from 0 to 1.
        every: steps between looks at the logits.
    """

    strength: Tensor
    signs: Tensor

    def __init__(self, target: float = 0.6, pictures: int = 500_000, every: int = 4):
        super().__init__()
        self.target, self.pictures, self.every = target, pictures, every
        self.register_buffer("strength", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(3))
        """Since the last look: the sum of signs, pictures, steps."""

    def forward(self, pictures: Tensor) -> Tensor:
        """`pictures` (M, 3, H, W), each altered in its own way; differentiable."""
        if not self.strength:
            return pictures
        moved = resample(pictures, self.moves(len(pictures)))
        turned = self.recolourings(len(pictures)).to(pictures.device)
        return torch.einsum("mij,mjhw->mihw", turned[:, :3, :3], moved) + turned[:, :3, 3, None, None]

    @torch.no_grad()
    def follow(self, real: Tensor) -> None:
        """Look at the critic's logits (M,) of real pictures; from time to time, let the strength follow them."""
        self.signs += torch.stack([real.sign().sum(), real.new_tensor(len(real)), real.new_tensor(1.0)])
        if self.signs[2] < self.every:
            return
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.signs)
        surer = self.signs[0] / self.signs[1] > self.target
        self.strength.add_(torch.where(surer, 1.0, -1.0) * self.signs[1] / self.pictures).clamp_(0, 1)
        self.signs.zero_()

    def moves(self, count: int) -> Tensor:
        """(count, 3, 3): where a place in the altered picture lies in the given one; places are in [-1, 1]."""
        some, one = self._chosen, torch.ones(count)
        quarter = math.pi / 2
        moves = [
            scaling(some(torch.where(torch.rand(count) < 0.5, -1.0, 1.0), 1.0), one),
            rotation(some(torch.randint(4, (count,)) * quarter, 0.0)),
            shift(*(some(amount, 0.0) for amount in (torch.rand(2, count) * 2 - 1) * 0.125 * 2)),
            scaling(*[some(torch.exp2(torch.randn(count) * 0.2), 1.0)] * 2),
        ]
        # One turn before and one after the stretching; together as often as everything else.
        turned = 1 - math.sqrt(1 - float(self.strength))
        moves.append(rotation(some((torch.rand(count) * 2 - 1) * math.pi, 0.0, turned)))
        stretch = some(torch.exp2(torch.randn(count) * 0.2), 1.0)
        moves.append(scaling(stretch, 1 / stretch))
        moves.append(rotation(some((torch.rand(count) * 2 - 1) * math.pi, 0.0, turned)))
        moves.append(shift(*(some(amount, 0.0) for amount in torch.randn(2, count) * 0.125 * 2)))
        return chain(moves)

    def recolourings(self, count: int) -> Tensor:
        """(count, 4, 4): from the given colour (R, G, B, 1), in [-1, 1], to the altered one."""
        some = self._chosen
        grey = torch.full((3,), LUMA)
        towards_grey = torch.zeros(4, 4)
        towards_grey[:3, :3] = torch.outer(grey, grey)
        identity = torch.eye(4).expand(count, 4, 4)

        brightness = identity.clone()
        brightness[:, :3, 3] = some(torch.randn(count) * 0.2, 0.0)[:, None]
        contrast = identity.clone()
        contrast[:, :3, :3] *= some(torch.exp2(torch.randn(count) * 0.5), 1.0)[:, None, None]
        flip = identity - 2 * some((torch.rand(count) < 0.5).float(), 0.0)[:, None, None] * towards_grey
        hue = identity.clone()
        hue[:, :3, :3] = around(grey, some((torch.rand(count) * 2 - 1) * math.pi, 0.0))
        saturation = some(torch.exp2(torch.randn(count)), 1.0)[:, None, None]
        saturation = towards_grey + (identity - towards_grey) * saturation
        saturation[:, 3, 3] = 1
        return chain([saturation, hue, flip, contrast, brightness])

    def _chosen(self, values: Tensor, otherwise: float, probability: float | None = None) -> Tensor:
        """`values` (count,) with the probability given, or `strength`; elsewhere what changes nothing."""
        probability = float(self.strength) if probability is None else probability
        return torch.where(torch.rand(len(values)) < probability, values, otherwise)


def resample(pictures: Tensor, moves: Tensor) -> Tensor:
    """`pictures` (M, 3, H, W), which are square, as seen through `moves` (M, 3, 3); mirrored beyond their edges."""
    places = F.affine_grid(moves[:, :2].to(pictures), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, places, mode="bicubic", padding_mode="reflection", align_corners=False)


def chain(matrices: list[Tensor]) -> Tensor:
    """Their product (M, n, n): the last acts first."""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = product @ matrix
    return product


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """(M, 3, 3) from factors (M,)."""
    return torch.stack([x, y, torch.ones_like(x)], -1).diag_embed()


def rotation(angle: Tensor) -> Tensor:
    """(M, 3, 3) from angles (M,)."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


def shift(x: Tensor, y: Tensor) -> Tensor:
    """(M, 3, 3) from distances (M,); 2 is the width of a picture."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([one, zero, x, zero, one, y, zero, zero, one], -1).unflatten(-1, (3, 3))


def around(axis: Tensor, angle: Tensor) -> Tensor:
    """(M, 3, 3): rotations by angles (M,) around the unit vector `axis` (3,)."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    along = torch.outer(axis, axis)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return along + cos * (torch.eye(3) - along) + sin * cross
