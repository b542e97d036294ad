"""Wav2Lip against the goldens of the reference implementation, and what it does beside them."""

from __future__ import annotations

import json
import math

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN, golden_inputs, golden_keys
from torch import Tensor, nn
from torch.nn import functional as F

from fctfg import audio, registry
from fctfg.data.synthetic import HeadFootage, TalkingHead
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Clip, CodeShape, FaceCode, Output, SkipShape
from fctfg.model import TalkingFace, build_model
from fctfg.recipe import PARTS, Recipe
from fctfg.testing import random_clip

CODES = CodeShape(1, 512)
SMALL = {"scale": 1 / 16}


def load_golden(module: nn.Module, name: str, rename=lambda key: key) -> None:
    """Fill every weight; the only thing the goldens do not say is how many batches a norm has seen."""
    state = {rename(key): torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / name)).items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith(("num_batches_tracked", "_extra_state")) for key in missing)


def check_golden(outputs: dict[str, Tensor], name: str) -> None:
    """Fails beyond 1e-4 of the golden's standard deviation."""
    arrays = {key: value.detach().numpy() for key, value in outputs.items()}
    for key, error, relative in fill.compare(arrays, GOLDEN / name / "out.npz"):
        assert (relative if math.isfinite(relative) else error) < 1e-4, key


FILLS = Recipe.find("wav2lip").public_files[0].fills


def part_key(key: str) -> str:
    """Where a key of wav2lip.pth stands in the model, by the recipe's own table."""
    return next(to + key.removeprefix(prefix) for prefix, to in FILLS.items() if key.startswith(prefix))


@pytest.fixture(scope="module")
def model() -> TalkingFace:
    model = build_model(Recipe.find("wav2lip"))
    load_golden(model, "wav2lip", part_key)
    return model.eval()


@pytest.fixture(scope="module")
def sync():
    sync = registry.build("loss", "sync")
    load_golden(sync.network, "wav2lip_syncnet")
    return sync


@pytest.fixture(scope="module")
def quality():
    quality = registry.build("loss", "visual-quality")
    load_golden(quality.network, "wav2lip_disc_qual")
    return quality


def ours(pictures: Tensor) -> Tensor:
    """From the reference's layout and colours (B, 3, T, H, W), BGR in [0, 1]."""
    return pictures.transpose(1, 2).flip(2) * 2 - 1


def theirs(frames: Tensor) -> Tensor:
    return ((frames + 1) / 2).flip(2).transpose(1, 2)


def noise_clip(clips: int = 2, frames: int = 5, references: int = 1, size: int = 96, seed: int = 0) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    wave = torch.rand(2, clips, 16000, generator=draw) - 0.5
    return Clip(source=torch.rand(clips, references, 3, size, size, generator=draw) * 2 - 1,
                frames=torch.rand(clips, frames, 3, size, size, generator=draw) * 2 - 1,
                wave=wave[0], times=0.3 + torch.arange(frames) / 25, other_wave=wave[1])


class TestGoldens:
    def test_the_model_draws_what_the_reference_draws(self, model, monkeypatch):
        given = golden_inputs("wav2lip")
        outputs = {}
        for form, face, mel in (("frame", given["face"][:, :, None], given["mel"][:, None]),
                                ("frame5d", given["face5d"], given["mel5d"])):
            monkeypatch.setattr(model.visual_encoder, "see", lambda *_: face.transpose(1, 2).flatten(0, 1))
            monkeypatch.setattr(model.audio_encoder, "hear", lambda *_: mel[:, :, 0])
            with torch.no_grad():
                outputs[form] = theirs(model(noise_clip(2, face.shape[2])).frames)
        check_golden({"frame": outputs["frame"][:, :, 0], "frame5d": outputs["frame5d"]}, "wav2lip")

    def test_the_expert_embeds_as_the_reference_does(self, sync):
        given = golden_inputs("wav2lip_syncnet")
        with torch.no_grad():
            sound, face = sync.network.eval()(given["mel"], given["face"])
        check_golden({"audio": sound, "face": face, "cosine": (sound * face).sum(1)}, "wav2lip_syncnet")

    def test_the_quality_critic_judges_as_the_reference_does(self, quality):
        frames = ours(golden_inputs("wav2lip_disc_qual")["face"])
        with torch.no_grad():
            loss = quality(Output(frames), noise_clip())
            logits = quality._judge(frames.transpose(0, 1))  # the reference folds time first
        check_golden({"pred": logits.sigmoid()[:, None], "perceptual_loss": loss}, "wav2lip_disc_qual")

    @pytest.mark.parametrize("name, count, build", [
        ("wav2lip", 36_298_035, lambda: build_model(Recipe.find("wav2lip"))),
        ("wav2lip_syncnet", 16_435_072, lambda: registry.build("loss", "sync").network),
        ("wav2lip_disc_qual", 14_113_793, lambda: registry.build("loss", "visual-quality").network),
    ])
    def test_state_dicts_have_the_public_keys_and_no_other(self, name, count, build):
        with torch.device("meta"):
            module = build()
        rename = part_key if name == "wav2lip" else lambda key: key
        assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == \
            {rename(key): shape for key, shape in golden_keys(name).items()}
        assert sum(parameter.numel() for parameter in module.parameters()) == count


