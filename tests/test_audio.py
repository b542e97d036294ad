"""The sound front end against the goldens, librosa, and loops that take one sample, column and band at a time."""

from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from fctfg import audio
from fctfg.errors import BadMedia

GOLDEN = Path(__file__).parent / "golden"
FEATURES = [audio.log_mel, audio.mfcc, lambda wave: audio.mel_windows(wave, torch.tensor([0.1])),
            lambda wave: audio.mfcc_windows(wave, torch.tensor([0.1])),
            lambda wave: audio.mfcc12_windows(wave, torch.tensor([0.1]))]


@pytest.fixture(scope="module")
def mel_golden():
    return np.load(GOLDEN / "audio_wav2lip_mel" / "in.npz"), np.load(GOLDEN / "audio_wav2lip_mel" / "out.npz")


@pytest.fixture(scope="module")
def mfcc_golden():
    return np.load(GOLDEN / "audio_syncnet_mfcc" / "in.npz"), np.load(GOLDEN / "audio_syncnet_mfcc" / "out.npz")


def noise(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed)).mul(0.1).clamp(-1, 1)


def from_int16(wave: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(wave.astype(np.float32))[None] / 32768


@pytest.mark.parametrize("name", ["chirp", "odd", "silence"])
def test_log_mel_equals_the_golden(mel_golden, name):
    waves, features = mel_golden
    mel = audio.log_mel(torch.from_numpy(waves[name])[None])
    assert mel.shape == (1, 80, 1 + len(waves[name]) // 200)
    np.testing.assert_allclose(mel[0], features[f"mel_{name}_reflect"], rtol=0, atol=1e-5)


def test_log_mel_pads_by_reflection_and_not_with_zeros(mel_golden):
    waves, features = mel_golden
    mel = audio.log_mel(torch.from_numpy(waves["odd"])[None])[0].numpy()
    off = np.abs(mel - features["mel_odd_constant"]).max(0)
    assert off[:2].min() > 0.1 and off[2:-2].max() < 1e-4


def test_mel_basis_is_that_of_slaney(mel_golden):
    np.testing.assert_allclose(audio.mel_basis(), mel_golden[1]["mel_basis"], rtol=0, atol=1e-8)
    for bands, fft, lowest, highest in [(80, 800, 55, 7600), (40, 512, 0, 8000), (128, 2048, 1500, 4000)]:
        theirs = librosa.filters.mel(sr=16000, n_fft=fft, n_mels=bands, fmin=lowest, fmax=highest)
        np.testing.assert_allclose(audio.mel_basis(bands, fft, lowest, highest), theirs, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 150, 400, 401, 799])
def test_sound_shorter_than_a_window_is_reflected_as_often_as_needed(samples):
    wave = noise(1, samples)
    signal = emphasise(wave[0].double().numpy())
    signal = np.pad(signal, 400, mode="reflect") if samples > 1 else signal.repeat(801)
    expected = np.stack([slow_mel_column(signal[200 * i:200 * i + 800]) for i in range(1 + samples // 200)], 1)
    np.testing.assert_allclose(audio.log_mel(wave)[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["chirp", "odd", "silence", "zeros"])
def test_mfcc_equals_the_golden(mfcc_golden, name):
    waves, features = mfcc_golden
    wave = np.zeros(8000, np.int16) if name == "zeros" else waves[name]
    cepstra = audio.mfcc(from_int16(wave))[0].T
    assert cepstra.shape == features[f"mfcc_{name}"].shape
    np.testing.assert_allclose(cepstra, features[f"mfcc_{name}"], rtol=0, atol=1e-5)


def test_mfcc_filters_equal_the_golden(mfcc_golden):
    np.testing.assert_allclose(audio._mfcc_filters(), mfcc_golden[1]["fbank_points"], rtol=0, atol=1e-6)


def test_mfcc_windows_equal_the_inputs_of_syncnet(mfcc_golden):
    waves, features = mfcc_golden
    windows = audio.mfcc_windows(from_int16(waves["chirp"]), torch.arange(45) / 25)
    np.testing.assert_allclose(windows[0], features["windows_chirp"][:, 0], rtol=0, atol=1e-5)


def test_mel_windows_at_whole_hops_are_columns_of_log_mel():
    wave = noise(2, 16000)
    mel = audio.log_mel(wave)
    at = torch.arange(2, 60)
    windows = audio.mel_windows(wave, at * 200 / 16000)
    expected = torch.stack([mel[:, :, i:i + 16] for i in at], 1)
    torch.testing.assert_close(windows, expected, rtol=0, atol=1e-5)


def test_mfcc_windows_at_whole_hops_are_columns_of_mfcc():
    wave = noise(2, 16000)
    cepstra = audio.mfcc(wave)
    at = torch.arange(1, 78)  # the first sample of the sound has no true predecessor, so column 0 differs only there
    windows = audio.mfcc_windows(wave, at * 160 / 16000)
    torch.testing.assert_close(windows, torch.stack([cepstra[:, :, i:i + 20] for i in at], 1), rtol=0, atol=1e-4)


ODD_TIMES = [-0.3, -0.0131, 0.0, 0.00317, 1 / 29.97, 0.1, 0.4321, 0.49, 0.4999, 0.5, 0.6]


@pytest.mark.parametrize("hop", [200, 160])
def test_mel_windows_equal_a_slow_loop_at_any_time(hop):
    wave = noise(2, 8000)
    windows = audio.mel_windows(wave, torch.tensor(ODD_TIMES), steps=5, hop=hop)
    assert windows.shape == (2, len(ODD_TIMES), 80, 5)
    for b in range(2):
        for t, time in enumerate(ODD_TIMES):
            for k in range(5):
                segment = slow_segment(wave[b].double().numpy(), round(time * 16000) + hop * k - 400, 800)
                np.testing.assert_allclose(windows[b, t, :, k], slow_mel_column(segment), rtol=0, atol=1e-4)


def test_mfcc_windows_equal_a_slow_loop_at_any_time():
    wave = noise(1, 8000)
    windows = audio.mfcc_windows(wave, torch.tensor(ODD_TIMES), steps=4)
    assert windows.shape == (1, len(ODD_TIMES), 13, 4)
    for t, time in enumerate(ODD_TIMES):
        for k in range(4):
            segment = slow_segment(32768 * wave[0].double().numpy(), round(time * 16000) + 160 * k, 400)
            np.testing.assert_allclose(windows[0, t, :, k], slow_cepstra(segment), rtol=0, atol=2e-4)


def test_mfcc12_windows_equal_a_slow_loop_at_any_time():
    wave = noise(2, 8000)
    windows = audio.mfcc12_windows(wave, torch.tensor(ODD_TIMES), columns=4)
    assert windows.shape == (2, len(ODD_TIMES), 12, 4)
    for b in range(2):
        for t, time in enumerate(ODD_TIMES):
            for k in range(4):
                segment = slow_segment(32768 * wave[b].double().numpy(), round(time * 16000) + 160 * k, 400)
                np.testing.assert_allclose(windows[b, t, :, k], slow_cepstra12(segment), rtol=0, atol=2e-4)


@pytest.mark.parametrize("windows, nothing", [(audio.mel_windows, -4.0), (audio.mfcc_windows, None),
                                              (audio.mfcc12_windows, 0.0)])
def test_beyond_the_ends_is_silence(windows, nothing):
    wave, times = noise(1, 4000), torch.tensor([0.0, 0.1, 0.2])
    longer = torch.cat([torch.zeros(1, 1600), wave, torch.zeros(1, 9000)], 1)
    torch.testing.assert_close(windows(wave, times), windows(longer, times + 0.1), rtol=0, atol=1e-5)
    far = windows(wave, torch.tensor([-9.0, 9.0]))
    expected = windows(torch.zeros(1, 16000), torch.tensor([0.2, 0.3]))
    assert torch.equal(far, expected) and (nothing is None or (far - nothing).abs().max() < 1e-9)


def test_windows_follow_the_sound_to_the_sample():
    wave = noise(1, 12000)
    moved = torch.cat([torch.zeros(1, 37), wave], 1)
    times = torch.tensor([0.1, 0.2])
    later = audio.mel_windows(moved, times + 37 / 16000)
    torch.testing.assert_close(audio.mel_windows(wave, times), later, rtol=0, atol=1e-5)


@pytest.mark.parametrize("feature", FEATURES)
def test_autocast_and_half_precision_around_it_change_nothing(feature):
    wave = noise(2, 8000)
    expected = feature(wave)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heard = feature(wave)
    assert heard.dtype == torch.float32 and torch.equal(heard, expected)
    assert feature(wave.bfloat16()).dtype == torch.float32
    alone = torch.cat([feature(wave[:1]), feature(wave[1:])])
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-4)


def test_it_can_stand_inside_a_compiled_module():
    wave, times = noise(1, 1600), torch.tensor([0.0])
    compiled = torch.compile(lambda wave, times: audio.mel_windows(wave, times) + audio.mfcc_windows(wave, times).sum(),
                             backend="eager")
    expected = audio.mel_windows(wave, times) + audio.mfcc_windows(wave, times).sum()
    torch.testing.assert_close(compiled(wave, times), expected)


def test_constants_first_made_under_inference_mode_serve_training():
    audio._mel_constants.__wrapped__.cache_clear()
    with torch.inference_mode():
        audio.log_mel(noise(1, 1600))
    wave = noise(1, 1600).requires_grad_()
    audio.log_mel(wave).sum().backward()
    assert wave.grad.isfinite().all() and wave.grad.abs().sum() > 0


@pytest.mark.parametrize("feature", FEATURES)
def test_an_empty_sound_is_refused(feature):
    with pytest.raises(BadMedia, match="empty"):
        feature(torch.zeros(1, 0))


@pytest.mark.parametrize("windows, context, steps", [(audio.mel_windows, audio.MEL_CONTEXT, 16),
                                                     (audio.mel_windows, audio.mel_context(27), 27),
                                                     (audio.mfcc_windows, audio.MFCC_CONTEXT, 20),
                                                     (audio.mfcc12_windows, audio.mfcc_context(35), 35)])
def test_a_window_hears_its_context_and_nothing_else(windows, context, steps):
    first, last = 8000 - round(context[0] * 16000), 8000 + round(context[1] * 16000) - 1
    wave = noise(1, 16000)
    expected = windows(wave, torch.tensor([0.5]), steps)
    for sample, heard in [(first - 1, False), (last + 1, False), (first + 2, True), (last, True)]:
        changed = wave.clone()
        changed[0, sample] += 30  # so loud that even the edge of the Hann window lets it through
        assert torch.equal(windows(changed, torch.tensor([0.5]), steps), expected) != heard, sample


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["chirp", "odd", "silence"])
@pytest.mark.parametrize("tf32", [False, True])
def test_goldens_agree_on_the_gpu(mel_golden, mfcc_golden, name, tf32, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", tf32)
    mel = audio.log_mel(torch.from_numpy(mel_golden[0][name])[None].cuda()).cpu()
    np.testing.assert_allclose(mel[0], mel_golden[1][f"mel_{name}_reflect"], rtol=0, atol=1e-4)
    cepstra = audio.mfcc(from_int16(mfcc_golden[0][name]).cuda()).cpu()
    np.testing.assert_allclose(cepstra[0].T, mfcc_golden[1][f"mfcc_{name}"], rtol=0, atol=1e-4)
    wave = from_int16(mfcc_golden[0][name])
    windows = audio.mfcc12_windows(wave.cuda(), torch.tensor([0.1])).cpu()
    torch.testing.assert_close(windows, audio.mfcc12_windows(wave, torch.tensor([0.1])), rtol=0, atol=1e-4)


def emphasise(signal: np.ndarray) -> np.ndarray:
    return np.array([x - 0.97 * before for x, before in zip(signal, np.concatenate([[0], signal[:-1]]))])


def slow_segment(wave: np.ndarray, start: int, length: int) -> np.ndarray:
    def sample(n: int) -> float:
        return wave[n] if 0 <= n < len(wave) else 0.0

    return np.array([sample(n) - 0.97 * sample(n - 1) for n in range(start, start + length)])


SLANEY = librosa.filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600)


def slow_mel_column(segment: np.ndarray) -> np.ndarray:
    hann = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / 800) for n in range(800)])
    amplitude = np.abs(np.fft.rfft(segment * hann))
    decibels = [20 * math.log10(max(1e-5, band @ amplitude)) - 20 for band in SLANEY]
    return np.array([min(4.0, max(-4.0, 8 * (db + 100) / 100 - 4)) for db in decibels])


