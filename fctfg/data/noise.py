"""Clips of noise: enough to see whether shapes and gradients meet."""

from __future__ import annotations

import numpy as np
import torch

from ..interfaces import FRAME_RATE, SAMPLE_RATE, Clip


def random_clip(size: int, frames: int = 5, margin: float = 1.0, seed: int = 0, clips: int = 2) -> Clip:
    """Noise with plausible landmarks: one reference and `frames` frames each, `margin` seconds of sound around them."""
    draw = torch.Generator().manual_seed(seed)
    samples = round((frames / FRAME_RATE + 2 * margin) * SAMPLE_RATE)
    angle = torch.linspace(0, 2 * np.pi, 68)
    ring = torch.stack([angle.cos(), angle.sin()], -1) * torch.linspace(0.2, 0.8, 68)[:, None]
    return Clip(
        source=torch.rand(clips, 1, 3, size, size, generator=draw) * 2 - 1,
        frames=torch.rand(clips, frames, 3, size, size, generator=draw) * 2 - 1,
        wave=torch.rand(clips, samples, generator=draw) - 0.5,
        times=margin + torch.arange(frames) / FRAME_RATE,
        other_wave=torch.rand(clips, samples, generator=draw) - 0.5,
        landmarks=ring + 0.01 * torch.randn(clips, frames, 68, 2, generator=draw),
        action_units=torch.rand(clips, frames, 17, generator=draw),
        action_units_known=torch.ones(clips, frames, 17, dtype=torch.bool),
    )
