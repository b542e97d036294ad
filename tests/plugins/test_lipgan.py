"""LipGAN against the goldens of the reference implementation, read from Keras files; and what it does beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import fill
import numpy as np
import pytest
import torch
from goldens import GOLDEN
from torch import Tensor, nn

from fctfg import audio, registry
from fctfg.checkpoints import PublicWeights, load_public
from fctfg.checkpoints import fill as fill_from
from fctfg.errors import BadRecipe, BadWeights
from fctfg.interfaces import Clip, CodeShape, Output, SkipShape
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.trainer import build_losses
from fctfg_plugins.lipgan import public
from fctfg_plugins.lipgan.blocks import SampleNorm
from fctfg_plugins.lipgan.critic import contrastive, distances

SMALL = {"scale": 1 / 16}
GENERATORS = {  # golden: layers, variant, audio encoder, width of the speech, parameters with the running statistics
    "lipgan_mel27_gen_residual": (145, "residual", "lipgan", 512, 49_573_971),
    "lipgan_gen_residual": (145, "residual", "lipgan-mfcc", 512, 71_370_579),
    "lipgan_mel27_gen_basic": (61, "basic", "lipgan", 512, 21_482_387),
    "lipgan_gen_basic": (47, "basic", "lipgan-mfcc", 256, 24_934_739),
}
CRITICS = {"lipgan_mel27_disc": "mel", "lipgan_disc": "mfcc"}


def golden_inputs(name: str) -> dict[str, Tensor]:
    """With channels first."""
    return {key: torch.from_numpy(value).permute(0, 3, 1, 2) for key, value in fill.inputs(str(GOLDEN / name)).items()}


def check_golden(outputs: dict[str, Tensor], name: str) -> None:
    """Fails beyond 1e-4 of the golden's standard deviation, or of the value where it has none."""
    arrays = {key: np.asarray(value) for key, value in outputs.items()}
    for key, error, relative in fill.compare(arrays, GOLDEN / name / "out.npz"):
        assert (relative if math.isfinite(relative) else error) < 1e-4, key


def keras_file(path: Path, name: str, group: str | None) -> Path:
    """The golden's network as Keras writes it: with `group` "model_weights" a whole model, else weights alone."""
    h5py = pytest.importorskip("h5py")
    layers = json.loads((GOLDEN / name / "layers.json").read_text(encoding="utf-8"))["layers"]
    values: dict[str, dict[str, np.ndarray]] = {layer: {} for layer, *_ in layers}
    for key, value in fill.state(str(GOLDEN / name)).items():
        layer, _, weight = key.partition("/")
        values[layer][weight] = value
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        root.attrs["layer_names"] = [layer.encode() for layer in values]
        root.attrs["keras_version"], root.attrs["backend"] = b"2.2.4", b"tensorflow"
        for layer, weights in values.items():
            place = root.create_group(layer)
            place.attrs["weight_names"] = [f"{layer}/{weight}:0".encode() for weight in weights]
            for weight, value in weights.items():
                place[f"{layer}/{weight}:0"] = value
    return path


@pytest.fixture(scope="module")
def basic_file(tmp_path_factory):
    path = keras_file(tmp_path_factory.mktemp("keras") / "basic.h5", "lipgan_mel27_gen_basic", None)
    yield path
    path.unlink()


def noise_clip(clips: int = 2, frames: int = 3, references: int = 1, size: int = 96, seed: int = 0) -> Clip:
    draw = torch.Generator().manual_seed(seed)
    wave = torch.rand(2, clips, 16000, generator=draw) - 0.5
    return Clip(source=torch.rand(clips, references, 3, size, size, generator=draw) * 2 - 1,
                frames=torch.rand(clips, frames, 3, size, size, generator=draw) * 2 - 1,
                wave=wave[0], times=0.3 + torch.arange(frames) / 25, other_wave=wave[1])