class TestTrainingStepGolden:
    """Two steps of the GAN stage: our parts, losses and weights, on the reference's batch of 8 x 5 frames."""

    def prepare(self, mode: str):
        model = build_model(Recipe.find("wav2lip")).train(mode == "train")
        losses = {"l1": registry.build("loss", "l1", span=1), "sync": registry.build("loss", "sync", expert_mode=mode),
                  "visual-quality": registry.build("loss", "visual-quality")}
        load_golden(model, "wav2lip", part_key)
        load_golden(losses["sync"].network, "wav2lip_syncnet")
        load_golden(losses["visual-quality"].network, "wav2lip_disc_qual")
        given = golden_inputs("wav2lip_trainstep")
        model.visual_encoder.see = lambda *_: given["x"].transpose(1, 2).flatten(0, 1)
        model.audio_encoder.hear = lambda *_: given["indiv_mels"][:, :, 0]
        losses["sync"].hear = lambda *_: given["mel"]
        frames = ours(given["gt"])
        clip = Clip(frames, frames, torch.zeros(8, 16000), torch.arange(5) / 25)
        return model, losses, clip, np.load(GOLDEN / "wav2lip_trainstep" / "out.npz")

    def judge(self, model, losses, clip):
        output = model(clip)
        terms = [losses[name](output, clip) for name in ("sync", "visual-quality", "l1")]
        weights = Recipe.find("wav2lip").stages[2].losses
        total = sum(weights[name].weight * term for name, term in zip(("sync", "visual-quality", "l1"), terms))
        return output, [*terms, total]

    def test_the_quality_critic_starts_where_the_reference_does(self, quality):
        frames = ours(golden_inputs("wav2lip_trainstep")["gt"])
        with torch.no_grad():
            real = F.softplus(-quality._judge(frames)).mean()
        golden = np.load(GOLDEN / "wav2lip_trainstep" / "out.npz")["eval_losses_step0"]
        assert real.item() == pytest.approx(golden[4], rel=1e-5)

    def critic_terms(self, critic, output, clip) -> list[Tensor]:
        """The two halves of what the critic minimises: real as 1, drawn as 0."""
        with torch.no_grad():
            return [F.softplus(-critic._judge(clip.frames)).mean(), F.softplus(critic._judge(output.frames)).mean()]

    @pytest.mark.slow
    def test_losses_equal_the_reference(self):
        model, losses, clip, golden = self.prepare("eval")
        with torch.no_grad():
            output, terms = self.judge(model, losses, clip)
        got = torch.stack([*terms, *self.critic_terms(losses["visual-quality"], output, clip)])
        np.testing.assert_allclose(got, golden["eval_losses_step0"], rtol=1e-4)

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_two_steps_equal_the_reference(self, mode):
        model, losses, clip, golden = self.prepare(mode)
        noise = json.loads((GOLDEN / "noise_floor.json").read_text(encoding="utf-8"))["wav2lip_trainstep"]

        def check(name: str, got) -> None:
            """Fails beyond 1e-4 of the standard deviation and twice what two runs of the reference differ by."""
            expected = golden[name if name in golden.files else f"{name}@probes"]
            got = np.asarray(got, np.float64)
            got = got if got.shape == expected.shape else got.ravel()[fill.probe_index(name, got.size, expected.size)]
            assert np.abs(got - expected).max() < max(1e-4 * expected.std(), 2 * noise[name][0]), name

        learning = dict(model.named_parameters())
        ordered = [part_key(key) for key in golden_keys("wav2lip")]
        optimizer = torch.optim.Adam(learning.values(), lr=1e-4, betas=(0.5, 0.999))
        critic = losses["visual-quality"]
        for step in range(2):
            output, terms = self.judge(model, losses, clip)
            optimizer.zero_grad()
            terms[-1].backward()
            optimizer.step()
            terms += self.critic_terms(critic, output, clip)
            check(f"{mode}_losses_step{step}", torch.stack(terms).detach())
            assert critic.train_critic(output.detach(), clip)["critic"].item() == pytest.approx(sum(terms[-2:]).item())
            if step == 0:
                check(f"{mode}_grad_norm_g", [learning[key].grad.norm().item() for key in ordered if key in learning])
                check(f"{mode}_grad_norm_d", [weight.grad.norm().item() for weight in critic.network.parameters()])
            if step == 0 and mode == "train":
                state = model.state_dict()
                for statistic in ("mean", "var"):
                    running = [state[key] for key in ordered if key.endswith(f"running_{statistic}")]
                    check(f"running_{statistic}_after1", torch.cat(running))
        if mode == "eval":
            with torch.no_grad():
                check("eval_frame_after2", theirs(model(clip).frames))


