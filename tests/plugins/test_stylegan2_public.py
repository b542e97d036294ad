"""Public StyleGAN2 files: what their keys and shapes imply, and that they fill the decoder and its critic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fctfg.checkpoints import PublicWeights, fill, load_public
from fctfg.errors import BadWeights
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.trainer import build_losses
from fctfg_plugins.stylegan2 import StyleGAN2Decoder, filters
from fctfg_plugins.stylegan2.discriminator import Discriminator
from fctfg_plugins.stylegan2.public import translate

GOLDEN = Path(__file__).parents[1] / "golden"


def named(golden: str) -> dict[str, Tensor]:
    """Tensors of the golden's names and shapes that take no memory, with filters that are right."""
    listed = json.loads((GOLDEN / golden / "keys.json").read_text(encoding="utf-8"))
    return {key: filters.kernel(4 if "blur" in key or "upsample" in key else 1) if key.endswith(("kernel", "resample_filter"))
            else torch.zeros(()).expand(shape) for key, shape, _ in listed}


def a_file(networks: dict[str, dict[str, Tensor]], **beside: Tensor) -> PublicWeights:
    return PublicWeights(Path("x.pkl"), next(iter(networks.values())), "torch.save", networks=networks, beside=beside)


def expected_keys(size: int, multiplier: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        networks = {"generator": StyleGAN2Decoder(size=size, channel_multiplier=multiplier),
                    "critic": Discriminator(size, multiplier)}
    return {f"{name}.{key}": tuple(value.shape) for name, network in networks.items()
            for key, value in network.state_dict().items() if key != "mean"}


@pytest.mark.parametrize("generator, critic, size, multiplier", [
    ("stylegan2_g_64", "stylegan2_d_64", 64, 2), ("stylegan2_g_256", "stylegan2_d_256", 256, 2),
    ("stylegan2_g_1024", "stylegan2_d_1024", 1024, 2), ("nv_stylegan2_g_256", "nv_stylegan2_d_256", 256, 2),
    ("nv_stylegan2_g_1024", "nv_stylegan2_d_1024", 1024, 2), ("nv_stylegan2_g_256_paper256", None, 256, 1),
])
def test_size_and_widths_are_read_from_the_shapes(generator, critic, size, multiplier):
    of_nvidia = generator.startswith("nv_")
    networks = {"G" if of_nvidia else "g": {}, "G_ema" if of_nvidia else "g_ema": named(generator)}
    if critic:
        networks["D" if of_nvidia else "d"] = named(critic)
    tensors, settings = translate(a_file(networks))
    options = {"channel_multiplier": multiplier, "channel_max": 512}
    assert settings == {
        "size": size, "decoder.name": "stylegan2", "decoder.options.w_dim": 512, "decoder.options.num_mapping": 8,
        **{f"decoder.options.{name}": value for name, value in options.items()},
        **({f"losses.gan.options.{name}": value for name, value in options.items()} if critic else {})}
    held = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if of_nvidia:
        assert held.pop("latent_avg") == (2 * size.bit_length() - 4, 512)
    expected = expected_keys(size, multiplier)
    assert held == {name: shape for name, shape in expected.items() if critic or name.startswith("generator.")}


@pytest.mark.parametrize("mean", [torch.arange(512.0), torch.arange(512.0)[None], torch.arange(512.0).expand(10, 512)])
def test_a_mean_of_any_shape_has_a_row_for_each_code(mean):
    tensors, _ = translate(a_file({"g_ema": named("stylegan2_g_64")}, latent_avg=mean))
    assert torch.equal(tensors["latent_avg"], torch.arange(512.0).expand(10, 512))


def test_the_moving_average_is_taken_and_a_missing_mean_left_out():
    last, average = named("stylegan2_g_64"), named("stylegan2_g_64")
    average["to_rgb1.bias"] = torch.ones(1, 3, 1, 1)
    tensors, _ = translate(a_file({"g": last, "d": named("stylegan2_d_64"), "g_ema": average}))
    assert torch.equal(tensors["generator.to_rgb1.bias"], average["to_rgb1.bias"]) and "latent_avg" not in tensors


def test_a_file_without_noise_gets_the_same_each_time():
    old = {key: value for key, value in named("stylegan2_g_64").items() if not key.startswith("noises.")}
    first, second = (translate(a_file({"g_ema": old}))[0] for _ in range(2))
    assert torch.equal(first["generator.noises.noise_8"], second["generator.noises.noise_8"])
    assert first["generator.noises.noise_8"].shape == (1, 1, 64, 64) and first["generator.noises.noise_8"].std() > 0.9


def test_other_networks_are_none_of_its_business():
    assert translate(a_file({"state_dict": {"decoder.to_rgb1.bias": torch.zeros(1, 3, 1, 1)}})) == ({}, {})
    assert translate(PublicWeights(Path("x.pt"), {"conv.weight": torch.zeros(1)}, "torch.save")) == ({}, {})


@pytest.mark.parametrize("changed, says", [
    ({"mapping.embed.weight": torch.zeros(512, 10)}, "conditional"),
    ({"synthesis.b8.resample_filter": torch.ones(12)}, "not the filter"),
    ({"synthesis.b4.torgb.bias": None}, "it has no to_rgb1.bias"),
    ({"synthesis.b16.conv0.weight": torch.zeros(300, 512, 3, 3)}, "512 at 8 px, 300 at 16 px, .* no channel multiplier"),
])
def test_another_kind_of_stylegan2_is_refused_in_words(changed, says):
    network = {key: value for key, value in {**named("nv_stylegan2_g_256"), **changed}.items() if value is not None}
    with pytest.raises(BadWeights, match=f"x.pkl is a StyleGAN2 that is not drawn here: .*{says}"):
        translate(a_file({"G_ema": network}))


class TestFilling:
    """From a file on the disk, through the recipe that names it, into the decoder and the critic."""

    WIDTHS = {"channel_max": 4}

    def recipe(self, size: int = 8, **options) -> Recipe:
        return Recipe.from_dict({
            "name": "x", "visual_encoder": "tiny", "audio_encoder": "tiny", "fusion": "add", "size": size,
            "decoder": {"name": "stylegan2", "options": {"w_dim": 5, "num_mapping": 2, **self.WIDTHS, **options}},
            "losses": {"gan": {"name": "stylegan2-gan", "options": self.WIDTHS}},
            "public_files": [{"files": ["x.pt"], "licence": "none", "source": "here",
                              "translate": "fctfg_plugins.stylegan2.public:translate",
                              "fills": {"generator.": "decoder.", "critic.": "losses.gan.network.",
                                        "latent_avg": "decoder.mean"}}]})

    @pytest.fixture
    def networks(self) -> dict[str, dict[str, Tensor]]:
        torch.manual_seed(0)
        generator = StyleGAN2Decoder(size=8, w_dim=5, num_mapping=2, **self.WIDTHS).state_dict()
        del generator["mean"]
        return {"g": generator, "g_ema": generator, "d": Discriminator(8, **self.WIDTHS).state_dict()}

    def test_a_training_file_fills_both_and_its_mean_is_computed(self, networks, tmp_path):
        torch.save(networks, tmp_path / "x.pt")
        recipe = self.recipe()
        model, losses = build_model(recipe), build_losses(recipe)
        notice = fill(model, losses, recipe, tmp_path / "x.pt")
        assert "no mean latent" in notice
        held = model.decoder.state_dict()
        assert torch.equal(held.pop("mean"), model.decoder.estimate_mean()) and model.decoder.mean.any()
        assert all(torch.equal(held[key], value) for key, value in networks["g_ema"].items())
        critic = losses["gan"].network.state_dict()
        assert all(torch.equal(critic[key], value) for key, value in networks["d"].items())

    def test_a_mean_in_the_file_is_kept(self, networks, tmp_path):
        torch.save({"g_ema": networks["g_ema"], "latent_avg": torch.arange(5.0)}, tmp_path / "x.pt")
        recipe = self.recipe()
        model = build_model(recipe)
        fill(model, build_losses(recipe), recipe, tmp_path / "x.pt")
        assert torch.equal(model.decoder.mean, torch.arange(5.0).expand(4, 5))

    @pytest.mark.parametrize("size, options, says", [(16, {}, "size 8.*size 16"),
                                                     (8, {"channel_max": 3}, "channel_max 4.*channel_max 3")])
    def test_another_size_or_width_is_refused_naming_both(self, networks, tmp_path, size, options, says):
        torch.save(networks, tmp_path / "x.pt")
        recipe = self.recipe(size, **options)
        with pytest.raises(BadWeights, match=says):
            fill(build_model(recipe), build_losses(recipe), recipe, tmp_path / "x.pt")

    def test_it_is_no_whole_model(self, networks, tmp_path):
        torch.save(networks, tmp_path / "x.pt")
        with pytest.raises(BadWeights, match="leaves .* weights of the model unset"):
            load_public(tmp_path / "x.pt", self.recipe())