def small(recipe: Recipe) -> Recipe:
    """With a sixteenth of the channels of everything that has a scale."""
    content = recipe.to_dict()
    for kind in ("visual_encoder", "audio_encoder", "decoder"):
        if "scale" in registry.find(kind, content[kind]["name"]).load().test_options:
            content[kind]["options"].update(SMALL)
    for loss in content["losses"].values():
        if loss["name"] != "l1":
            loss["options"].update(SMALL)
    return Recipe.from_dict(content)


def small_encoder(variant: str = "residual", codes=CodeShape(1, 32), skips=()):
    encoder = registry.build("visual_encoder", "lipgan", size=96, codes=codes, skips=skips, variant=variant, **SMALL)
    return encoder.eval()


class TestGoldens:
    def check(self, path: Path, name: str) -> None:
        """That the file alone says what to build, and that this draws what the reference draws."""
        model, match = load_public(path)
        model.eval()
        layers, variant, sound, speech, count = GENERATORS[name]
        assert match.recipe.name == "lipgan" and match.recipe.audio_encoder.name == sound
        assert match.recipe.decoder.options == {"variant": variant, "speech": speech}
        assert sum(tensor.numel() for key, tensor in model.state_dict().items() if not key.endswith("tracked")) == count
        given = golden_inputs(name)
        model.visual_encoder.see = lambda *_: given["face"]
        model.audio_encoder.hear = lambda *_: given["audio"]
        with torch.no_grad():
            drawn = model(noise_clip(2, 1)).frames[:, 0]
        check_golden({"out": ((drawn + 1) / 2).flip(1).permute(0, 2, 3, 1)}, name)

    def test_weights_alone_draw_what_the_reference_draws(self, basic_file):
        self.check(basic_file, "lipgan_mel27_gen_basic")

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["lipgan_mel27_gen_residual", "lipgan_gen_residual", "lipgan_gen_basic"])
    def test_whole_models_draw_what_the_reference_draws(self, tmp_path, name):
        path = keras_file(tmp_path / "gen.h5", name, "model_weights")
        self.check(path, name)
        path.unlink()

    @pytest.mark.parametrize("name", ["lipgan_mel27_disc", pytest.param("lipgan_disc", marks=pytest.mark.slow)])
    def test_the_critic_judges_as_the_reference_does(self, tmp_path, name):
        recipe = Recipe.find("lipgan").with_setting("losses.lipgan-critic.options.sound", CRITICS[name])
        losses = build_losses(recipe)
        path = keras_file(tmp_path / "disc.h5", name, "model_weights")
        said = fill_from(build_model(small(recipe)), losses, recipe, path)
        assert said.startswith("Filled losses.lipgan-critic from")
        network, given = losses["lipgan-critic"].network, golden_inputs(name)
        golden = np.load(GOLDEN / name / "out.npz")
        distance, apart = (torch.from_numpy(golden[f"contrastive_{key}"])[:, 0] for key in "dy")
        with torch.no_grad():
            face, sound = network.embed(given["face"], given["audio"])
            apart_by = distances(*network(given["face"], given["audio"]))[:, None]
        check_golden({"flat_a": face, "flat_b": sound, "out": apart_by, "contrastive_d": distance[:, None],
                      "contrastive_y": apart[:, None], "contrastive": contrastive(distance, apart > 0.5)}, name)


def numbered(name: str) -> dict[str, Tensor]:
    """What a Keras file of the golden holds, with the number of a tensor in place of its values."""
    keys = json.loads((GOLDEN / name / "keys.json").read_text(encoding="utf-8"))
    return {key: torch.tensor(float(i)).expand(shape) for i, (key, shape, _) in enumerate(keys)}


def renamed(tensors: dict[str, Tensor], rename) -> PublicWeights:
    return PublicWeights(Path("x.h5"), {f"{rename(key.partition('/')[0])}/{key.partition('/')[2]}": tensor
                                        for key, tensor in tensors.items()}, "Keras")


def counted_on(layer: str) -> str:
    """As in a session in which another network was made before."""
    kind, _, number = layer.rpartition("_")
    return f"{kind}_{int(number) + 90}"


def from_zero(layer: str) -> str:
    """As TensorFlow 2 counts: conv2d, conv2d_1, ..."""
    kind, _, number = layer.rpartition("_")
    return kind if number == "1" else f"{kind}_{int(number) - 1}"


