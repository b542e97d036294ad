"""Path length regularisation: a step in the codes changes the picture as much anywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Loss, Output

from .layers import full_precision
from .sizes import PAPER


class PathLengthLoss(Loss):
    """How much the length of d frame / d codes differs from its running mean, looked at in every `every`-th step.

    Karras et al., 2020, arXiv:1912.04958, equation 4. In the other steps it is 0; to make up for them it counts `every`
    times as much, so a weight of 2 is the public one. It looks at the stage's own frames, all of them, where the public
    code draws others, half as many. Backward passes through the decoder twice, for which it must not be compiled.

    Args:
        decay: of the running mean; it moves by this share in each step that is looked at.
    """

    paper = PAPER
    steps: Tensor
    mean: Tensor

    def __init__(self, *, every: int = 4, decay: float = 0.01):
        super().__init__()
        self.every, self.decay = every, decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, output: Output, clip: Clip) -> Tensor:
        if output.latent is None:
            raise BadRecipe("Loss 'path-length' needs the codes that the frames were drawn from; task 'synthesise' gives them.")
        frames, codes = output.frames, output.latent.codes
        if not (torch.is_grad_enabled() and frames.requires_grad and codes.requires_grad):
            return frames.new_zeros(())  # nothing is learnt here: evaluation, or a frozen decoder
        due = bool(self.steps % self.every == 0)
        self.steps += 1
        if not due:
            return codes.sum() * 0
        lengths = path_lengths(frames, codes, torch.randn_like(frames))
        mean = self.mean + self.decay * (lengths.mean() - self.mean)
        self.mean.copy_(mean.detach())
        return (lengths - mean).square().mean() * self.every


def path_lengths(frames: Tensor, codes: Tensor, noise: Tensor) -> Tensor:
    """How far `frames` (B, T, 3, H, W) move in the direction of `noise` with their `codes` (B, T, N, D): (B, T)."""
    along = (frames * noise).sum() / math.sqrt(frames.shape[-1] * frames.shape[-2])
    gradient, = torch.autograd.grad(along, codes, create_graph=True)
    with full_precision(gradient):
        return gradient.float().square().sum(-1).mean(-1).sqrt()
