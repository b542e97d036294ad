"""SSIM and MS-SSIM, computed together as both are made of the same maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

REACH, SIGMA = 5, 1.5
"""Of the Gaussian window: 11 x 11 pixels."""
_TAPS = [math.exp(-0.5 * (place / SIGMA) ** 2) for place in range(-REACH, REACH + 1)]
WINDOW = tuple(tap / sum(_TAPS) for tap in _TAPS)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, fine to coarse: Wang et al., 2003, section 3.2."""
LEAST = 2 * REACH + 1
LEAST_SCALES = 2 ** (len(WEIGHTS) - 1) * LEAST
"""Pixels a side from which on the coarsest scale still has a whole window."""


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """(M,): of pictures (M, C, H, W) in [0, 255], at least 11 px; the mean over all windows that lie inside them.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, eq. 13. Channels are
    compared one by one, and averaged.
    """
    luminance, structure = _maps(a, b)
    return (luminance * structure).mean((1, 2, 3))


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """(M,): of pictures (M, C, H, W) in [0, 255], at least 176 px; 0 where a scale's structures are opposed.

    Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment", 2003, eq. 7. From
    scale to scale 2 x 2 pixels are averaged.
    """
    terms = []
    for scale in range(len(WEIGHTS)):
        luminance, structure = _maps(a, b)
        last = scale == len(WEIGHTS) - 1
        terms.append((luminance * structure if last else structure).mean((2, 3)).clamp_min(0))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return torch.stack(terms).pow(torch.tensor(WEIGHTS, dtype=a.dtype, device=a.device)[:, None, None]).prod(0).mean(1)


def _maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """How alike luminance is, and contrast with structure, where windows lie inside: (M, C, H - 10, W - 10) each."""
    count = len(a)
    moments = _blurred(torch.cat([a, b, a * a, b * b, a * b]))
    mean_a, mean_b, square_a, square_b, both = moments.split(count)
    spread = square_a - mean_a.square() + square_b - mean_b.square()
    luminance = (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
    return luminance, (2 * (both - mean_a * mean_b) + C2) / (spread + C2)


def _blurred(x: Tensor) -> Tensor:
    """Under the Gaussian window, where it lies inside. As sums of shifted pictures: a convolution of single channels is
    fifty times as slow on a CPU."""
    for dim in (2, 3):
        length = x.shape[dim] - 2 * REACH
        total = WINDOW[0] * x.narrow(dim, 0, length)
        for place in range(1, 2 * REACH + 1):
            total.add_(x.narrow(dim, place, length), alpha=WINDOW[place])
        x = total
    return x
