"""What a mouth looks like, however the head is held: its shape in numbers, and a small picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.faces.profiles import LEFT_EYE, RIGHT_EYE, SPREAD, STILL

POINTS = (*range(48, 68), *range(6, 11))
"""The iBUG points that speech moves: outer and inner lips, and the chin."""
MIRRORED = (54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65, 10, 9, 8, 7, 6)
"""Which of the points each of them is in a mirror."""
NOSE = slice(30, 36)
SHAPE_SIZE = 2 * len(POINTS)
HEIGHT, WIDTH = 20, 32
"""Of the mouth's picture, in pixels."""
REACH_X, REACH_Y, BELOW_NOSE = 0.75, 0.54, 0.55
"""Half the picture's width and height, and how far below the nose its middle lies, in distances between the eyes."""
SAMPLES = 2
"""A side, that each of these pixels is the mean of."""


class Axes(NamedTuple):
    """A face's own axes, laid by what speech does not move; all (B, T, 2) but `unit`."""

    eyes: Tensor
    right: Tensor
    """The direction, of length 1, from the person's right eye to the left."""
    down: Tensor
    unit: Tensor
    """(B, T): the distance between the eyes, were it seen from the front; see `fctfg.faces.profiles.Measures`."""

    @classmethod
    def of(cls, landmarks: Tensor) -> Axes:
        """Those of faces with `landmarks` (B, T, 68, 2)."""
        right_eye, left_eye = landmarks[..., RIGHT_EYE, :].mean(-2), landmarks[..., LEFT_EYE, :].mean(-2)
        right = F.normalize(left_eye - right_eye, dim=-1)
        still = landmarks[..., STILL, :]
        spread = (still - still.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt()
        return cls((right_eye + left_eye) / 2, right, torch.stack([-right[..., 1], right[..., 0]], -1),
                   spread.clamp_min(1e-6) / SPREAD)


def mouth_shapes(landmarks: Tensor) -> Tensor:
    """Where the points of mouth and chin are on the face's own axes: (B, T, 50), x then y, in tenths of its unit."""
    face = Axes.of(landmarks)
    away = landmarks[..., POINTS, :] - face.eyes[..., None, :]
    along = [(away * axis[..., None, :]).sum(-1) for axis in (face.right, face.down)]
    return (10 * torch.stack(along, -1) / face.unit[..., None, None]).flatten(-2)


def mirrored(shapes: Tensor) -> Tensor:
    """`shapes` (..., 50) as they are in a mirror."""
    order = [POINTS.index(point) for point in MIRRORED]
    return (shapes.unflatten(-1, (-1, 2))[..., order, :] * shapes.new_tensor([-1, 1])).flatten(-2)


def mouth_pictures(frames: Tensor, landmarks: Tensor, turn: Tensor | None = None) -> Tensor:
    """The mouths of `frames` (B, T, 3, H, W), of any crop that shows them: (B, T, 20, 32), their green alone.

    Green shows lips darkest against skin. They are cut along the face's own axes, by landmarks above the mouth, so that
    the mouth moves in them and the head does not. Each picture is without its mean, and those of a clip have a standard
    deviation of 1 in all. Gradients go to `frames`, none to `landmarks` (B, T, 68, 2). `turn` (B, 2, 3) moves, turns
    and scales the cut, alike for a whole clip; its last column is in distances between the eyes.
    """
    face = Axes.of(landmarks.detach())
    middle = landmarks.detach()[..., NOSE, :].mean(-2) + BELOW_NOSE * face.unit[..., None] * face.down
    x, y = (((2 * torch.arange(n, device=frames.device) + 1) / n - 1) * reach
            for n, reach in ((SAMPLES * WIDTH, REACH_X), (SAMPLES * HEIGHT, REACH_Y)))
    place = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand(len(frames), -1, -1, -1)
    if turn is not None:
        place = (place[..., None, :] * turn[:, None, None, :, :2]).sum(-1) + turn[:, None, None, :, 2]
    place = place[:, None] * face.unit[..., None, None, None]
    grid = (middle[..., None, None, :] + place[..., :1] * face.right[..., None, None, :]
            + place[..., 1:] * face.down[..., None, None, :])
    with torch.autocast(frames.device.type, enabled=False):  # half precision would misplace them by whole pixels
        green = frames[:, :, 1:2].flatten(0, 1).float()
        found = F.grid_sample(green, grid.flatten(0, 1).float(), "bilinear", "border", align_corners=False)
        cut = F.avg_pool2d(found, SAMPLES)[:, 0].unflatten(0, frames.shape[:2])
    cut = cut - cut.mean((-2, -1), keepdim=True)
    return cut / cut.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(0.04)
