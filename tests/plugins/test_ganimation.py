"""GANimation against the goldens of the reference implementation; and what it does beside them."""

from __future__ import annotations

import math

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN, golden_inputs
from torch import Tensor, nn

from fctfg import registry
from fctfg.action_units import NAMES
from fctfg.data.noise import random_clip
from fctfg.errors import BadData, BadRecipe
from fctfg.interfaces import Clip, CodeShape, FaceCode, Latent, Output
from fctfg.model import TalkingFace
from fctfg.recipe import Recipe
from fctfg.runs import Run, load_model
from fctfg.trainer import train
from fctfg_plugins.aunet.table import held_out_table
from fctfg_plugins.ganimation.critic import known_mse, variation, wanted
from fctfg_plugins.ganimation.fusion import parabola

SMALL = {"g_conv_dim": 4, "g_repeat": 1}


def golden_state(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / name)).items()}


def network_of_g(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the reference's generator draws with while it trains: no aliases, no running statistics."""
    return {key: value for key, value in state.items()
            if not key.startswith("debug") and "running" not in key and "tracked" not in key}


@pytest.fixture(scope="module")
def generator():
    decoder = registry.build("decoder", "ganimation", size=128)
    decoder.load_state_dict(network_of_g(golden_state("ganimation_g")))
    return decoder


@pytest.fixture(scope="module")
def critic():
    with torch.device("meta"):  # 45 million random numbers that nobody wants
        loss = registry.build("loss", "ganimation", size=128)
    loss.network.load_state_dict(golden_state("ganimation_d"), assign=True)
    loss.optimizer = torch.optim.Adam(loss.network.parameters(), lr=1e-4, betas=(0.5, 0.999))
    return loss


def worst(outputs: dict[str, Tensor], name: str) -> dict[str, float]:
    """The greatest differences from a golden's numbers, as shares of their standard deviation."""
    arrays = {key: np.asarray(value) for key, value in outputs.items()}
    golden = np.load(GOLDEN / name / "out.npz")
    known = {key.partition("@")[0] for key in golden.files}
    blank = {key: np.zeros(golden[key].shape) for key in known - set(arrays)}
    found = fill.compare({**blank, **arrays}, GOLDEN / name / "out.npz")
    return {key: relative if math.isfinite(relative) else error for key, error, relative in found if key in arrays}


class TestGoldens:
    """Of the reference in train mode, whose norms go by each picture; eval mode draws the same here."""

    def test_draws_what_the_reference_draws(self, generator):
        inputs = golden_inputs("ganimation_g")
        with torch.no_grad():
            attention, colour = generator.eval().look(inputs["img"], inputs["au"])
        assert max(worst({"att_train": attention, "reg_train": colour}, "ganimation_g").values()) < 1e-4
        assert sum(p.numel() for p in generator.parameters()) == 8_471_296

    def test_reads_what_the_reference_reads(self, critic):
        with torch.no_grad():
            scores, action_units = critic.network(golden_inputs("ganimation_d")["img"])
        assert max(worst({"src": scores, "au": action_units}, "ganimation_d").values()) < 1e-4
        assert sum(p.numel() for p in critic.network.parameters()) == 44_860_352

    @pytest.mark.slow
    def test_learns_as_the_reference_learns(self, generator, critic, monkeypatch):
        """A step of the critic and the loss of the generator after it, with the gradients of both."""
        inputs = golden_inputs("ganimation_losses")
        golden = np.load(GOLDEN / "ganimation_losses" / "out.npz")
        pictures, own, targets = inputs["x_real"], inputs["label_org"], inputs["label_trg"]
        monkeypatch.setattr(torch, "rand", lambda *_, **__: inputs["alpha"])

        def drawn(picture: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            return generator(Latent(wanted[:, None, None], skips=(picture,)))

        clip = Clip(pictures[:, None], pictures[:, None], torch.zeros(2, 1), torch.zeros(1), action_units=own[:, None],
                    action_units_known=torch.ones(2, 1, 17, dtype=torch.bool))
        frames, alpha = drawn(pictures[:, None], targets)
        cycle, cycle_alpha = drawn(frames, own)
        output = Output(frames, alpha=alpha, extra={
            "pictures": pictures[:, None], "targets": targets[:, None], "cycle": cycle,
            "cycle_attention": 1 - cycle_alpha})

        critic.network.zero_grad()
        report = critic.train_critic(output.detach(), clip)
        total, real, fake, cls, gp = golden["d_losses"]
        found = [report["critic"], report["distance"], 160 * report["cls"], 10 * report["gp"]]
        np.testing.assert_allclose([float(x) for x in found], [total, -(real + fake), cls, gp], rtol=1e-4)
        norms = [float(p.grad.norm()) for p in critic.network.parameters()]
        np.testing.assert_allclose(norms, golden["grad_norm_d"], rtol=1e-3)

        for parameter in critic.network.parameters():
            parameter.grad = None
        terms = critic.terms(output, clip)
        loss = critic(output, clip)
        total, fake, rec, cls, attention, smooth1, smooth2, sat1, sat2 = golden["g_losses"]
        weighed = {"adversarial": 1, "rec": 10, "cls": 160, "sat": 0.1, "smooth": 1e-4}
        found = [float(loss.detach()), *(weight * float(terms[name].detach()) for name, weight in weighed.items())]
        np.testing.assert_allclose(found, [total, fake, rec, cls, sat1 + sat2, smooth1 + smooth2], rtol=1e-3)
        generator.train().zero_grad()
        loss.backward()
        aliases = fill.read_json(GOLDEN / "ganimation_g" / "fill.json")["alias"]
        keys = fill.read_json(GOLDEN / "ganimation_g" / "keys.json")
        order = dict.fromkeys(aliases.get(key, key) for key, *_ in keys)
        named = dict(generator.named_parameters())
        norms = [float(named[key].grad.norm()) for key in order if key in named]
        np.testing.assert_allclose(norms, golden["grad_norm_g"], rtol=5e-3)

    def test_smoothness_and_saturation(self):
        golden = np.load(GOLDEN / "ganimation_losses" / "out.npz")
        attention = golden_inputs("ganimation_losses")["att"]
        assert float(variation(attention)) == pytest.approx(float(golden["smooth"]), rel=1e-5)
        assert float(attention.mean()) == pytest.approx(float(golden["saturation"]), rel=1e-5)


def small_model(**fusion) -> TalkingFace:
    torch.manual_seed(0)
    decoder = registry.build("decoder", "ganimation", size=32, **SMALL)
    return TalkingFace(registry.build("visual_encoder", "ganimation", size=32, codes=decoder.codes, skips=decoder.skips),
                       registry.build("audio_encoder", "aunet", scale=1 / 16),
                       registry.build("fusion", "action-units", codes=decoder.codes, speech_width=17, **fusion), decoder)


class TestModel:
    def test_what_is_given_is_shown_and_the_rest_is_heard(self):
        model, clip = small_model(smooth=1).eval(), random_clip(32)
        clip.action_units_known[..., 8] = False
        clip.action_units[..., 8] = math.nan
        with torch.no_grad():
            output = model(clip)
            speech = model.audio_encoder(clip.wave, clip.times)
        codes = output.latent.codes[:, :, 0]
        torch.testing.assert_close(codes[..., 8], speech[..., 8])
        rest = [i for i in range(17) if i != 8]
        torch.testing.assert_close(codes[..., rest], clip.action_units[..., rest])
        assert output.alpha.shape == (2, 5, 1, 32, 32)

    def test_one_picture_serves_all_frames_and_several_each_their_own(self):
        encoder, clip = small_model().visual_encoder, random_clip(32)
        units = {"action_units": clip.action_units, "action_units_known": clip.action_units_known}
        for source, seen in ((clip.source, clip.source.expand(-1, 5, -1, -1, -1)), (clip.frames, clip.frames)):
            torch.testing.assert_close(encoder(source, clip.frames, **units).skips[0], seen)
        assert not list(encoder.parameters())

    def test_smooths_what_is_heard_by_a_parabola(self):
        np.testing.assert_allclose(parabola(5), np.array([-3, 12, 17, 12, -3]) / 35, atol=1e-6)
        fusion = small_model(smooth=5).fusion
        speech = torch.rand(1, 9, 17, generator=torch.Generator().manual_seed(0))
        face = FaceCode(torch.zeros(1, 1, 17), torch.full((1, 9, 1, 17), -1.0))
        found = fusion(face, speech).codes[0, :, 0].numpy()
        padded = np.concatenate([speech[0, :1].expand(2, -1), speech[0], speech[0, -1:].expand(2, -1)])
        for t in range(9):
            fit = np.polynomial.polynomial.polyfit(np.arange(-2, 3), padded[t:t + 5], 2)[0]
            np.testing.assert_allclose(found[t], fit.clip(0, 1), atol=1e-5)
        assert fusion.reach == 2
        with pytest.raises(BadRecipe, match="odd number"):
            small_model(smooth=4)

    def test_sizes_and_options_that_cannot_work_are_refused(self):
        with pytest.raises(BadRecipe, match="multiples of 4"):
            registry.build("decoder", "ganimation", size=30)
        with pytest.raises(BadRecipe, match="d_repeat 6 sees multiples of 64 px"):
            registry.build("loss", "ganimation", size=96)
        with pytest.raises(BadRecipe, match="decoder 'ganimation' draws from"):
            registry.build("fusion", "action-units", codes=CodeShape(14, 512), speech_width=17)


class TestExpress:
    def run(self, clip: Clip | None = None, model: TalkingFace | None = None, **options) -> Output:
        torch.manual_seed(1)
        return registry.build("task", "express", **options)(model or small_model().train(), clip or random_clip(32, frames=4))

    def test_redraws_other_moments_as_the_sound_or_as_others_have_it(self):
        clip = random_clip(32, frames=4)
        output = self.run(clip, heard=0.5, jitter=0.0)
        torch.testing.assert_close(output.extra["pictures"], clip.frames.roll(2, 1))
        says = output.extra["says_sound"] > 0
        assert says.any() and not says.all()
        torch.testing.assert_close(output.extra["targets"][says], output.speech.detach()[says])
        known = clip.action_units.flatten(0, 1)
        for targets in output.extra["targets"][~says]:
            assert ((known - targets).abs().sum(1) < 1e-6).any()

    def test_gradients_reach_what_hears_and_what_draws(self):
        model = small_model().train()
        output = self.run(model=model, heard=1.0)
        (output.frames.square().mean() + output.extra["cycle"].square().mean()).backward()
        for part in (model.audio_encoder, model.decoder):
            assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in part.parameters())
        assert not output.extra["targets"].requires_grad

    def test_the_way_back_asks_for_what_is_known_of_the_picture(self):
        """And for what is heard at its moment where nothing is."""
        clip = random_clip(32, frames=4)
        clip.action_units_known[..., 1] = False
        asked = []
        model = small_model().eval()
        model.decoder.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].codes[:, :, 0]))
        output = self.run(clip, model, heard=1.0)
        own = torch.where(clip.action_units_known, clip.action_units, output.speech).roll(2, 1)
        torch.testing.assert_close(asked[1], own)

    def test_what_no_critic_can_have_learnt_is_not_judged(self):
        clip = random_clip(32, frames=4)
        clip.action_units_known[..., 1] = False
        clip.action_units_known[0, ..., 2] = False  # known of another clip of the batch
        output = self.run(clip)
        _, counts = wanted(output, clip)
        assert counts.all(0).tolist() == [i != 1 for i in range(17)]

    def test_goes_the_virtual_cycle_where_asked_and_no_cycle_where_nobody_looks(self):
        virtual = {"virtual_cycle", "virtual_attention", "virtual_cycle_attention"}
        assert virtual <= set(self.run(use_virtual=True).extra)
        model = small_model().train()
        with torch.no_grad():
            assert "cycle" not in self.run(model=model).extra
            assert "cycle" in self.run(model=model.eval()).extra

    def test_clips_it_cannot_use_are_refused(self):
        with pytest.raises(BadRecipe, match="clip_frames"):
            self.run(random_clip(32, frames=1))
        clip = random_clip(32)
        clip.action_units = clip.action_units_known = None
        with pytest.raises(BadData, match="--action-units"):
            self.run(clip)


