"""The action units a frame is to show: those that are given, and what is heard for the others."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from fctfg.action_units import NAMES
from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, FaceCode, Fusion, Latent


class ActionUnitsFusion(Fusion):
    """The code of a frame: each action unit as the face's motion gives it where that is 0 or more, else as it is heard.

    Only what is heard is smoothed over time, by the parabola that fits best within a window (Savitzky and Golay,
    "Smoothing and Differentiation of Data by Simplified Least Squares Procedures", Analytical Chemistry 36, 1964), so
    that frames which are drawn one by one do not flicker and a mouth's extremes stay. Speech that is not 17 action
    units is brought to them by one layer.

    Args:
        smooth: frames of the window, an odd number from 5 on; 1 for none.
    """

    paper = "Savitzky, Golay, Smoothing and Differentiation of Data by Simplified Least Squares Procedures, 1964"
    test_codes = CodeShape(1, len(NAMES))

    def __init__(self, *, codes: CodeShape, speech_width: int, smooth: int = 5):
        super().__init__()
        if tuple(codes) != (1, len(NAMES)):
            raise BadRecipe(f"fusion 'action-units' makes one code of {len(NAMES)} action units, which decoder "
                            f"'ganimation' draws from; this decoder takes {codes[0]} of {codes[1]}.")
        if smooth != 1 and (smooth < 5 or smooth % 2 == 0):  # a parabola goes through any three points
            raise BadRecipe(f"fusion 'action-units' smooths over an odd number of frames from 5 on, not {smooth}; give "
                            "5, or 1 for none.")
        self.smooth = smooth
        self.to_action_units = None if speech_width == len(NAMES) else nn.Linear(speech_width, len(NAMES))

    @property
    def reach(self) -> int:
        return self.smooth // 2

    def forward(self, face: FaceCode, speech: Tensor) -> Latent:
        heard = self.smoothed(self.heard(speech))[:, :, None]
        return Latent(torch.where(face.motion >= 0, face.motion, heard.to(face.motion)), skips=face.skips,
                      deltas=face.deltas)

    def heard(self, speech: Tensor) -> Tensor:
        """The action units (B, T, 17) that `speech` (B, T, A) says, each frame for itself."""
        return speech if self.to_action_units is None else self.to_action_units(speech).sigmoid()

    def smoothed(self, action_units: Tensor) -> Tensor:
        """`action_units` (B, T, 17) smoothed over time, in [0, 1]. Beyond the ends the last frame goes on."""
        if self.smooth == 1:
            return action_units
        ends = (self.reach, self.reach)
        padded = nn.functional.pad(action_units.transpose(1, 2), ends, mode="replicate")
        weights = parabola(self.smooth).to(padded)
        return (padded.unfold(-1, self.smooth, 1) @ weights).transpose(1, 2).clamp(0, 1)


@torch.compiler.disable
@lru_cache(maxsize=8)
@torch.inference_mode(False)
def parabola(window: int) -> Tensor:
    """(window,): how much each frame counts for the one in their middle; they add up to 1."""
    place = torch.arange(window, dtype=torch.float64) - window // 2
    powers = torch.stack([torch.ones_like(place), place, place.square()], 1)
    return torch.linalg.pinv(powers)[0].float()
