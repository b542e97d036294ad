from __future__ import annotations

import pytest
import torch

from fctfg import registry
from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Output


def clip_of(frames: torch.Tensor) -> Clip:
    return Clip(frames[:, :1], frames, torch.zeros(len(frames), 3200), torch.arange(frames.shape[1]) / 25)


def test_l1_is_the_mean_of_absolute_differences():
    drawn, true = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([-1.0, -1.0, 0.0])
    drawn, true = (pixels.view(1, 1, 3, 1, 1).expand(2, 4, 3, 6, 5) for pixels in (drawn, true))
    l1 = registry.build("loss", "l1")
    assert l1(Output(drawn), clip_of(true)).item() == pytest.approx((2 + 0 + 0.5) / 3)


def test_span_one_counts_in_the_range_from_zero_to_one():
    drawn, true = torch.rand(2, 2, 3, 8, 8) * 2 - 1, torch.rand(2, 2, 3, 8, 8) * 2 - 1
    expected = torch.nn.functional.l1_loss((drawn + 1) / 2, (true + 1) / 2)
    torch.testing.assert_close(registry.build("loss", "l1", span=1)(Output(drawn), clip_of(true)), expected)


def test_half_precision_pictures_are_compared_in_float32():
    drawn, true = torch.full((1, 1, 3, 64, 64), 0.3), torch.full((1, 1, 3, 64, 64), 0.2)
    assert registry.build("loss", "l1")(Output(drawn.bfloat16()), clip_of(true.bfloat16())).dtype == torch.float32


def test_a_span_of_nothing_is_refused():
    with pytest.raises(BadRecipe, match="above 0"):
        registry.build("loss", "l1", span=0)


def test_l2_is_the_mean_of_squared_differences():
    drawn, true = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([-1.0, -1.0, 0.0])
    drawn, true = (pixels.view(1, 1, 3, 1, 1).expand(2, 4, 3, 6, 5) for pixels in (drawn, true))
    for span, wanted in ((2, (4 + 0 + 0.25) / 3), (1, (1 + 0 + 0.0625) / 3)):
        assert registry.build("loss", "l2", span=span)(Output(drawn), clip_of(true)).item() == pytest.approx(wanted)
    with pytest.raises(BadRecipe, match="loss 'l2': span -1 is not above 0"):
        registry.build("loss", "l2", span=-1)
