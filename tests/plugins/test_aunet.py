"""AUnet: its layer table and its spectrogram against what is published; the loss, and the critic of face and sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fctfg import registry
from fctfg.action_units import NAMES
from fctfg.data.noise import random_clip
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Clip, Output
from fctfg_plugins.aunet.contrast import AVNetwork, contrast, distances
from fctfg_plugins.aunet.listen import correlation
from fctfg_plugins.aunet.spectrogram import LENGTH, RATE, spectrograms

SMALL = {"scale": 1 / 16}


def tones(rate: int, seconds: float = 1.0) -> np.ndarray:
    """Twelve of them, all below 6 kHz, sampled at `rate`."""
    draw = np.random.Generator(np.random.PCG64(0))
    t = np.arange(round(seconds * rate)) / rate
    return sum(draw.uniform(0.02, 0.2) * np.sin(2 * np.pi * draw.uniform(100, 6000) * t + draw.uniform(0, 6))
               for _ in range(12))


def slow_spectrogram(window: np.ndarray) -> np.ndarray:
    """(128, 32) of 3968 samples at 44.1 kHz, column by column, as the public code has librosa do it."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    mirrored = np.concatenate([window[128:0:-1], window, window[-2:-130:-1]])
    rows = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(256)) / 256)
    magnitude = np.stack([np.abs(rows @ (hann * mirrored[i:i + 256])) for i in range(0, 3969, 128)], 1)
    decibels = 20 * np.log10(np.maximum(magnitude, 1e-5) / magnitude.max())
    return np.abs(np.maximum(decibels, -80) / 80)[:128]


class TestSpectrogram:
    def test_is_that_of_the_public_code(self):
        """Where there is something to hear: what 16 kHz keeps, and louder than the images of the interpolation."""
        end = round(0.54 * RATE)
        theirs = slow_spectrogram(tones(RATE)[end - LENGTH:end])
        ours = spectrograms(torch.from_numpy(tones(16000))[None], torch.tensor([0.5]), 50.0)[0, 0].numpy()
        assert theirs.shape == ours.shape == (128, 32)
        heard = theirs < 45 / 80
        assert heard[:36].mean() > 0.8
        assert np.abs(theirs - ours)[heard].max() < 0.5 / 80

    def test_ends_with_the_frame(self):
        wave = torch.zeros(1, 16000)
        wave[:, 8000 + 640 + 32:] = 0.5 * torch.sin(torch.arange(16000 - 8672))  # from 2 ms behind the frame on
        assert (spectrograms(wave, torch.tensor([0.5]), 50.0) == 1).all()
        wave[:, 8000 + 640 - 32:] = 0.5 * torch.sin(torch.arange(16000 - 8608))
        late = spectrograms(wave, torch.tensor([0.5]), 50.0)[0, 0]
        assert (late[:, :30] == 1).all() and late[:, 31].min() == 0

    def test_silence_is_as_faint_as_can_be_and_noise_does_not_fill_the_range(self):
        wave = torch.zeros(2, 16000)
        wave[1] = 1e-5 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
        silence, hiss = spectrograms(wave, torch.tensor([0.5]), 50.0)[:, 0]
        assert (silence == 1).all() and hiss.min() > 0.6
        assert spectrograms(wave, torch.tensor([0.5]), 200.0)[1, 0].min() == 0

    def test_frames_of_any_rate_hear_their_own_moment(self):
        """No rounding to whole samples adds up: a click lies in the same column of its frame after a minute."""
        rate, wave = 30000 / 1001, torch.zeros(1, 16000 * 61)
        for frame in (3, 1797):
            wave[:, round(16000 * frame / rate)] = 1
        shown = spectrograms(wave, torch.tensor([3, 1797], dtype=torch.float64) / rate, 80.0)[0]
        loudest = shown.mean(1).argmin(-1)
        assert loudest[0] == loudest[1] == round((LENGTH - 0.04 * RATE) / 128)

    def test_loudness_is_heard_where_it_is_wanted(self):
        wave = torch.stack([s * torch.sin(torch.arange(16000) * 0.3) for s in (1.0, 0.1)])
        loud, soft = spectrograms(wave, torch.tensor([0.5]), 0.0)[:, 0].amin((1, 2))
        assert float(soft - loud) == pytest.approx(20 / 80, abs=1e-3)
        assert float(loud) == pytest.approx(0, abs=2 / 80)  # a tone between two rows is heard a little fainter