class TestPublicFiles:
    @pytest.mark.parametrize("rename", [counted_on, from_zero, lambda layer: f"model_1/{layer}",
                                        lambda layer: layer.replace("_", "-")])
    @pytest.mark.parametrize("name", [*GENERATORS, *CRITICS])
    def test_layers_find_their_place_by_number_or_order_whatever_they_are_called(self, name, rename):
        translate = public.generator if name in GENERATORS else public.critic
        tensors = numbered(name)
        expected, settings = translate(renamed(tensors, lambda layer: layer))
        assert len(expected) == len(tensors) and settings
        found, again = translate(renamed(tensors, rename))
        assert again == settings and found.keys() == expected.keys()
        for key, tensor in found.items():
            first = (0,) * tensor.ndim
            assert tensor.shape == expected[key].shape and tensor[first] == expected[key][first]

    @pytest.mark.parametrize("name", [*GENERATORS, *CRITICS])
    def test_a_file_is_one_thing_only(self, name):
        weights = renamed(numbered(name), lambda layer: layer)
        other = public.critic if name in GENERATORS else public.generator
        assert other(weights) == ({}, {})
        fewer = PublicWeights(weights.path, dict(list(weights.tensors.items())[2:]), "Keras")
        assert public.generator(fewer) == public.critic(fewer) == ({}, {})
        assert public.generator(PublicWeights(weights.path, weights.tensors, "torch.save")) == ({}, {})

    def test_a_file_of_another_variant_is_named_with_what_would_take_it(self, basic_file):
        recipe = small(Recipe.find("lipgan").with_part("audio_encoder", "lipgan-mfcc"))
        with pytest.raises(BadWeights) as caught:
            fill_from(build_model(recipe), None, recipe, basic_file)
        theirs, ours = str(caught.value).split("; this one has ")
        assert "audio_encoder.name lipgan" in theirs and "decoder.options.variant basic" in theirs
        assert "audio_encoder.name lipgan-mfcc" in ours and "decoder.options.variant residual" in ours
        assert "--audio-encoder lipgan " in ours and "--set decoder.options.variant=basic" in ours and "\n" not in ours


