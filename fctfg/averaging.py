"""Running averages of weights, which wander less than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import nn


class RunningAverage(nn.Module):
    """A copy of `module`, in eval mode, whose numbers follow the module's with `decay`.

    Early on it follows faster, by (1 + n) / (10 + n) after n updates, so that it soon forgets where the module began.
    Whole numbers are copied.
    """

    def __init__(self, module: nn.Module, decay: float):
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.register_buffer("updates", torch.tensor(0))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards `module`."""
        number = int(self.updates)
        self.updates += 1
        step = 1 - min(self.decay, (1 + number) / (10 + number))
        for mean, value in zip(self.module.state_dict().values(), module.state_dict().values()):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean), step)
            else:
                mean.copy_(value)
