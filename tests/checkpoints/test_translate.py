"""Files whose names are not the model's: translated by the plugin, filled in part, refused where the recipe differs."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from importlib import import_module

import pytest
import torch
from torch import nn

from fctfg import registry
from fctfg.checkpoints import PublicWeights, fill, load_public, read_weights, recognise
from fctfg.checkpoints.families import _likely, recipes
from fctfg.checkpoints.settings import setting_of, with_settings
from fctfg.errors import BadWeights
from fctfg.interfaces import AudioEncoder, CodeShape, Critic, Decoder, FaceCode, Fusion, Latent, VisualEncoder
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.trainer import build_losses

WIDTH = 3


class MiniDecoder(Decoder):
    """As many codes and channels as StyleGAN2 would have, and a mean code that its files may lack."""

    def __init__(self, *, size: int, channel_multiplier: int = 2):
        super().__init__()
        self.size = size
        self.codes = CodeShape(2 * size.bit_length() - 4, WIDTH)
        self.mapping = nn.Linear(WIDTH, WIDTH)
        self.conv = nn.Linear(WIDTH, 4 * channel_multiplier)
        self.register_buffer("mean", torch.zeros(self.codes))

    def estimate_mean(self):
        return self.mapping(torch.randn(1000, WIDTH)).mean(0).expand(self.codes)

    def forward(self, latent):
        colour = self.conv(latent.codes + self.mean).mean((-1, -2))
        return colour[..., None, None, None].expand(-1, -1, 3, self.size, self.size)


class GradualEncoder(VisualEncoder):
    def __init__(self, *, size: int, codes: CodeShape):
        super().__init__()
        self.styles = nn.Linear(3, codes.count * codes.width)
        self.codes = codes

    def forward(self, source, frames):
        read = lambda pictures: self.styles(pictures.mean((-1, -2))).unflatten(-1, self.codes)
        return FaceCode(read(source).mean(1), read(frames))


class ProgressiveEncoder(GradualEncoder):
    """The same weights, read otherwise."""


class DeafEncoder(AudioEncoder):
    width = 1

    def forward(self, wave, times):
        return wave.new_zeros(len(wave), len(times), 1)


class PlainFusion(Fusion):
    def __init__(self, *, codes, speech_width):
        super().__init__()

    def forward(self, face, speech):
        return Latent(face.motion, skips=face.skips)


class MiniCritic(Critic):
    built_with = frozenset({"size"})

    def __init__(self, *, size: int):
        super().__init__()
        self.network = nn.Linear(3 * size, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters())

    def forward(self, output, clip):
        return output.frames.mean()

    def critic_loss(self, output, clip):
        return self.network.weight.sum(), {}


def generator_of(weights: PublicWeights):
    """{'g', 'd', 'g_ema', 'args'} and {'g_ema', 'latent_avg'}: size and multiplier by the numbers, as there is no option."""
    generator = weights.networks.get("g_ema", {})
    if "style.weight" not in generator:
        return {}, {}
    tensors = {name.replace("style", "generator.mapping").replace("convs", "generator.conv"): tensor
               for name, tensor in generator.items() if name != "noise"}
    tensors |= {f"critic.{name}": tensor for name, tensor in weights.networks.get("d", {}).items()}
    size = len(generator["noise"])
    if "latent_avg" in weights.beside:
        tensors["latent_avg"] = weights.beside["latent_avg"].expand(2 * size.bit_length() - 4, -1)
    return tensors, {"size": size, "decoder.options.channel_multiplier": len(generator["convs.weight"]) // 4}


def inversion_of(weights: PublicWeights):
    """{'state_dict': encoder.*, 'opts', 'latent_avg'}: two kinds of encoder with the same names."""
    kind = {"Gradual": "gradual", "Progressive": "progressive"}.get(weights.options.get("encoder_type"))
    if kind is None:
        return {}, {}
    return weights.tensors, {"size": weights.options["output_size"], "visual_encoder.name": kind}


RECIPE = {
    "name": "mini", "description": "x", "visual_encoder": "gradual", "audio_encoder": "deaf", "fusion": "plain",
    "decoder": "mini", "size": 16, "losses": {"gan": "mini"},
    "public_files": [
        {"files": ["generator.pt"], "translate": f"{__name__}:generator_of", "licence": "L", "source": "S",
         "fills": {"generator.": "decoder.", "latent_avg": "decoder.mean", "critic.": "losses.gan.network."}},
        {"files": ["inversion.pt"], "translate": f"{__name__}:inversion_of", "licence": "L", "source": "S",
         "fills": {"encoder.": "visual_encoder.", "decoder.": "decoder."}}],
}


@pytest.fixture(scope="module", autouse=True)
def offered():
    with ExitStack() as stack:
        for kind, targets in {"decoder": {"mini": MiniDecoder}, "audio_encoder": {"deaf": DeafEncoder},
                              "visual_encoder": {"gradual": GradualEncoder, "progressive": ProgressiveEncoder},
                              "fusion": {"plain": PlainFusion}, "loss": {"mini": MiniCritic}}.items():
            stack.enter_context(registry.offering(kind, **targets))
        yield


@pytest.fixture
def mini() -> Recipe:
    return Recipe.from_dict(RECIPE)


def write_generator(path, size=16, multiplier=2, mean=False, critic=False) -> dict:
    torch.manual_seed(3)
    made = {"style.weight": torch.randn(WIDTH, WIDTH), "style.bias": torch.randn(WIDTH),
            "convs.weight": torch.randn(4 * multiplier, WIDTH), "convs.bias": torch.randn(4 * multiplier),
            "noise": torch.zeros(size)}
    content = {"g_ema": made, "g": {name: value + 1 for name, value in made.items()},
               "args": argparse.Namespace(size=size)}
    if critic:
        content["d"] = nn.Linear(3 * size, 1).state_dict()
    if mean:
        content["latent_avg"] = torch.randn(WIDTH)
    torch.save(content, path)
    return content


def write_inversion(path, size=16, kind="Gradual", **decoder) -> dict:
    torch.manual_seed(4)
    codes = 2 * size.bit_length() - 4
    state = {"encoder.styles.weight": torch.randn(codes * WIDTH, 3), "encoder.styles.bias": torch.randn(codes * WIDTH),
             **{f"decoder.{name}": torch.randn_like(value) for name, value in decoder.items()}}
    torch.save({"state_dict": state, "opts": {"output_size": size, "encoder_type": kind}}, path)
    return state


def test_a_training_file_fills_decoder_and_critic_and_the_mean_is_computed(tmp_path, mini):
    content = write_generator(tmp_path / "x.pt", critic=True)
    model, losses = build_model(mini), build_losses(mini)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    told = fill(model, losses, mini, tmp_path / "x.pt")
    assert torch.equal(torch.rand(3), expected), "training draws the same numbers whether a mean was computed or not"
    assert "Filled decoder, losses.gan from" in told
    assert "It has no mean latent; that was computed from its mapping network. Licence: L." in told
    assert torch.equal(model.decoder.mapping.weight, content["g_ema"]["style.weight"])
    assert torch.equal(losses.gan.network.weight, content["d"]["weight"])
    # The mean of W x + b over x of mean nought is b.
    torch.testing.assert_close(model.decoder.mean, content["g_ema"]["style.bias"].expand(6, -1), atol=0.3, rtol=0)


def test_a_converted_file_brings_its_mean(tmp_path, mini):
    content = write_generator(tmp_path / "x.pt", mean=True)
    model = build_model(mini)
    assert "mean latent" not in fill(model, {}, mini, tmp_path / "x.pt")
    assert torch.equal(model.decoder.mean, content["latent_avg"].expand(6, -1))


def test_one_file_after_the_other_fills_the_whole(tmp_path, mini):
    content = write_generator(tmp_path / "g.pt", mean=True)
    state = write_inversion(tmp_path / "e.pt")
    model, losses = build_model(mini), build_losses(mini)
    assert "Filled decoder from" in fill(model, losses, mini, tmp_path / "g.pt")
    assert "Filled visual_encoder from" in fill(model, losses, mini, tmp_path / "e.pt")
    assert torch.equal(model.decoder.mean[0], content["latent_avg"])
    assert torch.equal(model.visual_encoder.styles.weight, state["encoder.styles.weight"])


@pytest.mark.parametrize("size, multiplier, theirs, ours, flags", [
    (32, 2, "size 32", "size 16", "--set size=32"),
    (16, 1, "decoder.options.channel_multiplier 1", "decoder.options.channel_multiplier 2",
     "--set decoder.options.channel_multiplier=1"),
    (32, 1, "size 32, decoder.options.channel_multiplier 1", "size 16, decoder.options.channel_multiplier 2",
     "--set size=32 --set decoder.options.channel_multiplier=1"),
])
def test_another_size_or_multiplier_is_refused_naming_both(tmp_path, mini, size, multiplier, theirs, ours, flags):
    write_generator(tmp_path / "x.pt", size, multiplier)
    model = build_model(mini)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadWeights, match=rf"x.pt is generator.pt of recipe 'mini' with {theirs}; this one has {ours}. "
                                         rf"Pass a file made for it, or {flags}\.$"):
        fill(model, build_losses(mini), mini, tmp_path / "x.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_kind_of_the_same_names_is_refused_naming_both(tmp_path, mini):
    write_inversion(tmp_path / "x.pt", kind="Progressive")
    with pytest.raises(BadWeights, match=r"with visual_encoder.name progressive; this one has visual_encoder.name gradual. "
                                         r"Pass a file made for it, or --encoder progressive\.$"):
        fill(build_model(mini), {}, mini, tmp_path / "x.pt")


def progressive_of(weights: PublicWeights):
    """An inversion as the other encoder may take it too."""
    tensors, settings = inversion_of(weights)
    return tensors, settings and {**settings, "visual_encoder.name": "progressive"}


@pytest.mark.parametrize("kind", ["gradual", "progressive"])
def test_of_several_ways_to_take_a_file_the_recipe_s_own_is_taken(tmp_path, mini, kind):
    content = mini.with_part("visual_encoder", kind).to_dict()
    content["public_files"].append({**content["public_files"][1], "translate": f"{__name__}:progressive_of"})
    recipe = Recipe.from_dict(content)
    write_inversion(tmp_path / "x.pt")
    assert "Filled visual_encoder from" in fill(build_model(recipe), {}, recipe, tmp_path / "x.pt")


def test_the_recipe_follows_the_file_when_nothing_is_trained(tmp_path, mini):
    decoder = MiniDecoder(size=32, channel_multiplier=1)
    state = write_inversion(tmp_path / "x.pt", 32, "Progressive", **decoder.state_dict())
    recipe = mini.with_setting("decoder.options.channel_multiplier", "1")
    model, match = load_public(tmp_path / "x.pt", recipe)
    assert isinstance(model.visual_encoder, ProgressiveEncoder)
    assert (match.recipe.size, model.decoder.size) == (32, 32)
    assert torch.equal(model.decoder.mean, state["decoder.mean"])
    assert match.notice.startswith("Filled decoder, visual_encoder from")


def test_the_installed_recipe_and_its_settings_are_found(tmp_path, mini, monkeypatch, installed):
    (tmp_path / "minis").mkdir()
    named = {**RECIPE, "visual_encoder": "progressive"}
    for name, recipe in (("other", {**named, "decoder": "tiny"}), ("mini", named)):
        (tmp_path / "minis" / f"{name}.yaml").write_text(Recipe.from_dict({**recipe, "name": name}).dump())
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("mini-package", "fctfg.recipes", other="minis:other.yaml", mini="minis:mini.yaml")
    write_inversion(tmp_path / "x.pt", 64, **MiniDecoder(size=64).state_dict())
    model, match = load_public(tmp_path / "x.pt")
    assert (match.recipe.name, match.recipe.size, match.recipe.visual_encoder.name) == ("mini", 64, "gradual")
    assert model.decoder.codes == (10, WIDTH)
    write_generator(tmp_path / "g.pt", critic=True)
    with pytest.raises(BadWeights, match=r"leaves \d+ weights of the model unset \(visual_encoder.styles.weight"):
        load_public(tmp_path / "g.pt")


def test_a_critic_is_left_out_where_nothing_is_trained_and_refused_alone(tmp_path, mini):
    write_generator(tmp_path / "x.pt", critic=True)
    assert "Filled decoder from" in fill(build_model(mini), {}, mini, tmp_path / "x.pt")
    only = Recipe.from_dict({**RECIPE, "public_files": [{**RECIPE["public_files"][0],
                                                         "translate": f"{__name__}:critic_of"}]})
    with pytest.raises(BadWeights, match="weights of the loss 'gan', which draw no face"):
        load_public(tmp_path / "x.pt", only)


def critic_of(weights: PublicWeights):
    tensors, _ = generator_of(weights)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("critic.")}, {}


@pytest.mark.parametrize("change, problem", [
    (lambda state: state.pop("encoder.styles.bias"), r"1 keys are missing \(visual_encoder.styles.bias\)"),
    (lambda state: state.update({"encoder.x": torch.ones(1)}), r"1 keys are surplus \(visual_encoder.x\)"),
    (lambda state: state.update({"stray": torch.ones(1)}), r"1 keys are surplus \(stray\)"),
])
def test_a_translated_file_is_held_to_its_keys_too(tmp_path, mini, change, problem):
    state = write_inversion(tmp_path / "x.pt")
    change(state)
    torch.save({"state_dict": state, "opts": {"output_size": 16, "encoder_type": "Gradual"}}, tmp_path / "x.pt")
    with pytest.raises(BadWeights, match=rf"x.pt looks like inversion.pt of recipe 'mini', but {problem}"):
        fill(build_model(mini), {}, mini, tmp_path / "x.pt")


def test_what_no_translation_knows_lists_what_would_do(tmp_path, mini):
    torch.save({"first": {"a": torch.ones(1)}, "second": {"a": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(BadWeights, match="x.pt holds more than one network, none of which is known: first, second"):
        recognise(read_weights(tmp_path / "x.pt"), [mini])
    torch.save({"a": torch.ones(1)}, tmp_path / "y.pt")
    with pytest.raises(BadWeights, match=r"unknown network. Known files: generator.pt, inversion.pt \(recipe mini\)"):
        recognise(read_weights(tmp_path / "y.pt"), [mini])


def test_a_translation_that_cannot_be_imported_hides_no_other(tmp_path, mini):
    broken = Recipe.from_dict({**RECIPE, "name": "broken", "public_files": [
        {**RECIPE["public_files"][0], "translate": "no_such_package.at_all:x"}]})
    write_generator(tmp_path / "x.pt")
    assert recognise(read_weights(tmp_path / "x.pt"), [broken, mini]).recipe.name == "mini"


def test_an_option_that_is_not_named_is_the_plugin_s_default(mini):
    assert setting_of(mini, "decoder.options.channel_multiplier") == 2
    assert setting_of(with_settings(mini, {"decoder.options.channel_multiplier": 1, "losses.absent.options.x": 3}),
                      "decoder.options.channel_multiplier") == 1


@pytest.mark.parametrize("recipe", [r for r in recipes() if any(f.translate for f in r.public_files)], ids=lambda r: r.name)
def test_installed_translations_know_their_own_files_only(recipe, tmp_path):
    """A file of another kind is answered with nothing, not with an error: others are still to be asked."""
    torch.save({"a": torch.ones(1)}, tmp_path / "flat.pt")
    torch.save({"state_dict": {"a": torch.ones(1)}, "opts": {"x": 1}}, tmp_path / "opts.pt")
    torch.save({"g_ema": {"a": torch.ones(1)}, "d": {"b": torch.ones(2)}, "latent_avg": torch.ones(2)}, tmp_path / "g.pt")
    for file in recipe.public_files:
        if file.translate:
            module, _, name = file.translate.partition(":")
            assert callable(getattr(import_module(module), name)), "a misspelt translation would know no file"
    for path in ("flat.pt", "opts.pt", "g.pt"):
        assert not _likely(read_weights(tmp_path / path), [recipe]), path


def test_of_two_ways_to_read_a_file_the_recipe_s_own_is_taken(tmp_path, mini):
    """HyperStyle begins with an encoder of pSp, and pSp is one: the same file fills either."""
    write_inversion(tmp_path / "x.pt")
    other = {**RECIPE["public_files"][1], "files": ["other.pt"], "translate": f"{__name__}:always_progressive"}
    both = Recipe.from_dict({**RECIPE, "public_files": [other, *RECIPE["public_files"]]})
    for recipe, own in ((both, "inversion.pt"), (both.with_part("visual_encoder", "progressive"), "other.pt")):
        assert f": {own} of recipe" in fill(build_model(recipe), {}, recipe, tmp_path / "x.pt")


def always_progressive(weights: PublicWeights):
    tensors, settings = inversion_of(weights)
    return tensors, {**settings, "visual_encoder.name": "progressive"} if tensors else {}


def test_a_translation_that_refuses_hides_no_other(tmp_path, mini):
    refusing = {**RECIPE["public_files"][1], "files": ["refused.pt"], "translate": f"{__name__}:refuse"}
    write_inversion(tmp_path / "x.pt")
    both = Recipe.from_dict({**RECIPE, "public_files": [refusing, *RECIPE["public_files"]]})
    assert ": inversion.pt of recipe" in fill(build_model(both), {}, both, tmp_path / "x.pt")
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "y.pt")
    with pytest.raises(BadWeights, match="y.pt is an encoder of maps"):
        fill(build_model(both), {}, both, tmp_path / "y.pt")


def refuse(weights: PublicWeights):
    raise BadWeights(f"{weights.path} is an encoder of maps.")
