"""Running averages of weights."""

from __future__ import annotations

import torch
from torch import nn

from fctfg.averaging import RunningAverage


def test_it_follows_the_numbers_with_its_decay():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = RunningAverage(module, 0.5)
    expected = module[0].weight.detach().clone()
    for number in range(6):
        with torch.no_grad():
            module[0].weight += 1
            module[1](torch.randn(4, 2))
        average.update(module)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * module[0].weight.detach()
    torch.testing.assert_close(average.module[0].weight, expected)
    assert int(average.module[1].num_batches_tracked) == 6 and not average.module.training
    assert not any(p.requires_grad for p in average.parameters())
    again = RunningAverage(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), 0.5)
    again.load_state_dict(average.state_dict())
    assert int(again.updates) == 6
