"""The two ways in which LipGAN hears: mel bands, and the cepstra of a voice."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from fctfg.audio import mel_context, mel_windows, mfcc12_windows, mfcc_context


class Front(NamedTuple):
    """Windows of sound at given moments."""

    windows: Callable[[Tensor, Tensor, int], Tensor]
    columns: int
    span: Callable[[int, float], tuple[float, float]]

    def hear(self, wave: Tensor, times: Tensor, offset: float) -> Tensor:
        """The windows (B, T, rows, columns) of `wave` (B, S) that begin `offset` seconds after `times` (T,)."""
        return self.windows(wave, times + offset, self.columns)

    def context(self, offset: float = 0.0) -> tuple[float, float]:
        """Seconds of sound that such a window hears before and after a moment."""
        return self.span(self.columns, offset)


MEL = Front(mel_windows, 27, mel_context)
"""80 bands by 27 columns of 12.5 ms: the authors' later code."""
MFCC = Front(mfcc12_windows, 35, mfcc_context)
"""12 cepstra by 35 columns of 10 ms: the authors' first code, which takes them from MATLAB."""