class TestParts:
    @pytest.mark.parametrize("references", [1, 2, 3, 5])
    def test_the_encoder_sees_the_masked_frame_first_and_bgr(self, references):
        clip = noise_clip(2, 3, references)
        encoder = registry.build("visual_encoder", "wav2lip", size=96, codes=CODES, **SMALL)
        seen = encoder.see(clip.source, clip.frames).unflatten(0, (2, 3))
        assert seen.shape == (2, 3, 6, 96, 96)
        for b in range(2):
            for t in range(3):
                for channel in range(3):
                    masked = (clip.frames[b, t, 2 - channel] + 1) / 2
                    masked[48:] = 0
                    reference = (clip.source[b, t % references, 2 - channel] + 1) / 2
                    torch.testing.assert_close(seen[b, t, channel], masked)
                    torch.testing.assert_close(seen[b, t, 3 + channel], reference)

    def test_the_mouth_to_be_drawn_is_never_seen(self):
        encoder = registry.build("visual_encoder", "wav2lip", size=96, codes=CODES, **SMALL).eval()
        clip = noise_clip()
        other = clip.frames.clone()
        other[..., 48:, :] = 0.3
        with torch.no_grad():
            one, two = encoder(clip.source, clip.frames), encoder(clip.source, other)
        assert all(torch.equal(a, b) for a, b in zip(one.skips, two.skips)) and torch.equal(one.motion, two.motion)

    def test_identity_and_motion_are_the_mean_code_and_the_rest(self, model):
        encoder = model.visual_encoder
        clip = noise_clip(1, 3)
        with torch.no_grad():
            face = encoder(clip.source, clip.frames)
            last = encoder.encode(encoder.see(clip.source, clip.frames))[0].flatten(1)
        torch.testing.assert_close(face.motion.mean(1), torch.zeros(1, 1, 512), rtol=0, atol=1e-6)
        torch.testing.assert_close((face.identity[:, None] + face.motion).flatten(0, 2), last)

    @pytest.mark.parametrize("kind, given", [("visual_encoder", {"codes": CODES}), ("decoder", {})])
    def test_other_sizes_are_refused_in_a_sentence(self, kind, given):
        with pytest.raises(BadRecipe, match="96 px only, not at 128; give size: 96"):
            registry.build(kind, "wav2lip", size=128, **given)

    def test_a_window_begins_with_the_frame_unless_offset(self):
        clip = noise_clip()
        plain, early = registry.build("audio_encoder", "wav2lip", **SMALL), \
            registry.build("audio_encoder", "wav2lip", offset=-0.04, **SMALL)
        assert torch.equal(plain.hear(clip.wave, clip.times), audio.mel_windows(clip.wave, clip.times))
        torch.testing.assert_close(early.hear(clip.wave, clip.times)[:, 1:], plain.hear(clip.wave, clip.times)[:, :-1])
        assert early.context == pytest.approx((plain.context[0] + 0.04, plain.context[1] - 0.04))

    def test_speech_of_the_right_width_is_the_code_itself(self):
        fusion = registry.build("fusion", "speech", codes=CODES, speech_width=512)
        speech, skips = torch.randn(2, 3, 512), (torch.randn(2, 3, 4, 8, 8),)
        latent = fusion(FaceCode(torch.zeros(2, 1, 512), torch.zeros(2, 3, 1, 512), skips, (None, skips[0])), speech)
        assert torch.equal(latent.codes[:, :, 0], speech) and latent.skips is skips and latent.deltas[1] is skips[0]
        assert not list(fusion.parameters())

    @pytest.mark.parametrize("part, name", [("audio_encoder", "tiny"), ("audio_encoder", "wav2lip")])
    def test_any_audio_encoder_drives_it(self, part, name):
        recipe = small(Recipe.find("wav2lip")).with_part(part, name)
        with torch.no_grad():
            output = build_model(recipe).eval()(noise_clip())
        assert output.frames.shape == (2, 5, 3, 96, 96) and output.frames.abs().max() <= 1

    def test_its_maps_fit_a_decoder_that_asks_for_others(self):
        wanted = (SkipShape(5, 2, 2), SkipShape(7, 30, 40))
        encoder = registry.build("visual_encoder", "wav2lip", size=96, codes=CodeShape(3, 4), skips=wanted, **SMALL)
        encoder.eval()
        clip = noise_clip()
        with torch.no_grad():
            face = encoder(clip.source, clip.frames)
        assert [tuple(skip.shape) for skip in face.skips] == [(2, 5, *shape) for shape in wanted]
        assert face.identity.shape == (2, 3, 4)

    def test_a_batch_of_one_frame_cannot_be_learnt_from(self):
        clip = noise_clip(1, 1)
        parts = build_model(small(Recipe.find("wav2lip")))
        for part, forward in (("visual encoder", lambda: parts.visual_encoder(clip.source, clip.frames)),
                              ("audio encoder", lambda: parts.audio_encoder(clip.wave, clip.times)),
                              ("decoder", lambda: parts.decoder.draw(torch.zeros(1, 32, 1, 1), ()))):
            with pytest.raises(BadRecipe, match=f"{part}.* cannot learn from a batch of one"):
                forward()

    def test_bf16_and_channels_last_draw_the_same_picture(self, model):
        clip = noise_clip(1, 2)
        with torch.no_grad():
            expected = model(clip).frames
            last = build_model(Recipe.find("wav2lip")).eval().to(memory_format=torch.channels_last)
            last.load_state_dict(model.state_dict())
            with torch.autocast("cpu", torch.bfloat16):
                drawn = last(clip).frames
        assert drawn.dtype == torch.float32
        error = (drawn - expected).square().mean().item() / 4  # of a range of 2
        assert 10 * math.log10(1 / error) > 40


