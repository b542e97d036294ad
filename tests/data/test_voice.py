"""The drawn people's voice: its pitch, formants and silences are where they are said to be."""

import numpy as np
import pytest

from fctfg.data import voice
from fctfg.data.voice import CONTROL_RATE, speak


def spectrum(wave):
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))), np.fft.rfftfreq(len(wave), 1 / 16000)


def sung(pitch, first, second, seconds=1.0):
    steady = np.ones(int(seconds * CONTROL_RATE) + 1)
    return voice._voice(steady * pitch, steady, steady * first, steady * second, 1.0)


@pytest.mark.parametrize("pitch", [95.0, 210.0])
def test_a_voice_has_its_pitch(pitch):
    wave = sung(pitch, 500, 1500)
    strength, frequency = spectrum(wave)
    harmonics = [frequency[i] for i in range(2, len(strength) - 2)
                 if strength[i] == strength[i - 2:i + 3].max() and strength[i] > 1e-3 * strength.max()]
    assert len(harmonics) > 10
    np.testing.assert_allclose(np.array(harmonics) / pitch, np.round(np.array(harmonics) / pitch), atol=0.02)


@pytest.mark.parametrize("first, second", [(300, 2250), (760, 1250), (330, 800)])
def test_vowels_have_their_formants(first, second):
    """Harmonics, freed from the sawtooth's fall, follow the product of the resonances."""
    pitch = 50.0
    strength, frequency = spectrum(sung(pitch, first, second))
    at = np.arange(2, 60) * pitch
    level = strength[np.searchsorted(frequency, at - 0.01)] * at
    expected = np.ones_like(at)
    for centre, width in ((first, 70), (second, 100), (2700, 160), (3600, 220)):
        expected *= centre**2 / np.abs(centre**2 - at**2 + 1j * width * at)
    np.testing.assert_allclose(level / level[0], expected / expected[0], rtol=0.03)


def test_nothing_sounds_above_the_band():
    strength, frequency = spectrum(sung(187.3, 500, 1500))
    assert strength[frequency > 7700].max() < 1e-4 * strength.max()


def test_the_mouth_is_shut_where_nothing_sounds_and_follows_what_does():
    speech = speak(np.random.default_rng(0), 20.0)
    frames = np.arange(500)
    loudness = np.sqrt((speech.wave.reshape(500, 640) ** 2).mean(1))
    opening, spread = speech.mouth((frames + 0.5) / 25)
    silent = loudness < 1e-4
    assert 0.1 < silent.mean() < 0.5
    assert opening[silent].max() < 0.05 and np.abs(spread[silent]).max() < 0.1
    assert np.corrcoef(loudness, opening)[0, 1] > 0.7
    assert opening.max() > 0.8 and spread.min() < -0.5 and spread.max() > 0.5


def test_the_spectrum_says_how_the_lips_are():
    """Spread lips put more of the voice between 1.7 and 2.6 kHz than rounded ones."""
    speech = speak(np.random.default_rng(1), 20.0)
    _, spread = speech.mouth((np.arange(500) + 0.5) / 25)
    bands = np.abs(np.fft.rfft(speech.wave.reshape(500, 640) * np.hanning(640))) ** 2
    frequency = np.fft.rfftfreq(640, 1 / 16000)
    share = bands[:, (frequency > 1700) & (frequency < 2600)].sum(1) / (bands.sum(1) + 1e-9)
    assert np.median(share[spread > 0.5]) > 3 * np.median(share[spread < -0.3])


def test_speech_is_as_long_as_asked_and_within_range():
    for seconds in (0.5, 1.2345, 4.0):
        speech = speak(np.random.default_rng(2), seconds)
        assert speech.wave.shape == (round(seconds * 16000),) and speech.wave.dtype == np.float32
        assert np.abs(speech.wave).max() == pytest.approx(0.7, abs=1e-3)
