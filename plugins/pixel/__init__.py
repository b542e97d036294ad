"""Losses that compare the drawn picture with the true one, pixel by pixel."""

from __future__ import annotations

from torch import Tensor

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Loss, Output


class L1Loss(Loss):
    """The mean absolute difference between drawn and true pixels.

    `span` is the width of the pixel range it is counted in: 2 for the [-1, 1] of fctfg, 1 for the [0, 1] of papers
    such as Wav2Lip, so that their weights can be taken over as they are.
    """

    def __init__(self, span: float = 2.0):
        super().__init__()
        self.scale = _share("l1", span)

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return self.scale * (output.frames.float() - clip.frames.float()).abs().mean()


class L2Loss(Loss):
    """The mean squared difference between drawn and true pixels. `span` is as for `l1`: 2 in pSp, e4e, HyperStyle."""

    def __init__(self, span: float = 2.0):
        super().__init__()
        self.scale = _share("l2", span)

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return self.scale**2 * (output.frames.float() - clip.frames.float()).square().mean()


def _share(loss: str, span: float) -> float:
    """The width `span` as a share of that of [-1, 1]."""
    if span <= 0:
        raise BadRecipe(f"loss '{loss}': span {span} is not above 0; give 2 for pixels in [-1, 1] or 1 for [0, 1].")
    return span / 2