class TestParts:
    @pytest.mark.parametrize("references", [1, 2, 3])
    def test_the_encoder_sees_the_reference_first_the_masked_frame_second_and_bgr(self, references):
        clip = noise_clip(2, 3, references)
        seen = small_encoder().see(clip.source, clip.frames).unflatten(0, (2, 3))
        assert seen.shape == (2, 3, 6, 96, 96)
        for b in range(2):
            for t in range(3):
                for channel in range(3):
                    masked = (clip.frames[b, t, 2 - channel] + 1) / 2
                    masked[48:] = 0
                    reference = (clip.source[b, t % references, 2 - channel] + 1) / 2
                    torch.testing.assert_close(seen[b, t, channel], reference)
                    torch.testing.assert_close(seen[b, t, 3 + channel], masked)

    def test_the_mouth_to_be_drawn_is_never_seen(self):
        encoder, clip = small_encoder(), noise_clip()
        other = clip.frames.clone()
        other[..., 48:, :] = 0.3
        with torch.no_grad():
            one, two = encoder(clip.source, clip.frames), encoder(clip.source, other)
        assert torch.equal(one.motion, two.motion) and torch.equal(one.identity, two.identity)

    @pytest.mark.parametrize("variant, width, weights", [("residual", 32, 0), ("basic", 32, 0), ("basic", 16, 0),
                                                         ("basic", 20, 2)])
    def test_the_code_is_a_vector_of_the_face_wherever_one_is_as_wide(self, variant, width, weights):
        encoder, clip = small_encoder(variant, CodeShape(1, width)), noise_clip()
        assert len(list(encoder.to_codes.parameters())) == weights
        with torch.no_grad():
            face = encoder(clip.source, clip.frames)
            last, before, *_ = encoder.encode(encoder.see(clip.source, clip.frames))
        torch.testing.assert_close(face.motion.mean(1), torch.zeros(2, 1, width), rtol=0, atol=1e-6)
        if not weights:
            vector = last if last.shape[1] == width else before
            torch.testing.assert_close((face.identity[:, None] + face.motion).flatten(0, 2), vector.flatten(1))

    @pytest.mark.parametrize("name, rows, columns, windows", [("lipgan", 80, 27, audio.mel_windows),
                                                              ("lipgan-mfcc", 12, 35, audio.mfcc12_windows)])
    def test_a_window_begins_with_the_frame_unless_offset(self, name, rows, columns, windows):
        clip = noise_clip()
        plain, early = (registry.build("audio_encoder", name, offset=offset, **SMALL) for offset in (0.0, -0.04))
        heard = plain.hear(clip.wave, clip.times)
        assert heard.shape == (2, 3, rows, columns)
        assert torch.equal(heard, windows(clip.wave, clip.times, columns))
        torch.testing.assert_close(early.hear(clip.wave, clip.times)[:, 1:], heard[:, :-1])
        assert early.context == pytest.approx((plain.context[0] + 0.04, plain.context[1] - 0.04))

    @pytest.mark.parametrize("kind, name, given", [
        ("visual_encoder", "lipgan", {"size": 96, "codes": CodeShape(1, 32)}), ("decoder", "lipgan", {"size": 96}),
        ("audio_encoder", "lipgan", {}), ("audio_encoder", "lipgan-mfcc", {})])
    def test_what_it_cannot_be_is_refused_in_a_sentence(self, kind, name, given):
        with pytest.raises(BadRecipe, match="variant 'tiny' is unknown; give residual or basic"):
            registry.build(kind, name, **given, variant="tiny")
        if "size" in given:
            with pytest.raises(BadRecipe, match="96 px only, not at 128; give size: 96"):
                registry.build(kind, name, **{**given, "size": 128})

    @pytest.mark.parametrize("encoder, sound, decoder", [
        ("lipgan", "wav2lip", "wav2lip"), ("wav2lip", "lipgan-mfcc", "lipgan"), ("lipgan", "tiny", "lipgan"),
        ("lipgan", "lipgan", "wav2lip")])
    def test_halves_of_wav2lip_fit(self, encoder, sound, decoder):
        recipe = Recipe.find("lipgan").with_part("visual_encoder", encoder).with_part("audio_encoder", sound)
        model = build_model(small(recipe.with_part("decoder", decoder)))
        with torch.no_grad():
            frames = model.eval()(noise_clip()).frames
        assert frames.shape == (2, 3, 3, 96, 96) and frames.abs().max() <= 1

    def test_its_maps_fit_a_decoder_that_asks_for_others(self):
        wanted, clip = (SkipShape(5, 2, 2), SkipShape(7, 30, 40)), noise_clip()
        with torch.no_grad():
            face = small_encoder(codes=CodeShape(3, 4), skips=wanted)(clip.source, clip.frames)
        assert [tuple(skip.shape) for skip in face.skips] == [(2, 3, *shape) for shape in wanted]
        assert face.identity.shape == (2, 3, 4)

    def test_a_batch_of_one_frame_cannot_be_learnt_from(self):
        with pytest.raises(BadRecipe, match="batch of one.*batch: 2"):
            build_model(small(Recipe.find("lipgan"))).train()(noise_clip(1, 1))


