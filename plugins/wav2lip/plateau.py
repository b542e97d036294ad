"""A sync expert that learns nothing looks like one that takes its time; the difference in words."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

GUESS = math.log(2)
"""The cross entropy of a guess between two."""


class PlateauWatch(nn.Module):
    """Advises, once on each plateau, when a two-way cross entropy has stayed at ln 2 for `steps` steps.

    Fed at every step, it keeps the running mean of the loss and for how long that has been within 0.02 of ln 2, as
    tensors beside the loss, so that feeding never waits for the GPU and a resumed run goes on counting. A loss that
    is not finite is passed over.
    """

    def __init__(self, steps: int, within: float = 0.02, memory: float = 0.99):
        super().__init__()
        self.patience = steps
        self.within = within
        self.memory = memory
        self.register_buffer("mean", torch.tensor(GUESS))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("told", torch.tensor(False))

    def update(self, loss: Tensor) -> None:
        """Take in the loss of one more step."""
        loss = loss.detach().to(self.mean)
        loss = torch.where(loss.isfinite(), loss, self.mean)
        self.mean.lerp_(loss, 1 - self.memory)
        near = (self.mean - GUESS).abs() <= self.within
        self.steps.copy_((self.steps + 1) * near)
        self.told.logical_and_(near)

    def advice(self) -> str | None:
        """What to check, once; None while there is nothing to say. Waits for the GPU."""
        if bool(self.told) or int(self.steps) < self.patience:
            return None
        self.told.fill_(True)
        return (f"The sync expert has been guessing for {int(self.steps):,} steps: its loss stays at "
                f"{float(self.mean):.3f}, and ln 2 = 0.693 is a coin toss. On LRS2 it takes 150,000 to 200,000 steps "
                "to leave it. If it goes on, look for, the likeliest first: sound and picture a frame or two out of "
                "step in the data; a frame rate other than 25 or a wrong sample rate; too few speakers or hours (one "
                "speaker is not enough); a batch under 64; an lr that is too high (try 1e-5).")
