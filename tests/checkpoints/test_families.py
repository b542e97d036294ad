"""Public files are told apart by content, fill what they are for, or are refused with those that would do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fctfg import registry
from fctfg.checkpoints import PublicWeights, fill, load_public, recognise
from fctfg.checkpoints.families import recipes
from fctfg.errors import BadWeights
from fctfg.model import build_model
from fctfg.recipe import Recipe

GOLDEN = Path(__file__).parents[1] / "golden"

SMALL = {
    "name": "small",
    **{part: {"name": name, "options": {"scale": 1 / 16}} for part, name in (
        ("visual_encoder", "wav2lip"), ("audio_encoder", "wav2lip"), ("decoder", "wav2lip"))},
    "fusion": "speech",
    "size": 96,
    "losses": {"sync": {"name": "sync", "options": {"scale": 1 / 16}}},
    "public_files": Recipe.find("wav2lip").to_dict()["public_files"][:2],
}


@pytest.fixture(scope="module")
def small() -> Recipe:
    return Recipe.from_dict(SMALL)


@pytest.fixture(scope="module")
def other(small) -> Recipe:
    """Keys as in `small`, other shapes."""
    return Recipe.from_dict({**SMALL, "name": "other", **{
        part: {**SMALL[part], "options": {"scale": 1 / 8}} for part in ("visual_encoder", "audio_encoder", "decoder")}})


def losses_of(recipe: Recipe) -> nn.ModuleDict:
    return nn.ModuleDict({name: registry.build("loss", part.name, **part.options)
                          for name, part in recipe.losses.items()})


def drawn_at_random(recipe: Recipe) -> dict[str, torch.Tensor]:
    """The state dicts of the recipe's model and losses, as places name them, with weights of their own."""
    torch.manual_seed(5)
    state = {**build_model(recipe).state_dict(),
             **{f"losses.{name}": value for name, value in losses_of(recipe).state_dict().items()
                if isinstance(value, torch.Tensor)}}
    return {name: torch.randn_like(value) if value.is_floating_point() else value + 3 for name, value in state.items()}


def published(recipe: Recipe, which: int, state: dict) -> dict[str, torch.Tensor]:
    """What the public file number `which` of `recipe` would hold."""
    return {source + name.removeprefix(place): value for source, place in recipe.public_files[which].fills.items()
            for name, value in state.items() if name.startswith(place)}


@pytest.fixture(scope="module")
def state(small) -> dict[str, torch.Tensor]:
    """What the public files of `small` are made from."""
    return drawn_at_random(small)


@pytest.fixture
def files(small, tmp_path, state):
    """A generator and an expert of `small`, saved as their authors did; and what they were made from."""
    for which, name in enumerate(("generator.pth", "expert.pth")):
        network = {f"module.{key}": value for key, value in published(small, which, state).items()}
        torch.save({"state_dict": network, "optimizer": None, "global_step": 1}, tmp_path / name)
    return tmp_path, state


def test_a_generator_becomes_the_model_it_is(files, small):
    folder, state = files
    model, match = load_public(folder / "generator.pth", small)
    assert str(match) == "wav2lip.pth or wav2lip_gan.pth or Wav2Lip-SD-NOGAN.pt or Wav2Lip-SD-GAN.pt of recipe 'small'"
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert match.weights.scalars == {"global_step": 1}
    assert "non-commercial" in match.notice and "github.com/Rudrabha" in match.notice