class TestNetworks:
    def test_layers_are_those_of_the_table(self):
        with torch.device("meta"):
            encoder, critic = registry.build("audio_encoder", "aunet"), AVNetwork()
        counts = [sum(p.numel() for p in network.parameters())
                  for network in (encoder, critic.audio_network, critic.video_network)]
        assert counts == [11_296_337, 68_948_800, 6_291_968]
        shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
        table = {1: (32, 1, 5, 1), 2: (64, 32, 3, 1), 3: (128, 64, 3, 1), 4: (256, 128, 3, 1), 5: (512, 256, 3, 1),
                 6: (512, 512, 1, 3), 7: (512, 512, 1, 3), 8: (512, 512, 1, 3)}
        norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        assert all(shapes[f"conv{i}.weight"] == shape for i, shape in table.items())
        assert set(shapes) == {f"conv{i}.{kind}" for i in table for kind in ("weight", "bias")} | {
            f"conv{i}_bn.{kind}" for i in table for kind in norm} | {
            f"fc{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
        assert shapes["fc1.weight"] == (1024, 8192) and shapes["fc2.weight"] == (17, 1024)

    def test_hears_the_same_of_one_frame_as_of_many(self):
        torch.manual_seed(0)
        encoder = registry.build("audio_encoder", "aunet", **SMALL).eval()
        clip = random_clip(8)
        with torch.no_grad():
            many, one = encoder(clip.wave, clip.times), encoder(clip.wave[:1], clip.times[2:3])
        torch.testing.assert_close(many[:1, 2:3], one)
        assert many.shape == (2, 5, 17) and 0 <= many.min() and many.max() <= 1


def clip_with(action_units: Tensor, known: Tensor) -> Clip:
    clip = random_clip(8, frames=action_units.shape[1], clips=len(action_units))
    clip.action_units, clip.action_units_known = action_units, known
    return clip


class TestActionUnitsLoss:
    def test_guessing_the_mean_scores_one(self):
        draw = torch.Generator().manual_seed(0)
        true = (0.5 + 0.1 * torch.randn(8, 50, 17, generator=draw) * torch.linspace(1, 2, 17)).clamp(0, 1)
        known = torch.rand(8, 50, 17, generator=draw) < 0.7
        clip = clip_with(true, known)
        loss = registry.build("loss", "action-units")
        for part in range(4):  # in four steps
            some = slice(2 * part, 2 * part + 2)
            loss(Output(clip.frames, speech=true[some]), clip_with(true[some], known[some]))
        expected = torch.stack([true[..., k][known[..., k]].std(correction=0) for k in range(17)])
        torch.testing.assert_close(loss.deviation, expected, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            guess = Output(clip.frames, speech=loss.mean.expand(8, 50, 17))
            assert float(loss(guess, clip)) == pytest.approx(1, rel=1e-3)
            assert float(loss(Output(clip.frames, speech=true), clip)) == 0

    def test_an_error_that_a_clip_shares_counts_for_less(self):
        """Beside a slow count: the variance of the error around its mean over the clip, and a share of that mean's square."""
        draw = torch.Generator().manual_seed(0)
        true, heard = torch.rand(2, 3, 6, 17, generator=draw)
        known = torch.rand(3, 6, 17, generator=draw) < 0.6
        clip, loss = clip_with(true, known), registry.build("loss", "action-units", rest=0.2)
        loss(Output(clip.frames, speech=heard), clip)  # the deviations
        total = 0.0
        for b in range(3):
            for unit in range(17):
                error = ((heard - true)[b, known[b, :, unit], unit] / loss.deviation[unit]).tolist()
                mean = sum(error) / max(1, len(error))
                total += sum((one - mean) ** 2 + 0.2 * mean**2 for one in error)
        with torch.no_grad():
            assert float(loss(Output(clip.frames, speech=heard), clip)) == pytest.approx(total / int(known.sum()), rel=1e-4)

    def test_what_is_not_known_plays_no_part(self):
        loss = registry.build("loss", "action-units")
        known = torch.zeros(2, 5, 17, dtype=torch.bool)
        clip = clip_with(torch.full((2, 5, 17), math.nan), known)
        speech = torch.rand(2, 5, 17, requires_grad=True)
        value = loss(Output(clip.frames, speech=speech), clip)
        value.backward()
        assert float(value.detach()) == 0 and (speech.grad == 0).all() and not loss.count.any()
        assert "--action-units" in loss.advice() and loss.advice() is None
        known[..., 14] = True
        clip.action_units[..., 14] = 1.0
        loss(Output(clip.frames, speech=speech), clip)
        assert loss.count.tolist() == [10.0 * (name == "AU25") for name in NAMES]

    def test_says_what_is_wrong_with_the_data(self):
        loss = registry.build("loss", "action-units")
        known = torch.ones(1, 200, 17, dtype=torch.bool)
        true = 4 * torch.rand(1, 200, 17, generator=torch.Generator().manual_seed(0))
        true[..., 3] = 0.5
        clip = clip_with(true, known)
        loss(Output(clip.frames, speech=true.requires_grad_()), clip)
        assert "divided by 5" in loss.advice()
        assert loss.advice().startswith("AU05 hardly vary") and loss.advice() is None

    def test_says_what_it_lacks(self):
        loss, clip = registry.build("loss", "action-units"), random_clip(8)
        with pytest.raises(BadRecipe, match="listen"):
            loss(Output(clip.frames, speech=torch.zeros(2, 5, 512)), clip)
        clip.action_units = None
        with pytest.raises(BadData, match="--action-units"):
            loss(Output(clip.frames, speech=torch.zeros(2, 5, 17)), clip)

    def test_correlation_is_numpys(self):
        draw = torch.Generator().manual_seed(0)
        true, known = torch.rand(60, 17, generator=draw), torch.rand(60, 17, generator=draw) < 0.8
        heard = true + torch.rand(60, 17, generator=draw)
        true[:, 5] = 0.3
        varying, found = correlation(heard, true, known)
        for k in range(17):
            if k == 5:
                assert not varying[k]
                continue
            expected = np.corrcoef(heard[known[:, k], k], true[known[:, k], k])[0, 1]
            assert float(found[k]) == pytest.approx(expected, abs=1e-5)


class TestContrast:
    def test_pulls_together_and_keeps_apart(self):
        one = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        other = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.5]]))
        found = distances(one, other)
        angle = math.atan2(1, 1) - math.atan2(0.5, 1)
        np.testing.assert_allclose(found, [1e-6, 2 * math.sin(angle / 2)], rtol=1e-4)
        far = float(found[1])
        assert float(contrast(found, False)) == pytest.approx(far**2 / 4, rel=1e-4)
        assert float(contrast(found, True)) == pytest.approx((1 + (1 - far) ** 2) / 4, rel=1e-4)
        assert float(contrast(found, True, torch.tensor([0.0, 1.0]))) == pytest.approx((1 - far) ** 2 / 2, rel=1e-4)

    def test_frames_that_do_not_say_their_sound_are_not_judged(self):
        torch.manual_seed(0)
        loss, clip = registry.build("loss", "av-contrast", **SMALL), random_clip(32, frames=3)
        frames = random_clip(32, frames=3, seed=1).frames.requires_grad_()
        loss(Output(frames, extra={"says_sound": torch.tensor([[1.0, 0, 0], [0, 0, 0]])}), clip).backward()
        moved = frames.grad.abs().sum((2, 3, 4)) > 0
        assert moved.tolist() == [[True, False, False], [False, False, False]]

    def test_learns_which_sound_is_of_which_face(self):
        torch.manual_seed(0)
        loss, clip = registry.build("loss", "av-contrast", lr=1e-3, **SMALL), random_clip(32, frames=3)
        output = Output(random_clip(32, frames=3, seed=1).frames)
        first = loss.measure(output, clip)
        for _ in range(8):
            loss.train_critic(output, clip)
        with torch.no_grad():
            real, other, drawn = loss.network.train() and loss._distances(output, clip)
        assert real.mean() < other.mean() and real.mean() < drawn.mean()
        assert set(first) == {"real", "other", "drawn"}
