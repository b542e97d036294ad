"""Drawn frames cut out again by another crop profile, in the middle of training: what expert networks look at."""

from __future__ import annotations

import math

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
    height, width = frames.shape[-2:]
    points = landmarks.detach().flatten(0, 1).cpu().double().numpy()  # note: this is a CPU-GPU sync point
    matrices = find_profile(profile).matrices((points + 1) / 2 * (width, height)) * 2 / [[width], [height]]
    matrices[..., 2] -= 1  # from the unit square of the crops to [-1, 1] of the frames
    # So many samples for each pixel that, of what lies in the frames, none is left out: their mean is that of its area.
    samples = math.ceil(max(height, width) / size)
    with torch.autocast(frames.device.type, enabled=False):  # half precision would misplace them by whole pixels
        grid = _grid(torch.from_numpy(matrices).to(frames.device, torch.float32), size * samples)
        found = F.grid_sample(frames.flatten(0, 1).float(), grid, "bilinear", "border", align_corners=False)
        return F.avg_pool2d(found, samples).unflatten(0, frames.shape[:2])


def _grid(matrices: Tensor, size: int) -> Tensor:
    """Where `matrices` (M, 2, 3) take the middles of size x size pixels of the unit square: (M, size, size, 2).

    F.affine_grid multiplies matrices, which GPUs may do in TF32, with errors of half a pixel.
    """
    place = (torch.arange(size, device=matrices.device) + 0.5) / size
    right, down, corner = matrices[:, None, None].unbind(-1)
    return right * place[:, None] + down * place[:, None, None] + corner
