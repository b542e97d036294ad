"""Draws a face with its landmarks moved."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, Decoder, Latent, SkipShape

from .field import displacements, lattice, lower_part
from .mouth import smoothstep
from .opening import Opening, face_colours

TOGETHER = 8
"""Frames drawn at once; more would only hold more memory."""


class WarpDecoder(Decoder):
    """The source picture, warped so that its landmarks lie where the codes say.

    Thin-plate splines (Bookstein, 1989) carry the displacements of the landmarks over the skin, one for all above the
    line between the lips and one for all below, so that the lips part cleanly. What the source shows between its lips
    hangs from the upper one; beyond it a dark mouth with teeth and tongue is painted in the face's colours. Nothing
    moves above the nose and at the picture's border. Alpha is 0 where nothing changed. No weights.
    """

    paper = 'Bookstein, "Principal warps: thin-plate splines and the decomposition of deformations", 1989'
    needs = frozenset({"skips"})

    def __init__(self, *, size: int):
        super().__init__()
        self.codes = CodeShape(68, 2)
        self.skips = (SkipShape(3, size, size),)

    def forward(self, latent: Latent) -> tuple[Tensor, Tensor]:
        if latent.motion is None:
            raise BadRecipe("decoder 'warp' moves landmarks from Latent.motion to Latent.codes; fusion 'warp' gives "
                            "both.")
        inputs = [part.flatten(0, 1).float().split(TOGETHER) for part in (latent.skips[0], latent.motion, latent.codes)]
        with torch.autocast(latent.codes.device.type, enabled=False):  # half precision is too coarse for places
            drawn, alpha = zip(*(warp(*some) for some in zip(*inputs)))
        shape = latent.codes.shape[:2]
        return torch.cat(drawn).unflatten(0, shape), torch.cat(alpha).unflatten(0, shape)


def warp(picture: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`picture` (M, 3, H, W) with its `source` points (M, 68, 2) moved to `target`; and alpha (M, 1, H, W)."""
    size = picture.shape[-1]
    upper, lower = displacements(source, target)
    change = _change(upper, lower, size)
    drawn, alpha = picture.clone(), torch.zeros_like(picture[:, :1])
    touched = lattice(picture)[change.amax((0, 1)) > 0]
    if not len(touched):
        return drawn, alpha

    pixels = _pixels(picture)
    fields = torch.cat([upper, lower, lower_part(target), change], dim=1)

    def read(box: tuple[slice, slice]) -> tuple[Tensor, ...]:
        places = pixels[:, box[0], box[1]]
        everywhere = places.expand(len(fields), -1, -1, -1)
        values = F.grid_sample(fields, everywhere, padding_mode="border", align_corners=True)
        return places, *values.split((2, 2, 1, 1), dim=1)

    # The face below the eyes: skin above and below the mouth's line, blended along it.
    skin = (..., *_box(touched, size))
    places, upper, lower, below, change = read(skin[1:])
    drawn[skin] = _look(picture, places, torch.lerp(upper, lower, below))
    alpha[skin] = change

    # The mouth once more: the lips' edges are sharp, and what lies between them is drawn.
    mouth = (..., *_box(target[:, 48:].flatten(0, 1), size))
    places, upper, lower, _, change = read(mouth[1:])
    opening = Opening(source, target, places, pixel=2 / size)
    cavity = opening.cavity()
    inside = torch.lerp(_look(picture, places, upper), opening.paint(*face_colours(picture, source)), cavity)
    drawn[mouth] = torch.lerp(inside, _look(picture, places, lower), opening.lower_lip())
    alpha[mouth] = torch.maximum(change, cavity)
    return drawn, alpha * smoothstep((1 - 2 / size - pixels.abs().amax(-1)) / 0.08)


def _look(picture: Tensor, places: Tensor, way: Tensor) -> Tensor:
    """What `picture` shows `way` (M, 2, h, w) from `places` (1, h, w, 2)."""
    return F.grid_sample(picture, places + way.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _change(upper: Tensor, lower: Tensor, size: int) -> Tensor:
    """How much the picture changes at each knot (M, 1, G, G): nothing where skin moves by under 0.05 pixels."""
    moved = torch.maximum(upper.norm(dim=1, keepdim=True), lower.norm(dim=1, keepdim=True)) * (size / 2)
    around = F.avg_pool2d(F.max_pool2d(moved, 3, 1, 1), 3, 1, 1, count_include_pad=False)
    return smoothstep((around - 0.05) / 0.4)


def _box(points: Tensor, size: int) -> tuple[slice, slice]:
    """The rows and columns of pixels that hold `points` (P, 2), and a little more."""
    low, high = ((edge + 1) * (size / 2) for edge in (points.amin(0) - 0.06, points.amax(0) + 0.06))
    (left, top), (right, bottom) = (edge.clamp(0, size).long().tolist() for edge in (low, high))
    return slice(top, bottom), slice(left, right)


def _pixels(picture: Tensor) -> Tensor:
    """The middles of the pixels (1, H, W, 2): x then y, -1 and 1 on the picture's edges."""
    rows, columns = ((2 * torch.arange(count, device=picture.device, dtype=picture.dtype) + 1) / count - 1
                     for count in picture.shape[-2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]