class TestCritic:
    def build(self, **options):
        torch.manual_seed(0)
        return registry.build("loss", "lipgan-critic", **SMALL, **options)

    def test_the_norm_is_one_for_all_channels_and_places(self):
        norm = SampleNorm()
        nn.init.constant_(norm.weight, 2.0)
        nn.init.constant_(norm.bias, 0.5)
        x = torch.randn(3, 4, 5, 6) * torch.tensor([0.01, 1, 9])[:, None, None, None]
        for sample, normed in zip(x.double().numpy(), norm(x).detach()):
            np.testing.assert_allclose(normed, 2 * (sample - sample.mean()) / (sample.std() + 1e-3) + 0.5, atol=1e-5)
        flat = torch.full((1, 2, 3, 3), 0.7, requires_grad=True)
        norm(flat).sum().backward()
        assert flat.grad.isfinite().all()

    @pytest.mark.parametrize("sound", ["mel", "mfcc"])
    def test_it_learns_from_real_pairs_other_sound_and_drawn_faces(self, sound):
        loss, clip, drawn = self.build(sound=sound), noise_clip(), noise_clip(seed=1).frames

        def distance(frames: Tensor, wave: Tensor) -> Tensor:
            faces = (frames.flatten(0, 1).flip(1) + 1) / 2
            windows = {"mel": audio.mel_windows, "mfcc": audio.mfcc12_windows}[sound]
            heard = windows(wave, clip.times, {"mel": 27, "mfcc": 35}[sound])
            face, voice = loss.network.embed(faces, heard.flatten(0, 1)[:, None])
            return (face / face.norm(dim=1, keepdim=True) - voice / voice.norm(dim=1, keepdim=True)).norm(dim=1)

        real, other = distance(clip.frames, clip.wave), distance(clip.frames, clip.other_wave)
        fake = distance(drawn, clip.wave)
        near = [(1 - wrong).clamp(min=0)**2 for wrong in (other, fake)]
        expected = (real**2).mean() + 0.5 * near[0].mean() + 0.5 * near[1].mean()
        got, report = loss.critic_loss(Output(drawn), clip)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(loss(Output(drawn), clip), (fake**2).mean())
        torch.testing.assert_close(torch.stack([report["real"], report["other"], report["drawn"]]),
                                   torch.stack([real.mean(), other.mean(), fake.mean()]))

    def test_it_learns_to_tell_its_pairs(self):
        loss, clip = self.build(lr=1e-3), noise_clip()
        drawn = Output(clip.frames * 0.5)
        history = [loss.train_critic(drawn, clip)["critic"].item() for _ in range(15)]
        measured = loss.measure(drawn, clip)
        assert history[-1] < 0.8 * history[0] and measured["real"] < measured["drawn"]

    def test_without_another_moment_the_next_clip_is_the_other_sound(self):
        loss, clip = self.build(), noise_clip()
        with_next = Clip(clip.source, clip.frames, clip.wave, clip.times, other_wave=clip.wave.roll(1, 0))
        without = Clip(clip.source, clip.frames, clip.wave, clip.times)
        drawn = Output(clip.frames)
        assert torch.equal(loss.critic_loss(drawn, without)[0], loss.critic_loss(drawn, with_next)[0])
        alone = Clip(clip.source[:1], clip.frames[:1], clip.wave[:1], clip.times)
        with pytest.raises(BadRecipe, match="single clip; give batch: 2 or more"):
            loss.critic_loss(Output(alone.frames), alone)

    def test_pairs_that_agree_to_the_bit_teach_nothing_infinite(self):
        same = torch.nn.functional.normalize(torch.randn(2, 8)).requires_grad_(True)
        contrastive(distances(same, same.detach()), apart=True).backward()
        assert same.grad.isfinite().all()

    def test_an_unknown_sound_is_refused(self):
        with pytest.raises(BadRecipe, match="sound 'wave' is unknown; give mel or mfcc"):
            self.build(sound="wave")


@pytest.mark.parametrize("name", ["unet", "gan"])
def test_each_stage_learns(name):
    recipe = small(Recipe.find("lipgan"))
    stage = next(stage for stage in recipe.stages if stage.name == name)
    model, losses = build_model(recipe).train(), build_losses(recipe)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=stage.betas)
    clip = noise_clip(4, recipe.clip_frames, recipe.references.count)
    history = []
    for _ in range(5):
        output = model(clip)
        for critic in stage.critics:
            assert losses[critic].train_critic(output.detach(), clip)["critic"].isfinite()
        terms = {key: losses[key](output, clip) for key in stage.losses}
        optimizer.zero_grad()
        sum(weight.weight * terms[key] for key, weight in stage.losses.items()).backward()
        optimizer.step()
        history.append(terms["l1"].item())
    assert history[-1] < history[0] and all(parameter.grad.isfinite().all() for parameter in model.parameters())
