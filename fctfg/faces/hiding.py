"""Faces without their mouths: what an encoder is shown where the sound alone is to move the lips."""

from __future__ import annotations

import torch
from torch import Tensor

from .profiles import LEFT_EYE, RIGHT_EYE, SPREAD, STILL

MIDDLE, ACROSS, DOWN = 1.5, 1.0, 0.95
"""Of the hidden ellipse: how far below the eyes it lies, and its half axes, in distances between the eyes.

It reaches from the lower end of the nose past the chin, and from cheek to cheek. It hangs on points that do not move when
somebody speaks: a cover that moved with the chin would tell how far the mouth is open.
"""
EDGE = 0.15


def hide_mouth(frames: Tensor, landmarks: Tensor) -> Tensor:
    """`frames` (B, T, 3, H, W) with grey where the mouth and the chin are, softly edged.

    `landmarks` (B, T, 68, 2) are those of `frames` in [-1, 1].
    """
    height, width = frames.shape[-2:]
    points = landmarks.float()
    right_eye, left_eye = points[..., RIGHT_EYE, :].mean(-2), points[..., LEFT_EYE, :].mean(-2)
    still = points[..., STILL, :]
    unit = (still - still.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt().clamp_min(1e-6) / SPREAD
    right = torch.nn.functional.normalize(left_eye - right_eye, dim=-1)
    eyes = (right_eye + left_eye) / 2

    y, x = ((2 * torch.arange(n, device=frames.device) + 1) / n - 1 for n in (height, width))
    away = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) - eyes[..., None, None, :]  # (B, T, H, W, 2)
    right, unit = right[..., None, None, :], unit[..., None, None]
    across = (away * right).sum(-1) / unit
    down = (away[..., 1] * right[..., 0] - away[..., 0] * right[..., 1]) / unit
    distance = torch.hypot(across / ACROSS, (down - MIDDLE) / DOWN)
    seen = ((distance - 1) / EDGE + 0.5).clamp(0, 1)
    return frames * seen[:, :, None].to(frames.dtype)  # 0 is grey
