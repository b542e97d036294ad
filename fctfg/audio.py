"""What networks hear: the mel spectrogram of Wav2Lip, the MFCC of SyncNet and that of Speech2Vid, in batched torch.

A wave in [-1, 1] at 16 kHz is all they take, and float32 comes out. In between they reckon in float64 where the
device has it, whatever autocast and TF32 are allowed elsewhere: logarithms of faint bands beside loud ones lose four
digits otherwise, and next to the networks it costs nothing. Letters as in interfaces.py; L columns, of which there
are 80 a second (mel) or 100 (MFCC).

`log_mel` and `mfcc` are the features of a whole sound, as the reference implementations cut them. `mel_windows`,
`mfcc_windows` and `mfcc12_windows` are what a network hears at given moments: computed from the samples of that very
moment, so that frame rates which no hop divides suffer no rounding to the nearest column.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import BadMedia
from .interfaces import SAMPLE_RATE

PRE_EMPHASIS = 0.97

MEL_BANDS = 80
MEL_FFT, MEL_HOP = 800, 200
MEL_LOWEST, MEL_HIGHEST = 55.0, 7600.0  # Hz

MFCC_COUNT = 13
MFCC_LENGTH, MFCC_HOP, MFCC_FFT = 400, 160, 512
MFCC_FILTERS = 26
MFCC_LIFTER = 22
INT16 = 32768.0
MFCC12_FILTERS = 40
MFCC12_LOWEST, MFCC12_HIGHEST = 300.0, 3700.0  # Hz
FLOAT64_EPSILON = 2.0**-52  # what python_speech_features puts in place of a zero before the logarithm


def mel_context(columns: int, offset: float = 0.0) -> tuple[float, float]:
    """Seconds of sound that a window of so many mel columns, begun `offset` late, hears before and after a moment."""
    return (max(0.0, (MEL_FFT // 2 + 1) / SAMPLE_RATE - offset),
            max(0.0, ((columns - 1) * MEL_HOP + MEL_FFT // 2) / SAMPLE_RATE + offset))


def mfcc_context(columns: int, offset: float = 0.0) -> tuple[float, float]:
    """Seconds of sound that a window of so many MFCC columns, begun `offset` late, hears before and after a moment."""
    return (max(0.0, 1 / SAMPLE_RATE - offset),
            max(0.0, ((columns - 1) * MFCC_HOP + MFCC_LENGTH) / SAMPLE_RATE + offset))


MEL_CONTEXT = mel_context(16)
"""Seconds of sound that a window of 16 mel columns hears before and after the moment it begins."""
MFCC_CONTEXT = mfcc_context(20)
"""Seconds of sound that a window of 20 MFCC columns hears before and after the moment it begins."""


def log_mel(wave: Tensor) -> Tensor:
    """The log mel spectrogram in [-4, 4] of `wave` (B, S): (B, 80, L), L = 1 + S // 200, column i centred at 12.5 i ms.

    That of Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In the Wild", 2020,
    arXiv:2008.10010: pre-emphasis, Hann windows of 50 ms, amplitude in 80 Slaney bands from 55 to 7600 Hz, -100 to 0
    dB below 20 dB stretched to [-4, 4]. The ends are padded by reflection, as the published weights learnt it, and
    not by the zeros of librosa since 0.10; the two differ in the first and last two columns.

    Raises:
        BadMedia: the sound is empty.
    """
    with _without_autocast(wave):
        signal = _pre_emphasised(_precise(wave))
        padded = signal[:, _reflected(signal.shape[1], MEL_FFT // 2, signal.device)]
        return _mel(padded.unfold(-1, MEL_FFT, MEL_HOP)).transpose(-1, -2)


def mel_windows(wave: Tensor, times: Tensor, steps: int = 16, hop: int = MEL_HOP) -> Tensor:
    """What is heard from each of `times` (T,) on, in seconds from the first sample of `wave` (B, S): (B, T, 80, steps).

    Column k is centred at `times[t]` + k hops, of 12.5 ms each unless `hop` has other samples. Where that is a multiple
    of 12.5 ms inside the sound, it equals the column of `log_mel`. Beyond the ends of the wave is silence. Sounds of more
    than 17 minutes want `times` in float64.

    Raises:
        BadMedia: the sound is empty.
    """
    with _without_autocast(wave):
        segments = _segments(_precise(wave), times, steps, hop, MEL_FFT, before=MEL_FFT // 2)
        return _mel(segments).transpose(-1, -2)


def mfcc(wave: Tensor) -> Tensor:
    """Mel-frequency cepstra of `wave` (B, S): (B, 13, L) at 100 columns a second; column i hears 25 ms from 10 i ms on.

    Those of SyncNet (Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016): the defaults of
    python_speech_features on samples of 16-bit size, hence the factor 32768 on our [-1, 1]. Row 0 is the log energy.

    Raises:
        BadMedia: the sound is empty.
    """
    with _without_autocast(wave):
        signal = _pre_emphasised(INT16 * _precise(wave))
        columns = 1 + max(0, math.ceil((signal.shape[1] - MFCC_LENGTH) / MFCC_HOP))
        padded = F.pad(signal, (0, (columns - 1) * MFCC_HOP + MFCC_LENGTH - signal.shape[1]))
        return _cepstra(padded.unfold(-1, MFCC_LENGTH, MFCC_HOP)).transpose(-1, -2)


def mfcc_windows(wave: Tensor, times: Tensor, steps: int = 20) -> Tensor:
    """What is heard from each of `times` (T,) on, in seconds from the first sample of `wave` (B, S): (B, T, 13, steps).

    Column k covers 25 ms from `times[t]` + k * 10 ms. Where that is a multiple of 10 ms inside the sound, it equals the
    column of `mfcc`. Beyond the ends of the wave is silence. Sounds of more than 17 minutes want `times` in float64.

    Raises:
        BadMedia: the sound is empty.
    """
    with _without_autocast(wave):
        segments = _segments(INT16 * _precise(wave), times, steps, MFCC_HOP, MFCC_LENGTH, before=0)
        return _cepstra(segments).transpose(-1, -2)


def mfcc12_windows(wave: Tensor, times: Tensor, columns: int = 35) -> Tensor:
    """The voice from each of `times` (T,) on, in seconds from the first sample of `wave` (B, S): (B, T, 12, columns).

    Column k covers 25 ms from `times[t]` + k * 10 ms; beyond the ends of the wave is silence, and of silence every
    cepstrum is 0. Those of Speech2Vid (Chung, Jamaludin, Zisserman, "You said that?", 2017, arXiv:1705.02966) and of
    LipGAN, after the MATLAB code that mimics HTK: Hamming windows, samples of 16-bit size, amplitude (not power) in 40
    triangles from 300 to 3700 Hz, cepstra 1 to 12. Sounds of more than 17 minutes want `times` in float64.

    Raises:
        BadMedia: the sound is empty.
    """
    with _without_autocast(wave):
        window, filters, cosines = _mfcc12_constants(wave.device)
        segments = _segments(INT16 * _precise(wave), times, columns, MFCC_HOP, MFCC_LENGTH, before=0)
        amplitude = torch.fft.rfft(segments * window, MFCC_FFT).abs()
        return (_log(amplitude @ filters) @ cosines).float().transpose(-1, -2)


def _without_autocast(wave: Tensor) -> torch.autocast:
    return torch.autocast(wave.device.type, enabled=False)


def _precise(wave: Tensor) -> Tensor:
    if not wave.shape[-1]:
        raise BadMedia("The sound is empty: it has no samples.")
    return wave.to(_precision(wave.device))


def _precision(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type in ("mps", "xpu") else torch.float64  # of those two, not all know float64


def _pre_emphasised(wave: Tensor) -> Tensor:
    """Each sample less 0.97 of the one before it; before the first is silence."""
    return wave - PRE_EMPHASIS * F.pad(wave, (1, -1))


def _reflected(samples: int, pad: int, device: torch.device) -> Tensor:
    """Indices of `samples` with `pad` more on both sides by reflection, also of a sound shorter than the pad."""
    period = max(1, 2 * (samples - 1))
    index = torch.arange(-pad, samples + pad, device=device).remainder(period)
    return torch.minimum(index, period - index).clamp(max=samples - 1)


def _segments(wave: Tensor, times: Tensor, steps: int, hop: int, length: int, before: int) -> Tensor:
    """The pre-emphasised samples (B, T, steps, length) that begin `before` samples ahead of `times[t]` + k hops."""
    margin = length + 1  # one more: the first sample of silence still feels the last sound through the pre-emphasis
    padded = _pre_emphasised(F.pad(wave, (margin, margin)))
    first = (times * SAMPLE_RATE).round().long().to(wave.device) - before
    starts = first[:, None] + hop * torch.arange(steps, device=wave.device)
    # A segment that lies wholly outside the sound may as well lie in the margin.
    starts = (starts + margin).clamp(0, padded.shape[1] - length)
    return padded.unfold(-1, length, 1)[:, starts]


def _mel(segments: Tensor) -> Tensor:
    """Segments (..., 800) to columns (..., 80) in [-4, 4]."""
    window, basis = _mel_constants(segments.device)
    amplitude = torch.fft.rfft(segments * window).abs() @ basis
    decibels = 20 * amplitude.clamp(min=1e-5).log10() - 20
    return (8 * (decibels + 100) / 100 - 4).clamp(-4, 4).float()


def _cepstra(segments: Tensor) -> Tensor:
    """Segments (..., 400) of 16-bit size to cepstra (..., 13)."""
    filters, cosines = _mfcc_constants(segments.device)
    power = torch.fft.rfft(segments, MFCC_FFT).abs().square() / MFCC_FFT
    energy = _log(power.sum(-1, keepdim=True))
    return torch.cat([energy, _log(power @ filters) @ cosines], -1).float()


def _log(value: Tensor) -> Tensor:
    return value.masked_fill(value == 0, FLOAT64_EPSILON).log()


def mel_basis(bands: int = MEL_BANDS, fft: int = MEL_FFT, lowest: float = MEL_LOWEST,
              highest: float = MEL_HIGHEST) -> Tensor:
    """Triangles of equal area on the mel scale of Slaney's Auditory Toolbox: (bands, fft // 2 + 1) float64.

    Linear below 1000 Hz (three bands to 200 Hz), logarithmic above (27 bands to a factor of 6.4).
    """
    step, knee, ratio = 200 / 3, 1000.0, math.log(6.4) / 27

    def to_mel(hertz: float) -> float:
        return hertz / step if hertz < knee else knee / step + math.log(hertz / knee) / ratio

    mels = torch.linspace(to_mel(lowest), to_mel(highest), bands + 2, dtype=torch.float64)
    edges = torch.where(mels < knee / step, mels * step, knee * torch.exp((mels - knee / step) * ratio))
    frequencies = torch.arange(fft // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / fft
    return _triangles(edges, frequencies) * (2 / (edges[2:] - edges[:-2]))[:, None]


def _mfcc_filters() -> Tensor:
    """26 triangles (26, 257) float64 between whole bins, even steps to 8000 Hz on the scale 2595 log10(1 + f / 700)."""
    mels = torch.linspace(0, 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700), MFCC_FILTERS + 2, dtype=torch.float64)
    edges = (MFCC_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE
    return _triangles(edges.floor(), torch.arange(MFCC_FFT // 2 + 1, dtype=torch.float64))


def _mfcc12_filters() -> Tensor:
    """40 triangles (40, 257) float64 of height 1, even steps from 300 to 3700 Hz on the scale of `_mfcc_filters`."""
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (MFCC12_LOWEST, MFCC12_HIGHEST))
    mels = torch.linspace(lowest, highest, MFCC12_FILTERS + 2, dtype=torch.float64)
    frequencies = torch.arange(MFCC_FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / MFCC_FFT
    return _triangles(700 * (10 ** (mels / 2595) - 1), frequencies)


def _triangles(edges: Tensor, positions: Tensor) -> Tensor:
    """Triangle i rises from edge i to edge i + 1 and falls to edge i + 2; sampled at `positions`."""
    widths = edges.diff()[:, None]
    rising = (positions - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - positions) / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0)


@torch.compiler.disable
@lru_cache(maxsize=8)
@torch.inference_mode(False)  # generation must not leave behind constants that training cannot use
def _mel_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """The Hann window (800,), and the bands (401, 80)."""
    window = torch.hann_window(MEL_FFT, dtype=torch.float64)
    return _placed(window, device), _placed(mel_basis().T, device)


@torch.compiler.disable
@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _mfcc_constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """The filters (257, 26), and the cosines (26, 12)."""
    return _placed(_mfcc_filters().T, device), _placed(_liftered_cosines(MFCC_FILTERS), device)


@torch.compiler.disable
@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _mfcc12_constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The symmetric Hamming window (400,), the filters (257, 40), and the cosines (40, 12)."""
    window = torch.hamming_window(MFCC_LENGTH, periodic=False, dtype=torch.float64)
    return tuple(_placed(constant, device)
                 for constant in (window, _mfcc12_filters().T, _liftered_cosines(MFCC12_FILTERS)))


def _liftered_cosines(filters: int) -> Tensor:
    """From log energies to cepstra 1 to 12, orthonormal, then liftered: (filters, 12) float64."""
    order = torch.arange(1, MFCC_COUNT, dtype=torch.float64)
    place = (torch.arange(filters, dtype=torch.float64) + 0.5) / filters
    cosines = math.sqrt(2 / filters) * torch.cos(math.pi * place[:, None] * order)
    return cosines * (1 + MFCC_LIFTER / 2 * torch.sin(math.pi * order / MFCC_LIFTER))


def _placed(constant: Tensor, device: torch.device) -> Tensor:
    return constant.contiguous().to(_precision(device)).to(device)
