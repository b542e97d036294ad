"""The encoders of pSp and e4e against goldens of the reference implementations, and what they do beside them."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN, golden_keys
from torch import Tensor, nn

from fctfg import registry
from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadRecipe, BadWeights
from fctfg.interfaces import CodeShape, Latent
from fctfg_plugins.arcface.irse import feature_maps
from fctfg_plugins.psp.encoders import ALL_IN
from fctfg_plugins.psp.public import translate

GOLDENS = {"psp_gradual_256": ("psp", 256), "psp_gradual_1024": ("psp", 1024), "e4e_encoder_256": ("e4e", 256),
           "e4e_encoder_1024": ("e4e", 1024), "psp_backbone_w": ("psp-w", 1024),
           "psp_backbone_wplus": ("psp-w-plus", 1024)}
NAMES = ["psp", "e4e", "psp-w", "psp-w-plus"]


def golden_encoder(name: str, skip: tuple[str, ...] = ()) -> nn.Module:
    """The encoder of a golden, filled but for the keys that begin with one of `skip`; those hold no numbers."""
    plugin, size = GOLDENS[name]
    left_out = {key for key in golden_keys(name) if key.startswith(skip)} if skip else set()
    state = {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / name), left_out).items()}
    with torch.device("meta"):
        encoder = build(plugin, size, CodeShape(2 * int(math.log2(size)) - 2, 512))
    missing, unexpected = encoder.load_state_dict(state, strict=False, assign=True)
    assert not unexpected and all(key in left_out or key.endswith("num_batches_tracked") for key in missing)
    if plugin == "e4e":
        encoder.starts = torch.zeros(encoder.starts.shape)
    return encoder.eval()


def golden_picture(name: str) -> Tensor:
    return torch.from_numpy(fill.inputs(str(GOLDEN / name))["img"])


def build(plugin: str, size: int = 32, codes: CodeShape = CodeShape(10, 16), **options):
    return registry.build("visual_encoder", plugin, size=size, codes=codes, **options)


def small(plugin: str, size: int = 32, codes: CodeShape = CodeShape(10, 16), **options):
    torch.manual_seed(0)
    return build(plugin, size, codes, scale=1 / 16, **options).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class TestGoldens:
    @pytest.mark.parametrize("name", GOLDENS)
    def test_state_dicts_have_the_public_keys_and_no_other(self, name):
        own = {key: tuple(value.shape) for key, value in shapes(*GOLDENS[name]).items()}
        assert own.pop("batches", ()) == () and own == golden_keys(name)

    def test_psp_reads_the_first_code_of_each_level_as_the_reference_does(self):
        """A third of the network; the slow run has all of it."""
        levels = [0, 3, 7]
        name = "psp_gradual_256"
        encoder = golden_encoder(name, tuple(f"styles.{code}." for code in range(14) if code not in levels))
        with torch.no_grad():
            read_from = encoder.pyramid(feature_maps(encoder.input_layer, encoder.body, golden_picture(name)))
            codes = torch.stack([encoder.styles[code](read_from[code]) for code in levels], 1)
        golden = np.load(GOLDEN / name / "out.npz")["codes"]
        np.testing.assert_allclose(codes, golden[:, levels], atol=1e-4 * golden.std())

    @pytest.mark.slow
    @pytest.mark.parametrize("name", GOLDENS)
    def test_codes_equal_the_reference(self, name):
        with torch.no_grad():
            codes = golden_encoder(name).invert(golden_picture(name))
        if name == "psp_backbone_w":
            assert torch.equal(codes, codes[:, :1].expand(-1, 18, -1))
            codes = codes[:, 0]
        [(_, _, relative)] = fill.compare({"codes": codes.numpy()}, GOLDEN / name / "out.npz")
        assert relative < 1e-4

    @pytest.mark.slow
    def test_a_file_translated_and_drawn_equals_the_reference(self):
        """The golden's own mean and decoder, through everything between a public file and a picture."""
        given = {key: torch.from_numpy(value) for key, value in fill.inputs(str(GOLDEN / "psp_full_256")).items()}
        state = {key: torch.from_numpy(value) for key, value in fill.state(str(GOLDEN / "psp_full_256")).items()}
        weights = PublicWeights(Path("psp.pt"), state, "torch.save", beside={"latent_avg": given["latent_avg"]})
        tensors, settings = translate(weights)
        assert (settings["visual_encoder.name"], settings["size"]) == ("psp", 256)
        tensors["decoder.mean"] = tensors.pop("latent_avg")
        with torch.device("meta"):
            encoder, decoder = build("psp", 256, CodeShape(14, 512)), registry.build("decoder", "stylegan2", size=256)
        for part, module in (("encoder.", encoder), ("decoder.", decoder)):
            own = {key.removeprefix(part): tensor for key, tensor in tensors.items() if key.startswith(part)}
            missing, unexpected = module.eval().load_state_dict(own, strict=False, assign=True)
            assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
        with torch.no_grad():
            codes = encoder.invert(given["img"])
            drawn = decoder(Latent(codes[:, None]))[:, 0]
        got = {"latents": (decoder.mean + codes).numpy(), "img": drawn.numpy()}
        assert all(relative < 1e-4 for _, _, relative in fill.compare(got, GOLDEN / "psp_full_256" / "out.npz"))


