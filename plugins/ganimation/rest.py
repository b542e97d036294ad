"""What is heard where nobody listens."""

from __future__ import annotations

from torch import Tensor

from fctfg.action_units import NAMES
from fctfg.interfaces import AudioEncoder


class AtRestAudioEncoder(AudioEncoder):
    """Every action unit at rest, 0, whatever the sound: for faces that are drawn from given action units alone."""

    width = len(NAMES)
    context = (0.0, 0.0)

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        return wave.new_zeros(len(wave), len(times), self.width)
