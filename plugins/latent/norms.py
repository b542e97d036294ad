"""Losses that keep the codes of an inversion where the decoder draws well."""

from __future__ import annotations

import torch
from torch import Tensor

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Loss, Output

PSP = "Richardson et al., Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation, 2021, arXiv:2008.00951"
E4E = "Tov et al., Designing an Encoder for StyleGAN Image Manipulation, 2021, arXiv:2102.02766"


class WNormLoss(Loss):
    """How far the codes of a frame, all together, lie from the decoder's mean code: the mean Euclidean distance.

    Richardson et al., 2021, arXiv:2008.00951: the mean of ||w - mean||_2, codes being offsets from the mean. pSp
    gives it a weight of 0 for faces and 0.005 for drawing from sketches and segmentations.
    """

    paper = PSP

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return codes_of("w-norm", output).flatten(2).norm(dim=2).mean()


class DeltaNormLoss(Loss):
    """How far the codes of a frame lie from its first one: the mean distance, summed over the codes.

    Tov et al., 2021, arXiv:2102.02766: the sum over i of ||w_i - w_0||_p. Codes that differ little can be edited
    like the decoder's own, which are all the same. e4e gives it a weight of 2e-4.

    Args:
        norm: p.
    """

    paper = E4E

    def __init__(self, *, norm: float = 2.0):
        super().__init__()
        if norm < 1:
            raise BadRecipe(f"loss 'delta-norm': norm {norm} is below 1; give 2 for lengths or 1 for sums.")
        self.norm = norm

    def forward(self, output: Output, clip: Clip) -> Tensor:
        codes = codes_of("delta-norm", output)
        away = codes[:, :, 1:] - codes[:, :, :1]
        return torch.linalg.vector_norm(away, ord=self.norm, dim=3).sum(2).mean()


def codes_of(loss: str, output: Output) -> Tensor:
    """The codes (B, T, N, D) of `output` in float32.

    Raises:
        BadRecipe: its task gives none.
    """
    if output.latent is None:
        raise BadRecipe(f"loss '{loss}' judges codes, and the task of this stage gives none; use it with talk, invert, "
                        "refine or synthesise.")
    return output.latent.codes.float()
