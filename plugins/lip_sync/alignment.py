"""Learning what belongs together from clips whose sound may itself be a few frames early or late."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nearby(sounds: Tensor, frames: int) -> Tensor:
    """The sounds around each of `frames` frames, of `sounds` (B, T + 2 R, A): (B, T, 2 R + 1, A), the latest first.

    Entry j of a frame is the sound that was heard R - j frames after it.
    """
    return sounds.unfold(1, sounds.shape[1] - frames + 1, 1).transpose(-1, -2).flip(2)


def aligned(scores: Tensor, slack: float, overlap: float) -> tuple[Tensor, Tensor]:
    """The loss (B,) of clips whose frames score each of 2 R + 1 offsets as `scores` (B, T, 2 R + 1), and what it takes
    for their true offsets: a probability (B, 2 R + 1) of each.

    Each frame's softmax over the offsets is to choose the clip's one offset, which nobody knows, but that it is
    normally distributed about 0 with a deviation of `slack` frames; 0 takes every clip to be in step. The loss is minus
    the log of the probability of what the frames chose, summed over the offset, for each frame: noise contrastive
    estimation with the other moments of the same clip as negatives (van den Oord et al., 2018, arXiv:1807.03748), and
    with a bag of positives (Miech et al., 2020, arXiv:1912.06430), one bag a clip. `overlap` frames count as one in
    finding the offset, since they see and hear nearly the same.
    """
    choices = scores.log_softmax(-1)
    reach = scores.shape[-1] // 2
    if slack <= 0:
        known = F.one_hot(torch.tensor(reach, device=scores.device), scores.shape[-1]).to(scores.dtype)
        return -choices[..., reach].mean(1), known.expand(len(scores), -1)
    away = torch.arange(-reach, reach + 1, device=scores.device, dtype=scores.dtype) / slack
    evidence = (-0.5 * away.square()).log_softmax(0) + choices.sum(1) / overlap
    return -evidence.logsumexp(-1) * overlap / scores.shape[1], evidence.detach().softmax(-1)
