"""Sets of checkpoints as GANimation and IETaFS name them, and the files of their dialects."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fctfg.checkpoints import PublicWeights, load_public
from fctfg.checkpoints.sets import fill_from_set, load_set, read_set, write_checkpoint_set
from fctfg.data.noise import random_clip
from fctfg.errors import BadRun, BadWeights
from fctfg.interfaces import Latent
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.runs import Run
from fctfg.trainer import build_losses, start
from fctfg_plugins.ganimation import public

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """IETaFS at 64 px with narrow networks, of the depth that their code has."""
    content = Recipe.find("ietafs").to_dict()
    content["size"] = 64
    content["decoder"]["options"]["g_conv_dim"] = 2
    content["audio_encoder"]["options"]["scale"] = content["losses"]["av-contrast"]["options"]["scale"] = 1 / 16
    content["losses"]["ganimation"]["options"]["d_conv_dim"] = 2
    return Recipe.from_dict(content)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory) -> Run:
    made = Run.create(recipe, tmp_path_factory.mktemp("runs") / "one")
    made.export(build_model(recipe), build_losses(recipe), 2000)
    return made


def tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items() if torch.is_tensor(value)}


def other(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"seed": 7})


class TestWriting:
    def test_what_is_written_fills_another_model(self, recipe, run, tmp_path):
        written = write_checkpoint_set(run.path, tmp_path, epoch=30)
        assert [path.name for path in written] == [f"30-2000-{network}.ckpt" for network in
                                                   ("G", "D", "AU", "audionet", "videonet")]
        assert not list(tmp_path.glob(".*"))
        model, losses = build_model(other(recipe)), build_losses(other(recipe))
        del losses["av-contrast"]  # of a critic that is not there, nothing is wanted
        notices = start(model, losses, recipe, tmp_path).splitlines()
        assert len(notices) == 3 and all("Licence: None" in notice for notice in notices)
        written = tensors(build_model(recipe)), tensors(build_losses(recipe)["ganimation"])
        for filled, wanted in zip((tensors(model), tensors(losses["ganimation"])), written):
            for key, value in wanted.items():
                torch.testing.assert_close(filled[key], value, rtol=0, atol=0)

    def test_their_code_finds_every_key_that_it_has(self, recipe, run, tmp_path):
        """In their order, with the shapes of their network, but for its width."""
        path = write_checkpoint_set(run.path, tmp_path)[0]
        state = torch.load(path, weights_only=True)
        theirs = json.loads((GOLDEN / "ganimation_g" / "keys.json").read_text(encoding="utf-8"))
        assert [[key, value.dim(), str(value.dtype).removeprefix("torch.")] for key, value in state.items()] == [
            [key, len(shape), kind] for key, shape, kind in theirs]
        module = torch.nn.Module()  # whatever metadata a file has, loading is strict and silent
        module.register_buffer("main", torch.zeros(1))
        named = OrderedDict(main=torch.ones(1))
        named._metadata = state._metadata
        module.load_state_dict(named)

    def test_a_run_without_such_networks_is_refused(self, tmp_path):
        tiny = Recipe.find("tiny")
        made = Run.create(tiny, tmp_path / "run")
        made.export(build_model(tiny), build_losses(tiny), 1)
        with pytest.raises(BadRun, match="recipe 'ietafs'"):
            write_checkpoint_set(made.path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def empty_set(folder: Path, *names: str) -> Path:
    for name in names:
        torch.save({"weight": torch.zeros(1)}, folder / f"{name}.ckpt")
    return folder


class TestReading:
    def test_both_orders_are_read(self, tmp_path):
        names = [(3, 1001), (25, 2001), (7, 4001)]
        for order in (1, -1):
            folder = tmp_path / str(order)
            folder.mkdir()
            empty_set(folder, *("-".join([*map(str, pair[::order]), "G"]) for pair in names))
            assert read_set(folder)[:2] == (25, 2001)  # iterations begin anew in each epoch of their code
            assert read_set(folder, resume_iters=4001)[:2] == (7, 4001)
            assert read_set(folder, first_epoch=3)[:2] == (3, 1001)

    def test_what_is_asked_for_says_which_order_it_is(self, tmp_path):
        empty_set(tmp_path, "5-3-G", "2-9-G")
        assert read_set(tmp_path, resume_iters=5, first_epoch=3)[:2] == (3, 5)
        assert read_set(tmp_path, resume_iters=3, first_epoch=5)[:2] == (5, 3)

    def test_what_the_files_say_counts_before_their_names(self, run, tmp_path):
        older, newer = (write_checkpoint_set(run.path, tmp_path, epoch=epoch)[0] for epoch in (1, 2))
        os.replace(older, tmp_path / "9-9999-G.ckpt")
        found = read_set(tmp_path)
        assert found.files["G"] == newer and found[:2] == (2, 2000)
        assert found.files["D"].name == "2-2000-D.ckpt"

    def test_networks_of_other_moments_are_the_newest_of_their_kind(self, tmp_path):
        empty_set(tmp_path, "2001-25-G", "1001-25-G", "2001-25-D", "1001-25-D", "990-299-AU", "990-150-AU", "2001-25-G_optim")
        found = read_set(tmp_path)
        assert {network: path.name for network, path in found.files.items()} == {
            "G": "2001-25-G.ckpt", "D": "2001-25-D.ckpt", "AU": "990-299-AU.ckpt"}

    def test_what_is_not_there_is_said(self, tmp_path):
        with pytest.raises(BadWeights, match="no files such as"):
            read_set(tmp_path)
        empty_set(tmp_path, "30-2000-G")
        with pytest.raises(BadWeights, match="resume_iters 2001; there are 30-2000-G.ckpt"):
            read_set(tmp_path, resume_iters=2001)
        with pytest.raises(BadWeights, match="not a folder"):
            read_set(tmp_path / "30-2000-G.ckpt")


def weights(state: dict[str, Tensor]) -> PublicWeights:
    return PublicWeights(Path("file.pth"), state, "torch.save")


class TestDialects:
    """Each file is written by hand as the repositories name and shape theirs."""

    def reference(self, recipe: Recipe, biases: bool) -> torch.nn.ModuleDict:
        """A generator of torch's own layers; with `biases` and norms without weights, or the other way round."""
        nn = torch.nn

        def block(kind, *shape):
            return [kind(*shape, bias=biases), nn.InstanceNorm2d(shape[1], affine=not biases), nn.ReLU()]

        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv_block = nn.Sequential(*block(nn.Conv2d, 8, 8, 3, 1, 1), *block(nn.Conv2d, 8, 8, 3, 1, 1)[:2])

            def forward(self, x):
                return x + self.conv_block(x)

        torch.manual_seed(3)
        trunk = nn.Sequential(*block(nn.Conv2d, 20, 2, 7, 1, 3), *block(nn.Conv2d, 2, 4, 4, 2, 1),
                              *block(nn.Conv2d, 4, 8, 4, 2, 1), *(Residual() for _ in range(6)),
                              *block(nn.ConvTranspose2d, 8, 4, 4, 2, 1), *block(nn.ConvTranspose2d, 4, 2, 4, 2, 1))
        return nn.ModuleDict({"trunk": trunk, "colour": nn.Sequential(nn.Conv2d(2, 3, 7, 1, 3, bias=False)),
                              "attention": nn.Sequential(nn.Conv2d(2, 1, 7, 1, 3, bias=False))})

    @pytest.mark.parametrize("prefixes, biases", [(("main.", "im_reg.", "im_att."), False),
                                                  (("main.", "img_reg.", "attetion_reg."), False),
                                                  (("model.", "color_top.", "au_top."), True)])
    def test_generators_draw_as_they_should(self, recipe, prefixes, biases):
        theirs = self.reference(recipe, biases)
        state = {prefix + key: value for prefix, part in zip(prefixes, theirs.values())
                 for key, value in part.state_dict().items()}
        if prefixes[1] == "im_reg.":
            state |= {"main.1.running_mean": torch.ones(2), "debug1.0.weight": torch.zeros(2, 20, 7, 7)}
        found, settings = public.generator(weights(state))
        assert settings == {"decoder.options.g_conv_dim": 2, "decoder.options.g_repeat": 6}
        decoder = build_model(recipe).decoder
        decoder.load_state_dict({key.removeprefix("generator."): value for key, value in found.items()})
        pictures, units = torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 17)
        with torch.no_grad():
            x = theirs["trunk"](torch.cat([pictures, units[..., None, None].expand(-1, -1, 64, 64)], 1))
            colour, attention = theirs["colour"](x).tanh(), theirs["attention"](x).sigmoid()
            drawn, alpha = decoder(Latent(units[:, None, None], skips=(pictures[:, None],)))
        torch.testing.assert_close(drawn[:, 0], (1 - attention) * colour + attention * pictures, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("prefixes", [("main.", "conv1.", "conv2."), ("model.", "dis_top.", "aus_top.")])
    def test_critics_are_read_and_say_their_size(self, recipe, prefixes):
        network = build_losses(recipe)["ganimation"].network
        ours = ("main.", "conv1.", "conv2.")
        state = {theirs + key.removeprefix(mine): value for mine, theirs in zip(ours, prefixes)
                 for key, value in network.state_dict().items() if key.startswith(mine)}
        found, settings = public.critic(weights(state))
        assert settings == {"size": 64, "losses.ganimation.options.d_conv_dim": 2, "losses.ganimation.options.d_repeat": 6}
        for key, value in network.state_dict().items():
            torch.testing.assert_close(found[f"critic.{key}"], value)

    def test_files_of_other_kinds_are_passed_over_and_other_action_units_named(self, recipe):
        assert public.generator(weights({"main.0.weight": torch.zeros(4, 3, 4, 4)})) == ({}, {})
        critic = {"main.0.weight": torch.zeros(4, 3, 4, 4), "main.0.bias": torch.zeros(4),
                  "conv1.weight": torch.zeros(1, 4, 3, 3), "conv2.weight": torch.zeros(5, 4, 2, 2)}
        assert public.generator(weights(critic)) == ({}, {})
        with pytest.raises(BadWeights, match="5 action units"):
            public.critic(weights(critic))


class TestModels:
    def test_a_set_is_a_model_that_hears_where_it_has_an_au(self, recipe, run, tmp_path):
        written = {path.name.split("-")[-1]: path for path in write_checkpoint_set(run.path, tmp_path)}
        model, found, notices = load_set(tmp_path)
        assert (found.name, len(notices)) == ("ietafs", 2) and found.decoder.options["g_conv_dim"] == 2
        for key, value in tensors(build_model(recipe)).items():
            torch.testing.assert_close(tensors(model)[key], value, rtol=0, atol=0)
        written["AU.ckpt"].unlink()
        model, found, _ = load_set(tmp_path)
        assert found.name == "ganimation"
        clip = random_clip(128, frames=2, clips=1)
        with torch.no_grad():
            assert model(clip).frames.shape == (1, 2, 3, 128, 128)

    def test_one_file_of_g_is_enough_to_draw_what_is_given(self, run, tmp_path):
        path = write_checkpoint_set(run.path, tmp_path)[0]
        model, match = load_public(path)
        assert match.recipe.name == "ganimation" and not list(model.audio_encoder.parameters())
