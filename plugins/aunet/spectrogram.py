"""What AUnet hears: 90 ms of sound at 44.1 kHz, as decibels below the loudest."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.errors import BadMedia
from fctfg.interfaces import FRAME_RATE, SAMPLE_RATE

RATE = 44_100
FFT, HOP = 256, 128
ROWS, COLUMNS = FFT // 2, 32
LENGTH = (COLUMNS - 3) * HOP + FFT
"""Samples of a window: 3968, of 90 ms."""
RANGE = 80.0
"""Decibels from the loudest, 0, to the faintest, 1."""
FULL_SCALE = FFT / 4
"""What a sine from -1 to 1 gives at its own frequency, behind the Hann window."""

_UP, _DOWN = 441, 160  # 44,100 to 16,000
_BLOCKS = -(-LENGTH // _UP)
_HEARD = _BLOCKS * _DOWN  # samples at 16 kHz: 1440, which are 3969 at 44.1 kHz
_ZEROS = 16  # crossings of the interpolating kernel on either side

CONTEXT = ((_HEARD + _ZEROS + 1) / SAMPLE_RATE - 1 / FRAME_RATE, 1 / FRAME_RATE + (_ZEROS + 1) / SAMPLE_RATE)
"""Seconds of sound that a frame's window reaches back and ahead from the moment the frame begins."""


def spectrograms(wave: Tensor, times: Tensor, quiet: float) -> Tensor:
    """The windows (B, T, 128, 32) of frames that begin at `times` (T,), in seconds from the start of `wave` (B, S).

    From 0, as loud as the loudest place of the window, to 1, 80 dB below it or fainter; row k is at k * 172.3 Hz,
    column i is centred 128 i samples of 44.1 kHz into the window. A window ends where its frame does, 40 ms after its
    beginning, at whatever rate frames follow each other. A window whose loudest place is more than `quiet` dB below a
    full-scale sine is held against that level instead, so that silence is 1 throughout. Beyond the ends of the wave is
    silence. Sounds of more than 17 minutes want `times` in float64.

    The constants are those of haixpham/end2end_AU_speech, after which IETaFS was made; what it gives for silence is 0
    throughout, as loud as can be.

    Raises:
        BadMedia: the sound is empty.
    """
    if not wave.shape[-1]:
        raise BadMedia("The sound is empty: it has no samples.")
    with torch.autocast(wave.device.type, enabled=False):
        kernel, hann = _constants(wave.device)
        windows = _upsampled(_segments(wave.to(kernel.dtype), times), kernel)
        # Mirrored at its ends, as librosa did when the published weights were trained.
        padded = F.pad(windows.flatten(0, 1), (FFT // 2, FFT // 2), mode="reflect").unflatten(0, windows.shape[:2])
        amplitude = torch.fft.rfft(padded.unfold(-1, FFT, HOP) * hann).abs()  # (B, T, columns, rows + 1)
        decibels = 20 * amplitude.clamp(min=1e-12).log10()
        loudest = decibels.amax((2, 3), keepdim=True).clamp(min=20 * math.log10(FULL_SCALE) - quiet)
        below = ((loudest - decibels) / RANGE).clamp(0, 1)
        return below[..., :ROWS].transpose(2, 3).float()


def _segments(wave: Tensor, times: Tensor) -> Tensor:
    """The samples at 16 kHz of each window, with what the interpolation reaches for: (B, T, 1440 + 2 * 16)."""
    length = _HEARD + 2 * _ZEROS
    padded = F.pad(wave, (length, length))
    ends = ((times + 1 / FRAME_RATE) * SAMPLE_RATE).round().long().to(wave.device)
    starts = (ends - _HEARD - _ZEROS + length).clamp(0, padded.shape[1] - length)
    return padded.unfold(-1, length, 1)[:, starts]


def _upsampled(segments: Tensor, kernel: Tensor) -> Tensor:
    """Segments (B, T, n) at 16 kHz as the window's samples at 44.1 kHz, (B, T, 3968)."""
    samples = F.conv1d(segments.flatten(0, 1)[:, None], kernel, stride=_DOWN)  # (B T, 441, blocks)
    return samples.transpose(1, 2).flatten(1)[:, -LENGTH:].unflatten(0, segments.shape[:2])


def _interpolation() -> Tensor:
    """(441, 1, 160 + 2 * 16): sample k of each 441 at 44.1 kHz, from the 160 at 16 kHz and their neighbours.

    A sinc under a Hann window; its band is that of 16 kHz, so that above 8 kHz there is but an image of what lies just
    below.
    """
    at = torch.arange(_UP, dtype=torch.float64)[:, None] * _DOWN / _UP
    away = at - (torch.arange(_DOWN + 2 * _ZEROS, dtype=torch.float64) - _ZEROS)
    hann = torch.cos(math.pi * away / (2 * _ZEROS)).square() * (away.abs() < _ZEROS)
    return (torch.sinc(away) * hann)[:, None]


@torch.compiler.disable
@lru_cache(maxsize=8)
@torch.inference_mode(False)  # generation must not leave behind constants that training cannot use
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """The interpolation, and the Hann window (256,); in float64 where the device has it."""
    precision = torch.float32 if device.type in ("mps", "xpu") else torch.float64
    hann = torch.hann_window(FFT, dtype=torch.float64)
    return tuple(constant.to(precision).to(device) for constant in (_interpolation(), hann))
