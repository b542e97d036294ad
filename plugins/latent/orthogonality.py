"""What keeps who a face is and how it moves from saying the same."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Loss, Output


class OrthogonalityLoss(Loss):
    """How much canonical and motion codes point the same way: the mean size of their products, code by code.

    Jang et al., "That's What I Said: Fully-Controllable Talking Face Generation", 2023, arXiv:2304.03275, whose formula
    we have not seen. With c the canonical code and m the motion code of a frame, each (N, D), `dot` is the mean over
    clips, frames and the N codes of |sum_k c_k m_k|, the form of its one unofficial implementation. `cosine` divides
    each by the lengths of c and m, so that it cannot be lowered by making motion small.

    Args:
        form: `dot` or `cosine`.
        layers: the codes it counts, by number from 0, the coarsest; None for all of them.
    """

    paper = "Jang et al., That's What I Said: Fully-Controllable Talking Face Generation, 2023, arXiv:2304.03275"

    def __init__(self, *, form: str = "dot", layers: Sequence[int] | None = None):
        super().__init__()
        if form not in ("dot", "cosine"):
            raise BadRecipe(f"loss 'orthogonality': form '{form}' is unknown; give dot or cosine.")
        if layers is not None and (not layers or min(layers) < 0):
            raise BadRecipe(f"loss 'orthogonality': layers {list(layers)} name no codes; give some from 0 on, or leave "
                            "them out for all.")
        self.form, self.layers = form, layers if layers is None else list(layers)

    def forward(self, output: Output, clip: Clip) -> Tensor:
        return self._sizes(output).mean()

    def measure(self, output: Output, clip: Clip) -> dict[str, Tensor]:
        """The mean size of the `cosine`, whichever the form: 0 is orthogonal; by chance it is about 0.8 / sqrt(D)."""
        canonical, motion = self._codes(output)
        return {"cosine": F.cosine_similarity(canonical, motion, dim=-1).abs().mean()}

    def _sizes(self, output: Output) -> Tensor:
        canonical, motion = self._codes(output)
        if self.form == "cosine":
            return F.cosine_similarity(canonical, motion, dim=-1).abs()
        return (canonical * motion).sum(-1).abs()

    def _codes(self, output: Output) -> tuple[Tensor, Tensor]:
        """Canonical (B, 1, L, D) and motion codes (B, T, L, D), those that count, in float32."""
        latent = output.latent
        if latent is None or latent.canonical is None or latent.motion is None:
            raise BadRecipe("loss 'orthogonality' compares canonical and motion codes, which this stage's task or the "
                            "recipe's fusion does not give; task talk with --fusion canonical-motion does.")
        canonical, motion = latent.canonical[:, None].float(), latent.motion.float()
        if self.layers is None:
            return canonical, motion
        if max(self.layers) >= motion.shape[2]:
            raise BadRecipe(f"loss 'orthogonality': layers has {max(self.layers)}, and there are {motion.shape[2]} "
                            f"codes; the last is {motion.shape[2] - 1}.")
        return canonical[:, :, self.layers], motion[:, :, self.layers]
