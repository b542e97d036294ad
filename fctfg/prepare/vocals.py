"""The voice apart from music and noise behind it."""

from __future__ import annotations

import numpy as np

from ..interfaces import SAMPLE_RATE

WINDOW, HOP = 1536, 384  # 96 and 24 ms
BLOCK = 60.0  # seconds; every frame is compared with every other, so the cost grows with its square
OVERLAP = 2.0  # seconds over which one block fades into the next


def separate_voice(wave: np.ndarray) -> np.ndarray:
    """The foreground of `wave` (S,) at 16 kHz, as long as it was.

    Rafii and Pardo, "Music/Voice Separation Using the Similarity Matrix", 2012, as librosa does it: what recurs at
    other moments (each spectrum's nearest neighbours by cosine, their median) is background, and a soft mask keeps what
    rises above ten times that. Differs: in blocks of a minute, so that an hour needs no more memory than that.
    """
    block, overlap = round(BLOCK * SAMPLE_RATE), round(OVERLAP * SAMPLE_RATE)
    voice = np.zeros(len(wave), np.float32)
    start = 0
    while True:
        stop = start + block
        if len(wave) - stop < block // 2:
            stop = len(wave)  # a short rest would have too little to be compared with
        part = _foreground(wave[start:stop])
        if start:
            part[:overlap] *= np.linspace(0, 1, overlap, dtype=np.float32)
        if stop < len(wave):
            part[-overlap:] *= np.linspace(1, 0, overlap, dtype=np.float32)
        voice[start:stop] += part
        if stop == len(wave):
            return voice
        start = stop - overlap


def _foreground(wave: np.ndarray) -> np.ndarray:
    import librosa

    if len(wave) < 2 * WINDOW or not wave.any():
        return wave.copy()  # nothing to compare with
    spectrum = librosa.stft(wave, n_fft=WINDOW, hop_length=HOP)
    loudness = np.abs(spectrum)
    width = min(round(2.0 * SAMPLE_RATE / HOP), (loudness.shape[1] - 1) // 2 - 1)  # neighbours are at least 2 s away
    background = librosa.decompose.nn_filter(loudness, aggregate=np.median, metric="cosine", width=width)
    background = np.minimum(loudness, background)
    mask = librosa.util.softmask(loudness - background, 10 * background, power=2)
    return librosa.istft(mask * spectrum, n_fft=WINDOW, hop_length=HOP, length=len(wave))