def slow_cepstra(segment: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(segment, 512)) ** 2 / 512
    tops = [700 * (10 ** (i * 2595 * math.log10(1 + 8000 / 700) / 27 / 2595) - 1) for i in range(28)]
    bins = [int(513 * hertz / 16000) for hertz in tops]
    logs = []
    for low, middle, high in zip(bins, bins[1:], bins[2:]):
        band = sum(power[i] * (i - low) / (middle - low) for i in range(low, middle))
        band += sum(power[i] * (high - i) / (high - middle) for i in range(middle, high))
        logs.append(math.log(band or 2.0**-52))
    cepstra = [math.sqrt(2 / 26) * sum(x * math.cos(math.pi * order * (n + 0.5) / 26) for n, x in enumerate(logs))
               * (1 + 11 * math.sin(math.pi * order / 22)) for order in range(1, 13)]
    return np.array([math.log(power.sum() or 2.0**-52), *cepstra])


def slow_cepstra12(segment: np.ndarray) -> np.ndarray:
    """As mfcc.m does it, a MATLAB twin of HTK: bands are weighed at the frequencies of the bins, not between bins."""
    windowed = [x * (0.54 - 0.46 * math.cos(2 * math.pi * n / 399)) for n, x in enumerate(segment)]
    amplitude = np.abs(np.fft.rfft(windowed, 512))
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (300, 3700))
    edges = [700 * (math.exp((low + i * (high - low) / 41) / 1127) - 1) for i in range(42)]
    logs = []
    for left, middle, right in zip(edges, edges[1:], edges[2:]):
        band = 0.0
        for i, value in enumerate(amplitude):
            hertz = i * 8000 / 256
            if left <= hertz <= middle:
                band += value * (hertz - left) / (middle - left)
            elif middle < hertz <= right:
                band += value * (right - hertz) / (right - middle)
        logs.append(math.log(band or 2.0**-52))
    return np.array([math.sqrt(2 / 40) * sum(x * math.cos(order * math.pi * (n + 0.5) / 40) for n, x in enumerate(logs))
                     * (1 + 11 * math.sin(math.pi * order / 22)) for order in range(1, 13)])
