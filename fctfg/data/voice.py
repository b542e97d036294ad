"""A voice-like sound whose formants and loudness are known, and the mouth that goes with it.

Harmonics of a gliding pitch are weighted by a cascade of formant resonances (Klatt, "Software for a cascade/parallel
formant synthesizer", 1980), which come and go in syllables. What is said means nothing; how it sounds says how the
mouth is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..interfaces import SAMPLE_RATE

CONTROL_RATE = 200  # values a second of pitch, loudness and formants
_PER_CONTROL = SAMPLE_RATE // CONTROL_RATE

# First and second formant in Hz of spoken vowels, after Peterson and Barney, 1952.
VOWELS = {"i": (300, 2250), "e": (420, 2050), "ae": (660, 1750), "a": (760, 1250), "o": (500, 900), "u": (330, 800)}
CONSONANTS = ("closed", "hummed", "hissed", "none")  # as in p, m, s and none


@dataclass
class Speech:
    """Sound and the mouth that made it; the tracks run at CONTROL_RATE."""

    wave: np.ndarray
    """(S,) float32 in [-1, 1] at 16 kHz"""
    loudness: np.ndarray
    """in [0, 1], of the voice"""
    opening: np.ndarray
    """in [0, 1]: 0 for closed lips"""
    spread: np.ndarray
    """in [-1, 1]: -1 for rounded lips as in `u`, 1 for drawn apart as in `i`"""

    def mouth(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Opening and spread at `seconds`."""
        grid = np.arange(len(self.opening)) / CONTROL_RATE
        return np.interp(seconds, grid, self.opening), np.interp(seconds, grid, self.spread)


def speak(rng: np.random.Generator, seconds: float, pitch: float = 120.0, tract: float = 1.0) -> Speech:
    """`seconds` of phrases and pauses at about `pitch` Hz; a `tract` below 1 is longer and sounds deeper."""
    num = int(np.ceil(seconds * CONTROL_RATE)) + 1
    tracks = _plan(rng, num, pitch)
    loudness, hiss = _smooth(tracks["loudness"], 0.05), _smooth(tracks["hiss"], 0.04)
    first, second = _smooth(tracks["first"], 0.07), _smooth(tracks["second"], 0.07)

    # Lips follow the first formant up and down and the second to the sides, as far as there is voice.
    said = np.sqrt(loudness)
    opening = np.clip((first - 240) / 500, 0, 1) ** 0.7 * said + 0.12 * hiss
    spread = np.clip((second - 1400) / 800, -1, 1) * said

    voice = _voice(_smooth(tracks["pitch"], 0.12), loudness, first * tract, second * tract, tract)
    wave = voice + _hiss(rng, hiss)
    wave = wave[:round(seconds * SAMPLE_RATE)]
    wave *= 0.7 / max(np.abs(wave).max(), 1e-6)
    return Speech(wave.astype(np.float32), loudness, np.clip(opening, 0, 1), spread)


def _plan(rng: np.random.Generator, num: int, pitch: float) -> dict[str, np.ndarray]:
    """Stepwise targets: phrases of syllables with pauses between them."""
    tracks = {name: np.full(num, value, float) for name, value in
              {"loudness": 0, "hiss": 0, "first": 500, "second": 1400, "pitch": pitch}.items()}

    def hold(start: float, duration: float, **targets: float) -> float:
        places = slice(int(start * CONTROL_RATE), int((start + duration) * CONTROL_RATE))
        for name, value in targets.items():
            tracks[name][places] = value
        return start + duration

    now = rng.uniform(0.05, 0.35)
    while now * CONTROL_RATE < num:
        melody = pitch * rng.uniform(1.0, 1.2)
        for _ in range(rng.integers(3, 10)):
            first, second = VOWELS[rng.choice(list(VOWELS))]
            consonant = rng.choice(CONSONANTS, p=(0.35, 0.2, 0.25, 0.2))
            length = rng.uniform(0.06, 0.11)
            if consonant == "closed":
                now = hold(now, length, first=220, second=second)
            elif consonant == "hummed":
                now = hold(now, length, loudness=0.35, first=220, second=1100, pitch=melody)
            elif consonant == "hissed":
                now = hold(now, length, hiss=rng.uniform(0.5, 1.0), second=1600)
            now = hold(now, rng.uniform(0.11, 0.26), loudness=rng.uniform(0.55, 1.0),
                       pitch=melody * rng.uniform(0.92, 1.12), first=first * rng.uniform(0.9, 1.1),
                       second=second * rng.uniform(0.93, 1.07))
            melody *= 0.97
        now += rng.uniform(0.2, 0.7)
    return tracks


def _smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """The track through a raised cosine of that width at half height, without lag."""
    reach = int(seconds * CONTROL_RATE)
    kernel = 1 + np.cos(np.pi * np.arange(-reach, reach + 1) / (reach + 1))
    return np.convolve(np.pad(track, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _voice(pitch, loudness, first, second, tract) -> np.ndarray:
    """The sum of harmonics of `pitch`, each as strong as a sawtooth's after the formants."""
    phase = np.cumsum(_to_samples(pitch)) * (2 * np.pi / SAMPLE_RATE)
    formants = ((first, 70), (second, 100), (2700 * tract, 160), (3600 * tract, 220))
    before, sine, twice_cosine = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    wave = np.zeros_like(phase)
    for harmonic in range(1, int(7400 / pitch.min()) + 1):
        frequency = harmonic * pitch
        strength = loudness / harmonic * (frequency < 7600)
        for centre, width in formants:
            strength = strength * centre**2 / np.hypot(centre**2 - frequency**2, width * frequency)
        wave += _to_samples(strength) * sine
        before, sine = sine, twice_cosine * sine - before  # sin((h + 1) x) = 2 cos(x) sin(h x) - sin((h - 1) x)
    return wave / 6


def _hiss(rng: np.random.Generator, strength: np.ndarray) -> np.ndarray:
    """Noise above 3 kHz."""
    envelope = _to_samples(strength)
    spectrum = np.fft.rfft(rng.standard_normal(len(envelope)))
    frequency = np.fft.rfftfreq(len(envelope), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum / (1 + (3000 / np.maximum(frequency, 1)) ** 6), len(envelope)) * envelope * 0.12


def _to_samples(track: np.ndarray) -> np.ndarray:
    """The track at the sample rate, in straight lines."""
    share = np.arange(_PER_CONTROL) / _PER_CONTROL
    return (track[:-1, None] * (1 - share) + track[1:, None] * share).ravel()
