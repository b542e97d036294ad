"""How well a track's mouths and sounds agree, and by how much they are apart: the arithmetic of LSE-D and LSE-C.

Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016, section 4, as the authors' code reckons it;
the two numbers are called so by Prajwal et al., 2020, arXiv:2008.10010.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.audio import MFCC_HOP, mfcc
from fctfg.errors import BadMedia
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE

from .network import COLUMNS, WINDOW, SyncNet, shown

REACH = 15
"""Frames by which the sound is tried early and late."""
SMOOTHING = 9
"""Windows over which the authors take the median of `Agreement.by_window`."""
MFCC_RATE = SAMPLE_RATE // MFCC_HOP  # columns a second
AT_ONCE = 32
"""Windows whose feature maps are in memory at a time."""


class Agreement(NamedTuple):
    """What the distances of a track come to."""

    offset: int
    """By how many frames the sound is early; below 0 it is late. Played so much later, it is in step."""
    distance: float
    """At that offset, the mean over the track: LSE-D where it is averaged over videos. Small is good."""
    confidence: float
    """How much nearer that is than the median over all offsets: LSE-C. Great is good; under 2 or so, nobody speaks."""
    by_offset: Tensor
    """(2 reach + 1,): the mean distance at the offsets reach, reach - 1, ..., -reach."""
    by_window: Tensor
    """(T,): the confidence of each window at that offset; `median_filter` smooths it."""


def distances(mouths: Tensor, sounds: Tensor, reach: int = REACH) -> Tensor:
    """How far each of `mouths` (T, A) is from the `sounds` (T, A) around it: (T, 2 reach + 1).

    Entry (t, j) is the distance to sound t + j - reach; beyond the ends sounds are zeros, as the authors have it.
    """
    padded = F.pad(sounds, (0, 0, reach, reach))
    return torch.stack([F.pairwise_distance(mouths, padded[j:j + len(mouths)], eps=1e-6)
                        for j in range(2 * reach + 1)], 1)


def agreement(distances: Tensor) -> Agreement:
    """What `distances` (T, 2 reach + 1) say of a track."""
    by_offset = distances.mean(0)
    nearest = int(by_offset.argmin())
    middle = by_offset.median()
    return Agreement(len(by_offset) // 2 - nearest, float(by_offset[nearest]), float(middle - by_offset[nearest]),
                     by_offset, middle - distances[:, nearest])


def median_filter(values: Tensor, width: int = SMOOTHING) -> Tensor:
    """The median of each of `values` (T,) with its neighbours, an odd `width` in all; zeros beyond the ends."""
    return F.pad(values, (width // 2, width // 2)).unfold(0, width, 1).median(-1).values


@torch.no_grad()
def lip_sync(network: SyncNet, frames: Tensor, wave: Tensor, reach: int = REACH) -> Agreement:
    """How well the track `frames` (T, 3, H, W), RGB in [-1, 1] at 25 a second, and `wave` (S,) agree, by `network`.

    The frames are to be cut by the crop profile `syncnet`, which is what the public weights know. As the authors do, it
    looks at one window less than there are. On the network's device, whatever the length of the track.

    Raises:
        BadMedia: shorter than six frames, or the sound is.
    """
    common = min(len(frames), len(wave) * FRAME_RATE // SAMPLE_RATE)
    count = common - WINDOW
    if count < 1:
        raise BadMedia(f"Lip sync is measured from {WINDOW + 1} frames on ({(WINDOW + 1) / FRAME_RATE:.2f} s); there "
                       f"are {len(frames)} frames and {len(wave) / SAMPLE_RATE:.2f} s of sound.")
    network.eval()
    device = next(network.parameters()).device
    heard = mfcc(wave.to(device)[None])[0].unfold(-1, COLUMNS, MFCC_RATE // FRAME_RATE).transpose(0, 1)  # (T, 13, 20)
    mouths, sounds = [], []
    for first in range(0, count, AT_ONCE):
        last = min(first + AT_ONCE, count)
        mouths.append(network.watch(shown(frames[None, first:last + WINDOW - 1].to(device)))[0])
        sounds.append(network.listen(heard[first:last]))
    return agreement(distances(torch.cat(mouths), torch.cat(sounds), reach).cpu())