class TestSyncLoss:
    def build(self, **options):
        torch.manual_seed(0)
        return registry.build("loss", "sync", **SMALL, **options)

    def test_it_sees_five_consecutive_lower_halves_in_bgr(self):
        clip = noise_clip(2, 7)
        seen = self.build().see(clip.frames).unflatten(0, (2, 3))
        assert seen.shape == (2, 3, 15, 48, 96)
        for b in range(2):
            for window in range(3):
                for frame in range(5):
                    for channel in range(3):
                        half = (clip.frames[b, window + frame, 2 - channel, 48:] + 1) / 2
                        torch.testing.assert_close(seen[b, window, 3 * frame + channel], half)

    def test_it_hears_the_sound_of_the_first_of_five_frames(self):
        clip = noise_clip(2, 7)
        heard = self.build().hear(clip.wave, clip.times).unflatten(0, (2, 3))
        assert torch.equal(heard[:, :, 0], audio.mel_windows(clip.wave, clip.times[:3]))

    def test_it_says_the_odds_of_every_mouth_with_the_sounds_around_it(self, monkeypatch):
        loss, clip = self.build(), noise_clip(2, 8)
        monkeypatch.setattr("fctfg_plugins.wav2lip.sync.AT_ONCE", 3)
        odds = loss.log_odds(clip, 2)
        assert odds.shape == (2, 4, 5)
        mouths = loss.see(clip.frames).unflatten(0, (2, 4))
        for window in range(4):
            for place, early in enumerate(range(-2, 3)):
                heard = audio.mel_windows(clip.wave, clip.times[window:window + 1] - early / 25)
                with torch.no_grad():
                    sound, face = loss.network.eval()(heard, mouths[:, window])
                cosine = (sound * face).sum(1).clamp(1e-6, 1 - 1e-6)
                torch.testing.assert_close(odds[:, window, place], torch.log(cosine / (1 - cosine)), rtol=0, atol=1e-4)

    def test_a_running_average_judges_and_decay_pulls(self):
        loss, plain, clip = self.build(ema=0.9, weight_decay=1.0, lr=0.1), self.build(lr=0.1), noise_clip(2, 6)
        before = loss.network.audio_encoder[0].conv_block[0].weight.detach().clone()
        for critic in (loss, plain):
            critic.train_critic(Output(clip.frames), clip)
        weight = loss.network.audio_encoder[0].conv_block[0].weight
        mean = loss.judge.audio_encoder[0].conv_block[0].weight
        torch.testing.assert_close(mean, before.lerp(weight, 0.9))  # it follows fast at first
        torch.testing.assert_close(weight, plain.network.audio_encoder[0].conv_block[0].weight - 0.1 * before, rtol=0, atol=1e-5)
        with pytest.raises(BadRecipe, match="loss 'sync': ema is 1.5"):
            self.build(ema=1.5)

    def test_it_is_minus_the_log_cosine(self):
        loss, clip = self.build(), noise_clip(3, 6)
        loss.network.eval()
        sound, face = loss.network(loss.hear(clip.wave, clip.times), loss.see(clip.frames))
        expected = F.binary_cross_entropy(F.cosine_similarity(sound, face), torch.ones(6))
        torch.testing.assert_close(loss(Output(clip.frames), clip), expected)

    def test_larger_pictures_are_shrunk(self):
        ramp = torch.linspace(-1, 1, 192).view(1, 1, 1, 192, 1) * torch.tensor([1.0, 0.5, -1.0]).view(3, 1, 1)
        seen = self.build().see(ramp.expand(2, 5, 3, 192, 192))
        pairs = ramp.unflatten(-2, (96, 2)).mean(-2).expand(2, 5, 3, 96, 96)  # of two rows, one is made
        torch.testing.assert_close(seen[..., :-1, :], self.build().see(pairs)[..., :-1, :], rtol=0, atol=1e-3)

    @pytest.mark.parametrize("crop", ["face", "voxceleb"])
    def test_mouths_of_other_crops_are_those_of_its_own(self, crop):
        """A drawn head prepared in both crops: the mouths that it cuts out anew are those of its own crop."""
        head, frames = TalkingHead(0, 1, 1.0), range(8, 13)
        (native, _), (other, landmarks) = (self.prepared(HeadFootage(head, profile, size), frames)
                                           for profile, size in (("wav2lip", 96), (crop, 256)))
        wanted, loss = self.build().see(native), self.build(crop=crop)
        seen = loss.see(other.requires_grad_(), landmarks)
        assert (seen - wanted).square().mean() < 0.15 * (seen.roll(3, -1) - wanted).square().mean(), "nor 3 px beside it"
        assert 10 * torch.log10(1 / (seen - wanted).square().mean()) > 30
        seen.sum().backward()
        assert other.grad.abs().sum((2, 3, 4)).all()
        with pytest.raises(BadData, match=f"carry no landmarks, by which loss 'sync' finds mouths in the crop '{crop}'"):
            loss.see(other)

    @staticmethod
    def prepared(footage, frames):
        """A clip of one as a loader yields it: frames (1, T, 3, H, W) and their landmarks in [-1, 1]."""
        pictures = torch.from_numpy(footage.frames(frames)).permute(0, 3, 1, 2)[None] / 127.5 - 1
        return pictures, torch.from_numpy(footage.landmarks(frames))[None] * 2 / footage.size[0] - 1

    def test_fewer_than_five_frames_are_refused(self):
        clip = noise_clip(2, 4)
        with pytest.raises(BadRecipe, match="5 consecutive frames, and the clips have 4"):
            self.build()(Output(clip.frames), clip)

    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_judging_changes_no_weight_and_statistics_only_when_asked(self, mode):
        loss, clip = self.build(expert_mode=mode), noise_clip()
        weights = [parameter.clone() for parameter in loss.network.parameters()]
        statistics = [buffer.clone() for buffer in loss.network.buffers()]
        frames = clip.frames.clone().requires_grad_()
        loss(Output(frames), clip).backward()
        assert frames.grad[..., 48:, :].abs().sum() > 0 and frames.grad[..., :48, :].abs().sum() == 0
        assert all(torch.equal(a, b) and b.grad is None for a, b in zip(weights, loss.network.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(statistics, loss.network.buffers())) == (mode == "eval")

    def test_an_unknown_expert_mode_is_refused(self):
        with pytest.raises(BadRecipe, match="give eval or train"):
            self.build(expert_mode="frozen")

    def test_the_expert_learns_from_real_frames_only(self):
        loss, clip = self.build(), noise_clip()
        loss.network.eval()
        blank = torch.zeros_like(clip.frames)
        assert torch.equal(loss.critic_loss(Output(clip.frames), clip)[0], loss.critic_loss(Output(blank), clip)[0])

    def test_it_learns_right_from_wrong_on_one_batch(self):
        loss, clip = self.build(lr=1e-3), noise_clip(6)
        history = [loss.train_critic(Output(clip.frames), clip)["critic"].item() for _ in range(40)]
        assert history[-1] < 0.5 * history[0]
        measured = loss.train_critic(Output(clip.frames), clip)
        assert measured["accuracy"] > 0.8

    def test_wrong_sounds_come_from_other_clips_where_the_clip_brings_none(self):
        loss, clip = self.build(), noise_clip(3)
        loss.network.eval()
        rolled = Clip(clip.source, clip.frames, clip.wave, clip.times, other_wave=clip.wave[[2, 0, 1]])
        alone = Clip(clip.source, clip.frames, clip.wave, clip.times)
        output = Output(clip.frames)
        assert torch.equal(loss.critic_loss(output, rolled)[0], loss.critic_loss(output, alone)[0])

    @pytest.mark.parametrize("other, reason", [(True, "cannot learn from a batch of one"), (False, "a single clip")])
    def test_a_batch_of_one_clip_is_refused_in_a_sentence(self, other, reason):
        clip = noise_clip(1)
        clip.other_wave = clip.other_wave if other else None
        with pytest.raises(BadRecipe, match=reason):
            self.build().train_critic(Output(clip.frames), clip)

    def test_measures_agree_with_a_slow_count(self, monkeypatch):
        loss, clip = self.build(), noise_clip()
        right, wrong = torch.tensor([0.9, 0.6, 0.4, 0.7]), torch.tensor([0.1, 0.6, 0.5, 0.8])
        monkeypatch.setattr(loss, "_right_and_wrong", lambda _, frames, __: (right + (frames is clip.frames), wrong))
        measured = loss.measure(Output(torch.zeros(1)), clip)
        assert measured["expert"] == 1 == loss.measure(Output(clip.frames), clip)["ranking"]
        pairs = [(r, w) for r in right.tolist() for w in wrong.tolist()]
        assert measured["ranking"].item() == pytest.approx(sum((r > w) + 0.5 * (r == w) for r, w in pairs) / 16)
        assert measured["accuracy"].item() == pytest.approx((3 + 2) / 8)
        assert measured["right"].item() == pytest.approx(0.65) and measured["wrong"].item() == pytest.approx(0.5)

    def test_the_log_stays_finite_at_and_beyond_the_ends(self):
        from fctfg_plugins.wav2lip.sync import minus_log

        values = torch.tensor([-1e-7, 0.0, 1e-9, 0.5, 1.0, 1 + 1e-6], requires_grad=True)
        logs = minus_log(values)
        logs.sum().backward()
        assert logs.isfinite().all() and values.grad.isfinite().all() and logs.min() >= 0
        torch.testing.assert_close(logs[3], torch.tensor(math.log(2)))


class TestPlateau:
    def watch(self, steps: int = 200):
        from fctfg_plugins.wav2lip.plateau import PlateauWatch

        return PlateauWatch(steps)

    def feed(self, watch, losses) -> list[str]:
        said = []
        for loss in losses:
            watch.update(torch.tensor(loss))
            if advice := watch.advice():
                said.append(advice)
        return said

    def guesses(self, count: int) -> list[float]:
        return (math.log(2) + 0.1 * np.random.default_rng(0).standard_normal(count)).tolist()

    def test_a_plateau_at_ln_2_is_said_once_with_its_causes(self):
        said = self.feed(self.watch(), self.guesses(900))
        assert len(said) == 1
        causes = ("ln 2", "out of step", "25", "one speaker", "batch", "lr")
        assert all(cause in said[0] for cause in causes) and "\n" not in said[0]

    def test_nothing_is_said_before_its_time(self):
        assert self.feed(self.watch(), self.guesses(199)) == []

    @pytest.mark.parametrize("losses", [np.linspace(0.7, 0.3, 1000), np.full(1000, 0.75), np.full(1000, 0.6)])
    def test_a_loss_that_is_elsewhere_or_falls_is_left_alone(self, losses):
        assert self.feed(self.watch(400), losses.tolist()) == []

    def test_a_loss_that_is_not_finite_is_passed_over(self):
        watch = self.watch()
        assert self.feed(watch, [float("nan"), float("inf")] * 20) == [] and watch.mean.isfinite()

    def test_it_goes_on_counting_after_a_resume_and_does_not_repeat_itself(self):
        first = self.watch()
        assert self.feed(first, self.guesses(150)) == []
        second = self.watch()
        second.load_state_dict(first.state_dict())
        assert len(self.feed(second, self.guesses(100))) == 1
        third = self.watch()
        third.load_state_dict(second.state_dict())
        assert self.feed(third, self.guesses(100)) == []

    def test_the_sync_loss_feeds_it(self, monkeypatch):
        loss = registry.build("loss", "sync", plateau_steps=3, **SMALL)
        guess = torch.tensor(math.log(2), requires_grad=True)
        monkeypatch.setattr(loss, "critic_loss", lambda *_: (guess * 1.0, {}))
        assert loss.advice() is None
        for _ in range(3):
            loss.train_critic(Output(torch.zeros(1)), noise_clip())
        assert "guessing for 3 steps" in loss.advice() and loss.advice() is None


class TestVisualQualityLoss:
    def build(self):
        torch.manual_seed(0)
        return registry.build("loss", "visual-quality", **SMALL)

    def test_it_is_the_cross_entropy_of_drawn_as_real(self):
        loss, clip = self.build(), noise_clip()
        drawn = noise_clip(seed=1).frames
        score, real = (torch.sigmoid(loss._judge(frames)) for frames in (drawn, clip.frames))
        torch.testing.assert_close(loss(Output(drawn), clip), F.binary_cross_entropy(score, torch.ones(10)))
        expected = F.binary_cross_entropy(real, torch.ones(10)) + F.binary_cross_entropy(score, torch.zeros(10))
        torch.testing.assert_close(loss.critic_loss(Output(drawn), clip)[0], expected)

    def test_the_upper_half_is_not_judged(self):
        loss, clip = self.build(), noise_clip()
        changed = clip.frames.clone()
        changed[..., :48, :] = 1
        assert torch.equal(loss(Output(changed), clip), loss(Output(clip.frames), clip))

    def test_it_learns_to_tell_drawn_from_real(self):
        loss, clip = self.build(), noise_clip()
        drawn = Output(clip.frames * 0.5)
        history = [loss.train_critic(drawn, clip)["critic"].item() for _ in range(30)]
        assert history[-1] < history[0]
        measured = loss.measure(drawn, clip)
        assert measured["real"] > measured["fake"]


def small(recipe: Recipe) -> Recipe:
    """With a sixteenth of the channels everywhere."""
    content = recipe.to_dict()
    for key in ("visual_encoder", "audio_encoder", "decoder"):
        content[key]["options"].update(SMALL)
    for name, loss in content["losses"].items():
        if name != "l1":
            loss["options"].update(SMALL)
    return Recipe.from_dict(content)


class TestRecipes:
    def test_the_public_files_fill_everything(self):
        recipe = Recipe.find("wav2lip")
        places = {}
        for prefix, module in (("", build_model(recipe)),
                               *((f"losses.{name}.", registry.build("loss", part.name, **part.options))
                                 for name, part in recipe.losses.items())):
            places.update({prefix + key: tuple(value.shape) for key, value in module.state_dict().items()
                           if isinstance(value, Tensor)})
        filled = set()
        for file, golden in zip(recipe.public_files, ("wav2lip", "wav2lip_syncnet", "wav2lip_disc_qual"), strict=True):
            assert "non-commercial" in file.licence and "LRS2" in file.licence
            for key, shape in golden_keys(golden).items():
                [place] = [to + key.removeprefix(prefix) for prefix, to in file.fills.items() if key.startswith(prefix)]
                assert places[place] == shape
                filled.add(place)
        assert {place for place in places if "plateau" not in place} == filled

    def test_the_expert_recipe_is_the_first_stage_of_wav2lip(self):
        whole, alone = Recipe.find("wav2lip"), Recipe.find("sync-expert")
        assert {part: getattr(alone, part) for part in PARTS} == {part: getattr(whole, part) for part in PARTS}
        expert = whole.stages[0].model_dump() | {"batch": None}
        assert alone.stages[0].model_dump() == expert and alone.batch == whole.stages[0].batch
        assert (alone.crop, alone.size, alone.clip_frames) == (whole.crop, whole.size, whole.clip_frames)

    def test_the_weights_add_up_as_the_authors_do(self):
        for stage in Recipe.find("wav2lip").stages[1:]:
            assert sum(weight.weight for weight in stage.losses.values()) == pytest.approx(1)

    @pytest.mark.parametrize("name, stage", [("wav2lip", "expert"), ("wav2lip", "generator"), ("wav2lip", "gan"),
                                             ("sync-expert", "expert")])
    def test_each_stage_learns(self, name, stage):
        recipe = small(Recipe.find(name))
        stage = next(each for each in recipe.stages if each.name == stage)
        model = build_model(recipe).eval().requires_grad_(False)
        losses = {key: registry.build("loss", part.name, **part.options) for key, part in recipe.losses.items()}
        task = registry.build("task", stage.task.name, **stage.task.options)
        learning = [p for part in stage.train for p in getattr(model, part).train().requires_grad_(True).parameters()]
        optimizer = torch.optim.Adam(learning, lr=stage.lr * 10, betas=stage.betas) if learning else None
        clip = noise_clip(3, recipe.clip_frames, recipe.references.count)
        history = []
        for _ in range(4):
            output = task(model, clip)
            report = {f"{key}/critic": losses[key].train_critic(output.detach(), clip)["critic"]
                      for key in stage.critics}
            if learning:
                terms = {key: losses[key](output, clip) for key in stage.losses}
                optimizer.zero_grad()
                sum(weight.weight * terms[key] for key, weight in stage.losses.items()).backward()
                optimizer.step()
                report.update(terms)
            history.append(report)
        assert all(value.isfinite() for report in history for value in report.values())
        told = "l1" if learning else "sync/critic"
        assert history[-1][told] < history[0][told]
        assert all(parameter.grad.isfinite().all() for parameter in learning)


def test_an_expert_that_knows_only_the_training_clips_is_told_of_once():
    loss = registry.build("loss", "sync", scale=1 / 16)
    clip = random_clip(96)

    def evaluated(mean: float, ranked: float) -> str | None:
        loss.measure(Output(clip.frames), clip)
        loss.plateau.mean.fill_(mean)
        loss.rankings[-1].fill_(ranked)
        return loss.advice()

    assert evaluated(0.65, 0.5) is None, "it has not learnt the training clips yet"
    assert evaluated(0.2, 0.9) is None, "it tells held-out speakers apart"
    assert "knows the training clips by heart (loss 0.20)" in evaluated(0.2, 0.5)
    assert evaluated(0.2, 0.5) is None, "once is enough"
