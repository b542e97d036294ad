"""The audio encoder: action units, heard."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fctfg.action_units import NAMES
from fctfg.interfaces import AudioEncoder

from .layers import LICENCE, SOURCE, ConvTower, over_spectrograms, scaled
from .spectrogram import CONTEXT, spectrograms


class AUNetAudioEncoder(AudioEncoder, ConvTower):
    """The action units (17) in [0, 1] that each frame's sound says: those of the 90 ms that end with the frame.

    Of IETaFS (meherabhi/IETaFS, 2021), after Pham, Wang, Pavlovic, "End-to-end Learning for 3D Facial Animation from
    Speech", ICMI 2018, without its recurrence. Loads the AU files of IETaFS (no licence), which were trained on RAVDESS
    (CC BY-NC-SA 4.0). Differs: silence is silence, see `quiet`; sound arrives at 16 kHz, so that rows above 8 kHz are
    as faint as can be, which those files did not learn; in eval mode neither the dropout nor the statistics of the
    batch play a part.

    Args:
        quiet: dB below a full-scale sine from which on a window's loudness counts; those that are louder are all
            brought to the same level. 0 brings none to it, and loudness is heard.
        scale: multiplies the channels of every layer; 1 is the published network.
    """

    paper = SOURCE
    licence = LICENCE
    context = CONTEXT
    width = len(NAMES)
    test_options = {"scale": 1 / 16}

    def __init__(self, *, quiet: float = 50.0, scale: float = 1.0):
        super().__init__(1, over_spectrograms(scale, rows=(32, 64, 128, 256, 512), columns=(512, 512, 512)))
        self.quiet = quiet
        self.fc1 = nn.Linear(scaled(512, scale) * 4 * 4, scaled(1024, scale))
        self.dropout = nn.Dropout(0.2)
        self.fc2 = nn.Linear(scaled(1024, scale), self.width)

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        windows = spectrograms(wave, times, self.quiet)
        return self.listen(windows.flatten(0, 1)[:, None]).unflatten(0, windows.shape[:2])

    def listen(self, windows: Tensor) -> Tensor:
        """The action units (M, 17), float32, in `windows` (M, 1, 128, 32) of the spectrogram."""
        x = self.dropout(torch.tanh(self.fc1(self.convolved(windows))))
        return self.fc2(x).float().sigmoid()
