"""The voice is kept, what recurs behind it is not."""

from __future__ import annotations

import numpy as np
import pytest

from fctfg.prepare import vocals

RATE = 16_000


def music(seconds: float) -> np.ndarray:
    """A chord on every half second."""
    t = np.arange(round(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * pitch * t) for pitch in (220, 277, 330, 440))
    return (0.04 * chord * (t % 0.5 < 0.25)).astype(np.float32)


def voice(seconds: float) -> np.ndarray:
    """A buzz whose pitch and brightness never come back, with pauses of half a second every two."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(100 + 15 * t + 30 * np.sin(3 * t)) / RATE
    buzz = sum(np.sin(k * phase) * (1 + np.sin(0.37 * k * t)) / k for k in range(1, 12))
    return (0.1 * buzz * (t % 2 < 1.5)).astype(np.float32)


def level(wave: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(wave), dtype=np.float64) + 1e-12)


def test_music_goes_and_the_voice_stays():
    mixed = music(8) + voice(8)
    kept = vocals.separate_voice(mixed)
    pauses = np.arange(len(mixed)) / RATE % 2 > 1.6
    assert level(kept[pauses]) < level(mixed[pauses]) - 15
    assert level(kept[~pauses]) > level(voice(8)[~pauses]) - 6


@pytest.mark.parametrize("seconds", [7.9, 8.0, 12.0, 14.1, 30.3])
def test_blocks_fade_into_each_other_without_a_seam(monkeypatch, seconds):
    monkeypatch.setattr(vocals, "BLOCK", 8.0)
    lengths = []

    def keep_all(wave):
        lengths.append(len(wave) / RATE)
        return wave.copy()

    monkeypatch.setattr(vocals, "_foreground", keep_all)
    wave = voice(seconds)
    assert np.allclose(vocals.separate_voice(wave), wave, atol=1e-6)
    assert max(lengths) <= 12 and (len(lengths) == 1 or min(lengths) >= 4)


@pytest.mark.parametrize("samples", [0, 1, 3_000, 4_000, 9_999, 50_000])
def test_any_length_comes_back_as_long(samples):
    wave = voice(4)[:samples]
    assert vocals.separate_voice(wave).shape == (samples,)
    assert np.isfinite(vocals.separate_voice(wave)).all()


def test_silence_stays_silent():
    assert not vocals.separate_voice(np.zeros(5 * RATE, np.float32)).any()
