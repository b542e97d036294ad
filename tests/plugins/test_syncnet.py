"""SyncNet against the goldens of the reference implementation, and what it does beside them."""

from __future__ import annotations

import json
import math
import re
import textwrap
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
import yaml
from goldens import GOLDEN, golden_inputs
from torch import nn
from torch.nn import functional as F

from fctfg import audio, registry
from fctfg.checkpoints import fill as fill_from
from fctfg.data import TalkingHead
from fctfg.errors import BadData, BadMedia, BadRecipe, BadWeights
from fctfg.faces import find_profile, recrop
from fctfg.faces.profiles import Measures
from fctfg.interfaces import Clip, Output
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.testing import random_clip
from fctfg.trainer import build_losses, lay_out_channels_last
from fctfg_plugins.syncnet import SyncNet, agreement, distances, lip_sync, median_filter, shown
from fctfg_plugins.syncnet import offset as offset_module

SMALL = {"scale": 1 / 32}


def check_golden(outputs: dict, name: str) -> None:
    """Fails beyond 1e-4 of the golden's standard deviation, or of its value where it is a number."""
    golden = np.load(GOLDEN / name / "out.npz")
    arrays = {key: np.asarray(value) for key, value in outputs.items()}
    assert set(arrays) == set(golden.files)
    for key, error, relative in fill.compare(arrays, GOLDEN / name / "out.npz"):
        assert (relative if math.isfinite(relative) else error / abs(golden[key])) < 1e-4, key


def small(seed: int = 0) -> SyncNet:
    torch.manual_seed(seed)
    return SyncNet(**SMALL)


