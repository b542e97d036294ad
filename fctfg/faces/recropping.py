"""Drawn frames cut out again by another crop profile, in the middle of training: what expert networks look at."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .profiles import find_profile


def recrop(frames: Tensor, landmarks: Tensor, profile: str, size: int) -> Tensor:
    """What `frames` (B, T, 3, H, W) show where the crop `profile` lies: (B, T, 3, size, size), float32.

    `landmarks` (B, T, 68, 2) are those of `frames` in [-1, 1]; no gradient goes there. To `frames` it does, so that a
    loss may judge drawn faces by a network that was trained on another crop. Antialiased where it shrinks. Outside the
    frames their edges go on. An upright crop of frames that are turned with the head, as `ffhq` is, shows it level.

    Raises:
        UnknownPlugin: there is no such profile.
    """
    place = find_profile(profile).matrices
    with torch.autocast(frames.device.type, enabled=False):  # half precision would misplace samples by whole pixels
        grid = _grid(landmarks, place, frames.shape[-2:], size)
        sampled = F.grid_sample(frames.flatten(0, 1).float(), grid.to(frames.device), mode="bilinear",
                                padding_mode="border", align_corners=False)
        return F.avg_pool2d(sampled, grid.shape[1] // size).unflatten(0, frames.shape[:2])


def _grid(landmarks: Tensor, place, shape: tuple[int, int], size: int) -> Tensor:
    """Where to sample, (B T, fine, fine, 2) in [-1, 1].

    So many samples for each pixel of the crop that, as far as it lies within the frames, none of theirs is left out:
    their mean is the mean over the area that it covers.
    """
    height, width = shape
    points = (landmarks.detach().cpu().double().numpy().reshape(-1, 68, 2) + 1) / 2 * (width, height)
    theta = place(points)
    # From [-1, 1] of the crop to [-1, 1] of the frame.
    theta[..., 2] += theta[..., :2].sum(-1) / 2
    theta[..., :2] /= 2
    theta *= 2 / np.array([[width], [height]])
    theta[..., 2] -= 1
    fine = size * math.ceil(max(height, width) / size)
    return F.affine_grid(torch.from_numpy(theta).float(), [len(theta), 3, fine, fine], align_corners=False)
