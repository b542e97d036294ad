"""SyncNet's audio tower as an audio encoder."""

from __future__ import annotations

from torch import Tensor

from fctfg.audio import mfcc_context, mfcc_windows
from fctfg.interfaces import AudioEncoder

from .network import COLUMNS, LICENCE, PAPER, SoundTower


class SyncNetAudioEncoder(AudioEncoder):
    """One vector of 1024 for the 0.2 s of sound about the middle of each frame.

    Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; on the MFCC of `fctfg.audio`. SyncNet
    hears the time of five frames at once; here the frame is the middle one of them.

    Args:
        offset: seconds from the beginning of the frame to that of its window. 0 hears what follows, as SyncNet does
            of the first of its five frames.
        scale: multiplies the channels of every layer; 1 is the public network.
    """

    paper = PAPER
    licence = LICENCE
    context = mfcc_context(COLUMNS, -0.08)
    test_options = {"scale": 1 / 16}

    def __init__(self, *, offset: float = -0.08, scale: float = 1.0):
        super().__init__()
        self.offset = offset
        self.context = mfcc_context(COLUMNS, offset)
        self.tower = SoundTower(scale)
        self.width = self.tower.width

    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        cepstra = mfcc_windows(wave, times + self.offset)
        return self.tower.listen(cepstra.flatten(0, 1)).unflatten(0, cepstra.shape[:2])
