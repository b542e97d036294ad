"""Making few mouths and voices look and sound like many, on the device, a clip at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .mouths import mirrored


def random_turns(count: int, device: torch.device) -> Tensor:
    """Small moves, turns (5 degrees) and scales (7 %) for `mouth_pictures`: (count, 2, 3)."""
    angle, scale = 0.08 * torch.randn(count, device=device), (0.07 * torch.randn(count, device=device)).exp()
    x, y = (amount * torch.randn(count, device=device) for amount in (0.04, 0.04))
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([cos, -sin, x], -1), torch.stack([sin, cos, y], -1)], 1)


def disguise(shapes: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mouths as if of others: half mirrored, larger or smaller, jittering; lit otherwise, noisy, blurred, covered."""
    clips, frames, height, width = pictures.shape
    device = pictures.device

    def random(*shape: int, of=torch.randn) -> Tensor:
        return of(clips, *shape, device=device)

    mirror = random(1, 1, of=torch.rand) < 0.5
    shapes = torch.where(mirror, mirrored(shapes), shapes) * (0.15 * random(1, 1)).exp()
    shapes = shapes + 0.05 * torch.randn_like(shapes)
    pictures = torch.where(mirror[..., None], pictures.flip(-1), pictures)
    pictures = pictures * (0.3 * random(1, 1, 1)).exp() + 0.6 * random(1, 1, 1)
    pictures = pictures + 0.3 * random(1, 1, 1, of=torch.rand) * torch.randn_like(pictures)
    pictures = torch.where(random(1, 1, 1, of=torch.rand) < 0.3, F.avg_pool2d(pictures, 3, 1, 1), pictures)
    rows, columns = (_band(random(1, 1, of=torch.rand), 0.6, length) for length in (height, width))
    covered = rows[..., None] & columns[..., None, :] & (random(1, 1, 1, of=torch.rand) < 0.5)
    return shapes, pictures.masked_fill(covered, 0)


def muffle(mel: Tensor) -> Tensor:
    """Mel columns (B, 80, L) as if recorded otherwise: louder or softer, noisy, half of them without some bands."""
    clips, bands, _ = mel.shape
    mel = mel + 0.4 * torch.randn(clips, 1, 1, device=mel.device) + 0.05 * torch.randn_like(mel)
    missing = _band(torch.rand(clips, 1, device=mel.device), 0.15, bands)[..., None]
    silenced = missing & (torch.rand(clips, 1, 1, device=mel.device) < 0.5)
    return torch.where(silenced, mel.mean((1, 2), keepdim=True), mel).clamp(-4, 4)


def _band(start: Tensor, most: float, length: int) -> Tensor:
    """A random stretch, from `start` (..., 1) in [0, 1] on, of at most `most` of `length` places: (..., length)."""
    place = torch.arange(length, device=start.device) / length
    return (start <= place) & (place < start + most * torch.rand_like(start))