def small_critic(size: int = 32, **options):
    torch.manual_seed(0)
    return registry.build("loss", "ganimation", size=size, d_conv_dim=4, d_repeat=3, **options)


class TestCritic:
    @pytest.mark.parametrize("size", [64, 128, 256])
    def test_one_picture_of_any_size_has_its_action_units(self, size):
        network = registry.build("loss", "ganimation", size=size, d_conv_dim=2).network
        scores, action_units = network(torch.zeros(1, 3, size, size))
        assert scores.shape == (1, size // 64, size // 64) and action_units.shape == (1, 17)

    def test_nothing_known_gives_no_error_and_finite_gradients(self):
        loss, clip = small_critic(), random_clip(32)
        clip.action_units_known[:] = False
        clip.action_units[:] = math.nan
        output = Output(clip.frames.clone().requires_grad_())
        report = loss.train_critic(output.detach(), clip)
        assert float(report["cls"]) == 0 and all(torch.isfinite(p).all() for p in loss.network.parameters())
        loss(output, clip).backward()
        assert torch.isfinite(output.frames.grad).all()
        found = torch.rand(2, 17, requires_grad=True)
        known_mse(found, torch.full((2, 17), math.nan), torch.zeros(2, 17, dtype=torch.bool)).backward()
        assert (found.grad == 0).all()

    def test_the_virtual_share_mixes_every_term_of_the_cycle(self):
        output, clip = TestExpress().run(use_virtual=True), random_clip(32, frames=4)
        real, both = (small_critic(virtual_share=share).terms(output, clip) for share in (0.0, 0.25))
        extra = output.extra
        virtual = {"rec": (extra["virtual_cycle"] - output.frames).abs().mean(),
                   "sat": extra["virtual_attention"].mean() + extra["virtual_cycle_attention"].mean(),
                   "smooth": variation(extra["virtual_attention"]) + variation(extra["virtual_cycle_attention"])}
        for name, value in virtual.items():
            torch.testing.assert_close(both[name], 0.75 * real[name] + 0.25 * value)
        torch.testing.assert_close(both["cls"], real["cls"])
        with pytest.raises(BadRecipe, match="who the person is"):
            small_critic(virtual_share=1.0)

    def test_the_penalty_is_that_of_a_slope(self):
        """Of a critic that adds pixels up by one weight, known in closed form, without learning too."""
        loss = small_critic(lambda_gp=1.0)
        loss.network.forward = lambda pictures: (0.01 * pictures.sum((1, 2, 3))[:, None, None], pictures[:, 0, 0, :17])
        expected = (0.01 * math.sqrt(3 * 32 * 32) - 1) ** 2
        pictures = random_clip(32).frames.flatten(0, 1)
        assert float(loss.gradient_penalty(pictures, -pictures).detach()) == pytest.approx(expected, rel=1e-4)
        with torch.no_grad():
            assert float(loss.gradient_penalty(pictures, -pictures)) == pytest.approx(expected, rel=1e-4)

    def test_says_in_words_where_attention_is_saturated(self):
        loss, clip = small_critic(), random_clip(32)
        for alpha, words in ((0.001, "picture that was given"), (0.5, None), (0.999, "drawn anew")):
            report = loss.measure(Output(clip.frames, alpha=torch.full((2, 5, 1, 32, 32), alpha)), clip)
            advice = loss.advice()
            assert advice is None if words is None else words in advice
            assert float(report["attention"]) == pytest.approx(1 - alpha, abs=1e-5)
            assert float(report["attention_stays"]) == (alpha < 0.02)
            assert float(report["attention_drawn"]) == (alpha > 0.98)
        assert loss.advice() is None


class TestTraining:
    def test_the_small_recipe_trains_through_its_stages(self, tmp_path):
        recipe = Recipe.find("ietafs-small")
        for key, value in {"size": 32, "batch": 2, "clip_frames": 2, "evaluate_batches": 1, "stages.aunet.steps": 1,
                           "stages.aunet.batch": 2, "stages.aunet.clip_frames": 2, "stages.talk.steps": 4,
                           "decoder.options.g_conv_dim": 2, "losses.ganimation.options.d_conv_dim": 2,
                           "audio_encoder.options.scale": 1 / 16, "losses.av-contrast.options.scale": 1 / 16}.items():
            recipe = recipe.with_setting(key, str(value))
        train(recipe, "synthetic", out=tmp_path / "run", device="cpu", workers=0, say=lambda line: None)
        last = Run(tmp_path / "run").metrics()[-1]
        wanted_scalars = {"eval/ganimation/attention", "eval/ganimation/attention_stays", "eval/ganimation/attention_drawn",
                          "eval/ganimation/cls", "eval/ganimation/rec", "eval/action-units/correlation",
                          "eval/av-contrast/other"}
        assert wanted_scalars <= set(last) and all(math.isfinite(last[name]) for name in wanted_scalars)
        assert (tmp_path / "run" / "samples" / "step-00000005.png").is_file()
        rows = held_out_table(tmp_path / "run", "synthetic", windows=2)
        assert [row.name for row in rows] == ["AU01", "AU02", "AU20", "AU25", "AU26", "AU45"]
        assert all(row.frames == 50 and row.mse > 0 and row.mse_of_mean >= 0 for row in rows)  # nobody may blink
        model, _ = load_model(tmp_path / "run")
        with torch.no_grad():
            assert torch.isfinite(model(random_clip(32)).frames).all()