def test_files_fill_the_model_and_the_losses_of_a_training(files, small):
    folder, state = files
    model, losses = build_model(small), losses_of(small)
    told = fill(model, losses, small, folder / "generator.pth")
    assert "Filled audio_encoder, decoder, visual_encoder from" in told and "Licence: Personal" in told
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert "Filled losses.sync from" in fill(model, losses, small, folder / "expert.pth")
    for name, value in losses.sync.network.state_dict().items():
        assert torch.equal(value, state[f"losses.sync.network.{name}"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_expert_given_for_a_generator_names_the_generators(files, small):
    with pytest.raises(BadWeights, match=r"expert.pth is lipsync_expert.pth of recipe 'small': weights of the loss "
                                         r"'sync', which draw no face. Pass one of: .*wav2lip.pth, wav2lip_gan.pth"):
        load_public(files[0] / "expert.pth", small)


def test_a_file_for_a_loss_that_is_not_trained_is_refused(files, small):
    with pytest.raises(BadWeights, match="weights of the loss 'sync'"):
        fill(build_model(small), {}, small, files[0] / "expert.pth")


def test_shapes_tell_apart_what_keys_cannot(files, small, other):
    weights = load_public(files[0] / "generator.pth", small)[1].weights
    for among in ([small, other], [other, small]):
        assert recognise(weights, among).recipe.name == "small"
    assert recognise(weights, [other]).recipe.name == "other"  # by the beginnings of its keys alone


def test_recognising_leaves_the_random_state(files, small, other):
    weights = load_public(files[0] / "generator.pth", small)[1].weights
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    recognise(weights, [other, small])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("change, problem", [
    (lambda state: [state.pop(name) for name in list(state)[:2]],
     r"2 keys are missing \(.*conv_block.0.weight, .*bias\)\.$"),
    (lambda state: state.update({"audio_encoder.extra": torch.zeros(1)}),
     r"1 keys are surplus \(audio_encoder.audio_encoder.extra\)"),
    (lambda state: state.update({"stray": torch.zeros(1)}), r"1 keys are surplus \(stray\)"),
    (lambda state: state.update({name: value[None] for name, value in list(state.items())[:9]}),
     r"9 shapes differ \(\S+: \(1, 1, 6, 7, 7\), not \(1, 6, 7, 7\), \S+: .*, \.\.\.\)"),
    (lambda state: state[next(iter(state))].fill_(float("nan")), r"1 tensors are not finite"),
])
def test_what_does_not_fit_is_counted_and_changes_nothing(tmp_path, small, state, change, problem):
    network = {name: value.clone() for name, value in published(small, 0, state).items()}
    change(network)
    torch.save(network, tmp_path / "x.pth")
    model = build_model(small)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadWeights, match="x.pth looks like wav2lip.pth or .*, but " + problem) as caught:
        fill(model, {}, small, tmp_path / "x.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_counters_of_batch_norm_may_be_absent_and_half_precision_fills(tmp_path, small, state):
    state = published(small, 0, state)
    torch.save({name: value.half() for name, value in state.items() if not name.endswith("num_batches_tracked")},
               tmp_path / "x.pth")
    model, _ = load_public(tmp_path / "x.pth", small)
    weight = model.decoder.output_block[1].weight
    assert weight.dtype == torch.float32 and torch.equal(weight, state["output_block.1.weight"].half().float())


def test_a_file_that_is_not_the_whole_model_is_refused_for_generating(tmp_path, small, state):
    decoder_only = small.model_copy(update={"public_files": (
        small.public_files[0].model_copy(update={"fills": {"face_decoder_blocks.": "decoder.face_decoder_blocks."}}),)})
    torch.save(published(decoder_only, 0, state), tmp_path / "x.pth")
    with pytest.raises(BadWeights, match=r"leaves \d+ weights of the model unset \(visual_encoder"):
        load_public(tmp_path / "x.pth", decoder_only)


def test_another_recipe_s_file_and_an_unknown_network(tmp_path, small, files):
    tiny = Recipe.find("tiny")
    for use in (lambda path: fill(build_model(tiny), losses_of(tiny), tiny, path),
                lambda path: load_public(path, tiny)):
        with pytest.raises(BadWeights, match=r"generator.pth is wav2lip.pth .* of recipe 'wav2lip', "
                                             r"not of recipe 'tiny', which takes no public file"):
            use(files[0] / "generator.pth")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "x.pth")
    with pytest.raises(BadWeights, match=r"x.pth holds 2 tensors \(weight, bias\) of an unknown network. "
                                         r"Known files: .*wav2lip.pth"):
        load_public(tmp_path / "x.pth")


def test_the_model_of_a_run_is_sent_to_its_folder(tmp_path, small):
    torch.save(build_model(small).state_dict(), tmp_path / "model.pth")
    with pytest.raises(BadWeights, match="is the model of a run; pass the folder it came from with --run"):
        load_public(tmp_path / "model.pth")


@pytest.mark.parametrize("golden, file", [
    ("wav2lip", "wav2lip_gan.pth"), ("wav2lip_syncnet", "lipsync_expert.pth"),
    ("wav2lip_disc_qual", "visual_quality_disc.pth")])
def test_the_authors_keys_are_recognised_among_all_installed_recipes(golden, file):
    keys = json.loads((GOLDEN / golden / "keys.json").read_text())
    tensors = {name: torch.zeros(shape, dtype=getattr(torch, dtype)) for name, shape, dtype in keys}
    match = recognise(PublicWeights(Path("x.pth"), tensors, "torch.save"), recipes())
    assert file in match.file.files


def test_a_recipe_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch, installed):
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty" / "broken.yaml").write_text("name: [")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("faulty-package", "fctfg.recipes", broken="faulty:broken.yaml", absent="nowhere_at_all:x.yaml")
    assert "wav2lip" in [recipe.name for recipe in recipes()]