class TestNetwork:
    def test_a_track_in_one_pass_equals_the_golden_windows(self):
        network = SyncNet().eval()
        state = {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / "syncnet_s")).items()}
        missing, unexpected = network.load_state_dict(state, strict=False)
        assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
        given = golden_inputs("syncnet_s")
        track = given["lip"].transpose(1, 2).flatten(0, 1)[None]  # both windows of five, one behind the other
        with torch.no_grad():
            sounds = network.listen(given["mfcc"][:, 0])
            features = network.features(track)
            mouths = network.netfclip(features[0, ::5])
        assert features.shape == (1, 6, 512)
        check_golden({"audio": sounds, "lip": mouths, "lipfeat": features[0, ::5]}, "syncnet_s")

    def test_its_keys_are_the_public_ones_and_no_other(self):
        with torch.device("meta"):
            network = SyncNet()
        listed = json.loads((GOLDEN / "syncnet_s" / "keys.json").read_text(encoding="utf-8"))
        assert {key: list(value.shape) for key, value in network.state_dict().items()} == \
            {key: shape for key, shape, _ in listed}
        assert sum(parameter.numel() for parameter in network.parameters()) == 13_631_616

    @pytest.mark.parametrize("training", [False, True])
    def test_a_track_in_one_pass_equals_its_windows_one_by_one(self, training):
        network = small().train(training)
        faces = torch.rand(2, 7, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 255
        with torch.no_grad():
            windows = torch.cat([faces[:, i:i + 5] for i in range(3)])  # the same in a batch, as norms compare it
            expected = network.watch(windows)[:, 0].unflatten(0, (3, 2)).transpose(0, 1)
            torch.testing.assert_close(network.watch(faces), expected, rtol=1e-4, atol=1e-4)

    def test_it_can_be_laid_out_for_tensor_cores(self):
        """Convolutions over time have five dimensions, which have no such layout."""
        network, faces = small().eval(), torch.rand(1, 5, 3, 224, 224) * 255
        with torch.no_grad():
            expected = network.watch(faces)
            lay_out_channels_last(network)
            assert network.netcnnaud[4].weight.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(network.watch(faces), expected)

    def test_faces_are_shown_in_bgr_from_0_to_255(self):
        frames = random_clip(224, 1).frames
        seen = shown(frames)
        torch.testing.assert_close(seen[:, :, 0], (frames[:, :, 2] + 1) * 127.5)
        assert shown(random_clip(40, 2).frames).shape == (2, 2, 3, 224, 224)

    def test_a_single_window_cannot_be_learnt_from(self):
        for run in (lambda: small().watch(torch.zeros(1, 5, 3, 224, 224)),
                    lambda: small().listen(torch.zeros(1, 13, 20))):
            with pytest.raises(BadRecipe, match="cannot learn from a single window.*batch: 2 or more"):
                run()


class TestAgreement:
    def test_it_equals_the_golden(self):
        given = golden_inputs("syncnet_eval")
        sounds = {"random": given["aud_random"], "planted": given["vid"].roll(4, 0) + given["noise"]}
        outputs = {}
        for name, sound in sounds.items():
            for reach in (10, 15):
                apart = distances(given["vid"], sound, reach)
                found = agreement(apart)
                outputs |= {f"{name}_v{reach}_{key}": value for key, value in {
                    "dists": apart, "mdist": found.by_offset, "offset": found.offset, "mindist": found.distance,
                    "conf": found.confidence, "fconf": found.by_window,
                    "fconf_medfilt9": median_filter(found.by_window)}.items()}
        check_golden(outputs, "syncnet_eval")

    @pytest.mark.parametrize("early", [-3, 0, 2])
    def test_sound_that_comes_early_is_above_zero(self, early):
        """Seen and heard by a network that tells brightness and loudness: a face that shines as it is loud."""

        class Loudness(nn.Module):
            def __init__(self):
                super().__init__()
                self.factor = nn.Parameter(torch.ones(1))

            def watch(self, faces):
                return faces.mean((2, 3, 4)).unfold(1, 5, 1).mean(-1, keepdim=True) * self.factor - 22

            def listen(self, cepstra):
                return cepstra[:, 0].mean(-1, keepdim=True) * self.factor - 22  # about 0, as beyond the ends

        loudness = np.random.default_rng(0).uniform(0.001, 1, 60)
        draw = torch.Generator().manual_seed(0)
        wave = torch.cat([0.5 * (2 * torch.rand(640, generator=draw) - 1) * volume for volume in loudness])
        energy = audio.mfcc(F.pad(wave, (0, 400))[None])[0, 0, :240].reshape(60, 4).mean(1) / 127.5 - 1
        frames = energy[:, None, None, None].expand(60, 3, 8, 8)
        found = lip_sync(Loudness(), frames, torch.roll(wave, -640 * early))
        assert found.offset == early and found.confidence > 0.5

    def test_a_track_in_parts_equals_one_by_one_with_columns_of_mfcc(self, monkeypatch):
        network = small().eval()
        frames = random_clip(224, 12).frames[0]
        wave = random_clip(8, 12).wave[0, :12 * 640 + 300]
        monkeypatch.setattr(offset_module, "AT_ONCE", 3)
        found = lip_sync(network, frames, wave, reach=4)
        cepstra = audio.mfcc(wave[None])[0]
        with torch.no_grad():
            mouths = [network.watch(shown(frames[None, v:v + 5]))[0, 0] for v in range(7)]
            sounds = [network.listen(cepstra[None, :, 4 * v:4 * v + 20])[0] for v in range(7)]
        expected = agreement(distances(torch.stack(mouths), torch.stack(sounds), 4))
        assert found.offset == expected.offset and found.by_window.shape == (7,)
        torch.testing.assert_close(found.by_offset, expected.by_offset, rtol=1e-4, atol=1e-5)

    def test_a_track_that_is_too_short_is_refused(self):
        with pytest.raises(BadMedia, match=r"from 6 frames on \(0.24 s\); there are 9 frames and 0.20 s of sound"):
            lip_sync(small(), torch.zeros(9, 3, 8, 8), torch.zeros(3200))


def test_the_crop_is_that_of_the_authors_about_the_box_of_a_face():
    """Their arithmetic: s is half the box's longer side; rows y - s to y + 1.8 s, columns x - 1.4 s to x + 1.4 s."""
    points = TalkingHead(seconds=0.08).landmarks[:1]
    level = 80 * Measures.of(points).turned(points) + (200, 150)  # the eyes are at 200, 150, and 80 apart
    jaw = level[0, :17, 0]
    height, width = 3.1 * 80, np.ptp(jaw)
    s, x, y = max(height, width) / 2, jaw.min() + width / 2, 150 - 1.2 * 80 + height / 2
    matrix = find_profile("syncnet").matrices(level)[0]
    np.testing.assert_allclose(matrix, [[2.8 * s, 0, x - 1.4 * s], [0, 2.8 * s, y - s]], rtol=1e-6)


class TestAudioEncoder:
    def test_the_frame_is_the_middle_one_of_those_it_hears(self):
        encoder = registry.build("audio_encoder", "syncnet", **SMALL).eval()
        late = registry.build("audio_encoder", "syncnet", offset=0.0, **SMALL).eval()
        late.load_state_dict(encoder.state_dict())
        clip = random_clip(8, 9)
        with torch.no_grad():
            speech = encoder(clip.wave, clip.times)
            expected = encoder.tower.listen(audio.mfcc_windows(clip.wave, clip.times[:5]).flatten(0, 1))
            torch.testing.assert_close(speech[:, 2:7].flatten(0, 1), expected)
            torch.testing.assert_close(late(clip.wave, clip.times)[:, :5].flatten(0, 1), expected)
        assert encoder.width == speech.shape[-1] == 32
        assert encoder.context == pytest.approx((late.context[0] + 0.08, late.context[1] - 0.08))


class TestSyncNetLoss:
    def build(self, **options):
        torch.manual_seed(0)
        return registry.build("loss", "syncnet", **SMALL, **options)

    @pytest.mark.parametrize("head", ["distance", "direction"])
    def test_it_is_minus_the_mean_log_probability_of_every_window(self, head):
        loss = self.build(head=head)
        clip, drawn = random_clip(56, 6), random_clip(56, 6, seed=1).frames
        got = loss(Output(drawn), clip)
        towers, terms = loss.network.towers, []
        with torch.no_grad():
            for b in range(2):
                for t in range(2):
                    mouth = towers.watch(shown(drawn[b:b + 1, t:t + 5]))[0, 0]
                    sound = towers.listen(audio.mfcc_windows(clip.wave[b:b + 1], clip.times[t:t + 1])[0])[0]
                    if head == "distance":
                        odds = 10.5 - (mouth - sound + 1e-6).norm()
                    else:
                        away = mouth - sound
                        odds = loss.network.head.net(away / away.norm())
                    terms.append(-torch.log(1 / (1 + torch.exp(-odds))).squeeze())
        torch.testing.assert_close(got, torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)

    def test_frames_of_another_crop_are_cut_anew(self):
        clip, drawn = random_clip(56), random_clip(56, seed=1).frames
        other, own = self.build(crop="face"), self.build()
        cut = recrop(drawn, clip.landmarks, "syncnet", 224)
        assert torch.equal(other(Output(drawn), clip), own(Output(cut), clip))
        assert not torch.equal(other(Output(drawn), clip), own(Output(drawn), clip))
        clip.landmarks = None
        with pytest.raises(BadData, match="crop 'face' anew, and the clips carry no landmarks"):
            other(Output(drawn), clip)

    def test_the_critic_learns_from_real_frames_with_their_own_and_a_wrong_sound(self):
        loss = self.build(lr=1e-3)
        clip = random_clip(56)
        drawn = Output(random_clip(56, seed=1).frames)
        first = loss.train_critic(drawn, clip)
        loss.network.train()
        torch.manual_seed(0)
        again = self.build().network.train()
        mouths, sounds = again.towers.watch(shown(clip.frames)).flatten(0, 1), again.towers.listen(audio.mfcc_windows(
            torch.cat([clip.wave, clip.other_wave]), clip.times[:1]).flatten(0, 1))
        right, wrong = 10.5 - F.pairwise_distance(mouths.repeat(2, 1), sounds).unflatten(0, (2, 2))
        expected = 0.5 * (F.binary_cross_entropy_with_logits(right, torch.ones(2)) +
                          F.binary_cross_entropy_with_logits(wrong, torch.zeros(2)))
        torch.testing.assert_close(first["critic"], expected.detach(), rtol=1e-4, atol=1e-5)
        losses = [loss.train_critic(drawn, clip)["critic"] for _ in range(12)]
        assert losses[-1] < 0.85 * losses[0]

    def test_it_learns_in_bf16(self):
        loss, clip = self.build(), random_clip(56)
        precise = self.build().train_critic(Output(clip.frames), clip)["critic"]
        with torch.autocast("cpu", torch.bfloat16):
            coarse = loss.train_critic(Output(clip.frames), clip)["critic"]
        assert coarse == pytest.approx(float(precise), rel=0.05)
        assert all(weight.isfinite().all() for weight in loss.network.parameters())

    def test_it_measures_itself_on_the_real_frames(self):
        loss = self.build()
        clip = random_clip(56)
        scalars = loss.measure(Output(torch.full_like(clip.frames, torch.nan)), clip)
        assert set(scalars) == {"accuracy", "right", "wrong", "ranking"}
        assert all(0 <= value <= 1 for value in scalars.values())

    def test_what_it_cannot_judge_is_refused_in_a_sentence(self):
        clip = random_clip(56, 4)
        with pytest.raises(BadRecipe, match="5 consecutive frames, and the clips have 4; give clip_frames: 5 or more"):
            self.build()(Output(clip.frames), clip)
        with pytest.raises(BadRecipe, match="head 'cosine' is unknown; give distance or direction"):
            self.build(head="cosine")
        alone = random_clip(56)
        alone = Clip(alone.source[:1], alone.frames[:1], alone.wave[:1], alone.times)
        with pytest.raises(BadRecipe, match="a single clip; give batch: 2 or more"):
            self.build().train_critic(Output(alone.frames), alone)

    def test_it_says_the_odds_of_every_mouth_with_the_sounds_around_it(self, monkeypatch):
        monkeypatch.setattr("fctfg_plugins.syncnet.loss.AT_ONCE", 2)
        loss, clip = self.build(crop="face"), random_clip(56, 7)
        odds = loss.log_odds(clip, 2)
        assert odds.shape == (2, 3, 5)
        with torch.no_grad():
            mouths = loss.watch(clip.frames, clip).unflatten(0, (2, 3))
        for window in range(3):
            for place, early in enumerate(range(-2, 3)):
                cepstra = audio.mfcc_windows(clip.wave, clip.times[window:window + 1] - early / 25)[:, 0]
                with torch.no_grad():
                    expected = loss.network.head(mouths[:, window], loss.network.towers.listen(cepstra))
                torch.testing.assert_close(odds[:, window, place], expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    recipe = Recipe.find("speech2vid").with_setting("losses.syncnet.options.scale", str(SMALL["scale"]))
    for part in ("visual_encoder", "audio_encoder", "decoder"):
        recipe = recipe.with_setting(f"{part}.options.scale", str(SMALL["scale"]))
    return recipe


class TestPublicFile:
    def test_it_fills_the_towers_and_leaves_the_head(self, recipe, tmp_path):
        path, model, losses = tmp_path / "syncnet_v2.model", build_model(recipe), build_losses(recipe)
        network = losses["syncnet"].network
        for seed, form in enumerate([lambda state: state, lambda state: {"model": state},
                                     lambda state: {f"__S__.{key}": value for key, value in state.items()}]):
            theirs = small(seed).state_dict()
            torch.save(form(theirs), path)
            notice = fill_from(model, losses, recipe, path)
            assert "losses.syncnet" in notice and "MIT" in notice
            assert all(torch.equal(value, theirs[key]) for key, value in network.towers.state_dict().items())
            assert network.head.threshold == 10.5

    def test_it_fills_an_audio_encoder_as_the_readme_says(self, recipe, tmp_path):
        readme = (Path(__file__).parents[2] / "plugins" / "syncnet" / "README.md").read_text(encoding="utf-8")
        said = yaml.safe_load(textwrap.dedent(re.search(r"    public_files:\n(?:      .*\n)+", readme)[0]))
        recipe = recipe.with_part("audio_encoder", "syncnet").with_setting("audio_encoder.options.scale",
                                                                           str(SMALL["scale"]))
        recipe = Recipe.from_dict({**recipe.to_dict(), **said, "name": "mine"})
        path, theirs, model = tmp_path / "syncnet_v2.model", small(seed=5), build_model(recipe)
        torch.save(theirs.state_dict(), path)
        assert "audio_encoder" in fill_from(model, None, recipe, path)
        assert all(torch.equal(value, theirs.state_dict()[key])
                   for key, value in model.audio_encoder.tower.state_dict().items())

    def test_a_file_of_another_network_is_named(self, recipe, tmp_path):
        path = tmp_path / "syncnet_v2.model"
        torch.save(registry.build("loss", "sync", scale=1 / 16).network.state_dict(), path)
        with pytest.raises(BadWeights, match="lipsync_expert.pth of recipe .*, not of recipe 'speech2vid', which takes "
                                             "syncnet_v2.model"):
            fill_from(build_model(recipe), build_losses(recipe), recipe, path)
