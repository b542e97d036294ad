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
        if span <= 0:
            raise BadRecipe(f"loss 'l1': span {span} is not above 0; give 2 for pixels in [-1, 1] or 1 for [0, 1].")
        self.scale = span / 2

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return self.scale * (output.frames.float() - clip.frames.float()).abs().mean()