class TestEncoders:
    @pytest.mark.parametrize("name", NAMES)
    def test_identity_is_the_mean_of_the_references_and_motion_the_code_of_each_frame(self, name):
        encoder = small(name)
        source, frames = noise(2, 3, 3, 32, 32), noise(2, 4, 3, 32, 32, seed=1)
        with torch.no_grad():
            face = encoder(source, frames)
            for b in range(2):
                torch.testing.assert_close(face.identity[b], encoder.invert(source[b]).mean(0))
                torch.testing.assert_close(face.motion[b], encoder.invert(frames[b]))
        assert face.identity.shape == (2, 10, 16) and face.motion.shape == (2, 4, 10, 16)

    def test_frames_that_are_their_own_references_are_seen_once(self, monkeypatch):
        encoder, frames = small("psp"), noise(2, 3, 3, 32, 32)
        seen, invert = [], encoder.invert
        monkeypatch.setattr(encoder, "invert", lambda pictures: seen.append(len(pictures)) or invert(pictures))
        with torch.no_grad():
            once, twice = encoder(frames, frames), encoder(frames.clone(), frames)
        assert seen == [6, 12]
        torch.testing.assert_close(once.identity, twice.identity)
        torch.testing.assert_close(once.motion, twice.motion)

    @pytest.mark.parametrize("size", [90, 20])
    def test_pictures_are_resized_as_pillow_does(self, size):
        """What the authors' data loader goes through."""
        from PIL import Image

        encoder, pictures = small("psp-w", input_size=32), noise(2, 3, size, size)
        by_pillow = [[np.array(Image.fromarray(channel).resize((32, 32), Image.Resampling.BILINEAR))
                      for channel in picture] for picture in pictures.numpy()]
        with torch.no_grad():
            torch.testing.assert_close(encoder.invert(pictures), encoder.invert(torch.tensor(np.array(by_pillow))))

    @pytest.mark.parametrize("size, seen", [(1024, 256), (256, 256), (224, 128), (96, 64), (24, 32)])
    def test_it_sees_a_power_of_two_and_at_most_256(self, size, seen):
        with torch.device("meta"):
            encoder = build("psp", size)
        assert encoder.input_size == seen
        halvings = [sum(isinstance(layer, nn.Conv2d) for layer in encoder.styles[code].convs) for code in (0, 3, 7)]
        assert [seen >> halving for halving in halvings] == [16, 8, 4]  # down to one pixel from 1/16, 1/8, 1/4 of it

    @pytest.mark.parametrize("name, codes", [*((name, CodeShape(18, 24)) for name in NAMES), ("psp", CodeShape(5, 8))])
    def test_gradients_reach_every_weight_whatever_the_codes(self, name, codes):
        options = {"progressive_start": 0, "progressive_every": 0} if name == "e4e" else {}
        encoder = small(name, 64, codes, **options).train()
        face = encoder(noise(1, 1, 3, 64, 64), noise(1, 2, 3, 64, 64, seed=1))
        (face.identity.square().sum() + face.motion.square().sum()).backward()
        assert face.motion.shape == (1, 2, *codes)
        dead = [key for key, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert not dead

    @pytest.mark.parametrize("name", NAMES)
    def test_codes_have_full_precision_under_autocast(self, name):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert small(name).invert(noise(2, 3, 48, 48)).dtype == torch.float32

    def test_psp_w_gives_one_code_from_the_mean_of_the_last_map(self):
        encoder, pictures = small("psp-w"), noise(2, 3, 32, 32)
        with torch.no_grad():
            last = encoder.body(encoder.input_layer(pictures)).mean((2, 3))
            code = last @ encoder.linear.weight.T / math.sqrt(32) + encoder.linear.bias
            torch.testing.assert_close(encoder.invert(pictures), code[:, None].expand(-1, 10, -1))

    def test_it_learns_the_codes_of_a_picture(self):
        encoder, pictures, codes = small("psp").train(), noise(4, 3, 32, 32), noise(4, 10, 16, seed=1)
        optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
        errors = []
        for _ in range(8):
            error = (encoder.invert(pictures) - codes).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            errors.append(error.item())
        assert errors[-1] < 0.8 * errors[0]

    @pytest.mark.parametrize("plugin, options, problem", [
        ("psp", {"input_size": 96}, "input_size 96 is not a power of two"), ("psp-w", {"input_size": 16}, "32 or more"),
        ("e4e", {"progressive_every": -1}, "progressive_every -1 count batches")])
    def test_what_cannot_be_is_named(self, plugin, options, problem):
        with pytest.raises(BadRecipe, match=problem):
            small(plugin, **options)


class TestE4E:
    def all_in(self, like: nn.Module, **options) -> nn.Module:
        """An e4e encoder with the weights of a pSp one, which has no count of batches."""
        encoder = small("e4e", **options)
        encoder.load_state_dict(like.state_dict(), strict=False)
        return encoder

    def test_its_codes_are_one_code_and_differences(self):
        psp, pictures = small("psp"), noise(2, 3, 32, 32)
        with torch.no_grad():
            read, codes = psp.invert(pictures), self.all_in(psp).invert(pictures)
        torch.testing.assert_close(codes[:, 0], read[:, 0])
        for code in range(1, 10):
            torch.testing.assert_close(codes[:, code], read[:, 0] + read[:, code])

    def test_differences_come_in_one_after_the_other(self):
        """As the authors' loop: none before `start`, then one more every `every` batches."""
        encoder = small("e4e", codes=CodeShape(4, 16), progressive_start=2, progressive_every=2).train()
        pictures, counts = noise(2, 3, 32, 32), []
        for _ in range(9):
            codes = encoder.invert(pictures)
            counts.append(sum(bool((codes[:, code] != codes[:, 0]).any()) for code in (1, 2, 3)))
        assert counts == [0, 0, 1, 1, 2, 2, 3, 3, 3]

    def test_what_is_not_yet_in_does_not_learn(self):
        encoder = small("e4e", codes=CodeShape(3, 16), progressive_start=0, progressive_every=1).train()
        encoder.invert(noise(2, 3, 32, 32)).square().sum().backward()
        assert encoder.styles[1].linear.weight.grad.any() and not encoder.styles[2].linear.weight.grad.any()

    def test_how_far_it_has_come_is_saved_and_only_training_counts(self):
        encoder = small("e4e", progressive_start=1, progressive_every=1)
        encoder.invert(noise(2, 3, 32, 32))
        assert encoder.state_dict()["batches"] == 0
        encoder.train().invert(noise(2, 3, 32, 32))
        again = small("e4e")
        again.load_state_dict(encoder.state_dict())
        assert again.batches == 1
        body = {key: value for key, value in encoder.state_dict().items() if key.startswith("body.")}
        again.load_state_dict(body, strict=False)
        assert again.batches == 1, "a body alone says nothing of the differences"


@cache
def shapes(plugin: str, size: int) -> dict[str, Tensor]:
    """The state dict of a public encoder, without numbers."""
    with torch.device("meta"):
        return build(plugin, size, CodeShape(2 * int(math.log2(size)) - 2, 512)).state_dict()


def public(plugin: str, size: int, beside: dict | None = None, options: dict | None = None, draws: int | None = None,
           networks: dict | None = None) -> PublicWeights:
    """A file of the public layout, its tensors without numbers: an encoder and, where it `draws`, a generator."""
    tensors = {f"encoder.{key}": value for key, value in shapes(plugin, size).items() if key != "batches"}
    if draws:
        generator = registry.build("decoder", "stylegan2", size=draws, channel_max=8, w_dim=8)
        tensors |= {f"decoder.{key}": value for key, value in generator.state_dict().items() if key != "mean"}
    return PublicWeights(Path("some.pt"), tensors, "torch.save", {}, {"state_dict": tensors, **(networks or {})},
                         beside or {}, options or {})


class TestPublicFiles:
    @pytest.mark.parametrize("plugin, size, options", [
        ("psp", 1024, {"output_size": 1024}), ("psp", 256, {}), ("e4e", 1024, {"stylegan_size": 1024}),
        ("e4e", 256, {"encoder_type": "Encoder4Editing"}), ("psp-w", 1024, {"output_size": 1024}),
        ("psp-w-plus", 512, {})])
    def test_its_kind_and_size_are_told(self, plugin, size, options):
        weights = public(plugin, size, {"latent_avg": torch.ones(512)}, options)
        tensors, settings = translate(weights)
        assert settings == {"visual_encoder.name": plugin, "size": size}
        assert tensors.pop("latent_avg").shape == (2 * int(math.log2(size)) - 2, 512)
        assert (tensors.pop("encoder.batches", None) == ALL_IN) == (plugin == "e4e")
        assert set(tensors) == set(weights.tensors)

    @pytest.mark.parametrize("plugin", NAMES)
    def test_what_is_translated_fills_the_encoder(self, plugin):
        options = {"output_size": 256} | ({"encoder_type": "Encoder4Editing"} if plugin == "e4e" else {})
        tensors, settings = translate(public(plugin, 256, options=options))
        assert {key.removeprefix("encoder."): value.shape for key, value in tensors.items()} == \
            {key: value.shape for key, value in shapes(settings["visual_encoder.name"], settings["size"]).items()}

    def test_a_mean_of_each_code_is_kept_and_codes_that_are_no_offsets_have_none(self):
        means = torch.randn(14, 512)
        assert torch.equal(translate(public("psp", 256, {"latent_avg": means}))[0]["latent_avg"], means)
        tensors, _ = translate(public("psp", 256, options={"start_from_latent_avg": False}))
        assert tensors["latent_avg"].shape == (14, 512) and not tensors["latent_avg"].any()
        assert "latent_avg" not in translate(public("psp", 256))[0]  # to be computed from the mapping network

    def test_e4e_is_told_by_its_critic_where_it_says_nothing(self):
        weights = public("e4e", 256, networks={"discriminator_state_dict": {"mlp.0.weight": torch.ones(1)}})
        assert translate(weights)[1]["visual_encoder.name"] == "e4e"

    def test_a_generator_goes_with_its_widths_and_a_small_one_with_the_encoder_s_own_picture_size(self):
        weights = public("psp-w", 256, {"latent_avg": torch.ones(1, 8)}, draws=64)
        tensors, settings = translate(weights)
        assert settings["visual_encoder.options.input_size"] == 256
        assert (settings["size"], settings["decoder.name"], settings["decoder.options.w_dim"]) == (64, "stylegan2", 8)
        assert tensors.pop("latent_avg").shape == (10, 8) and set(tensors) == set(weights.tensors)
        weights.tensors["decoder.to_rgb1.bias"] = torch.zeros(1, 1, 1, 1)
        with pytest.raises(BadWeights, match="generator that is not drawn here: its pictures have 1 channels"):
            translate(weights)

    def test_other_files_are_left_alone_and_sketches_refused(self):
        assert translate(PublicWeights(Path("x"), {"encoder.conv.weight": torch.ones(1)}, "torch.save")) == ({}, {})
        weights = public("psp", 256)
        weights.tensors["encoder.input_layer.0.weight"] = torch.empty(64, 19, 3, 3)
        with pytest.raises(BadWeights, match="19 channels"):
            translate(weights)
