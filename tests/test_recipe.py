from __future__ import annotations

import pytest

from fctfg.errors import BadRecipe
from fctfg.recipe import Condition, Recipe

MINIMAL = dict(name="r", visual_encoder="tiny", audio_encoder="tiny", fusion="add", decoder="tiny", losses={"l1": None},
               stages=[dict(name="only", steps=2, train=["decoder"], losses={"l1": 1})])


def test_yaml_round_trip_is_the_same_recipe(tmp_path):
    recipe = Recipe.find("tiny")
    (tmp_path / "r.yaml").write_text(recipe.dump())
    assert Recipe.load(tmp_path / "r.yaml") == recipe


@pytest.mark.parametrize("change, message", [
    ({"sise": 3}, r"unknown key 'sise'. Did you mean 'size'\? Known: name, "),
    ({"size": "big"}, "size: Input should be a valid integer"),
    ({"stages": [dict(name="a", steps=1, train=["decoder"], losses={"l1": 1}, lrr=2)]},
     r"unknown key 'stages.0.lrr'. Did you mean 'lr'\?"),
    ({"stages": [dict(name="a", steps=1, train=["decoder"], losses={"l2": 1})]}, r"weighs losses \['l2'\]; the recipe has \['l1'\]"),
    ({"stages": [dict(name="a", steps=1, train=["mouth"], losses={"l1": 1})]}, r"trains parts \['mouth'\]"),
    ({"stages": [dict(name="a", steps=1)]}, "stage 'a' trains nothing"),
    ({"stages": [dict(name="a", steps=1, train=["decoder"], losses={"l1": 0})]}, "no loss of weight above 0"),
    ({"stages": [dict(name="a", steps=1, critics=["l1"], until="l1 under 3")]}, "is not a condition; write one like"),
    ({"decoder": None}, "decoder"),
])
def test_a_bad_recipe_is_one_line_that_says_what_would_work(change, message):
    with pytest.raises(BadRecipe, match=message) as caught:
        Recipe.from_dict({**MINIMAL, **change})
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(BadRecipe, match="the key 'decoder' is missing"):
        Recipe.from_dict({key: value for key, value in MINIMAL.items() if key != "decoder"})


def test_a_file_that_is_no_recipe(tmp_path):
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(BadRecipe, match="is not a recipe"):
        Recipe.load(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(BadRecipe, match="is not YAML"):
        Recipe.load(tmp_path / "broken.yaml")
    with pytest.raises(BadRecipe, match="cannot be read"):
        Recipe.load(tmp_path / "absent.yaml")


def test_settings_reach_stages_by_number_and_by_name():
    recipe = Recipe.from_dict(MINIMAL)
    assert recipe.with_setting("stages.0.lr", "1e-3").stages[0].lr == 1e-3
    assert recipe.with_setting("stages.only.lr", "0.002").stages[0].lr == 0.002
    assert recipe.with_setting("decoder.options.width", "3").decoder.options == {"width": 3}
    with pytest.raises(BadRecipe, match=r"no 'onyl'; there are only"):
        recipe.with_setting("stages.onyl.lr", "1")
    with pytest.raises(BadRecipe, match=r"no key 'stepz'. Did you mean 'steps'\?"):
        recipe.with_setting("stages.0.stepz", "1")


def test_a_swapped_part_leaves_its_options_behind():
    recipe = Recipe.from_dict({**MINIMAL, "decoder": {"name": "tiny", "options": {"width": 3}}})
    assert recipe.with_part("decoder", "other").decoder.options == {}
    assert recipe.with_part("decoder", "tiny").decoder.options == {"width": 3}


def test_a_loss_is_added_to_the_stages_that_train_parts():
    recipe = Recipe.find("tiny").with_loss("sync", 0.5)
    assert [stage.losses["sync"].weight for stage in recipe.stages] == [0.5, 0.5]
    assert recipe.losses["sync"].name == "sync"


@pytest.mark.parametrize("text, scalars, holds", [
    ("eval/sync < 0.75", {"eval/sync": 0.7}, True),
    ("eval/sync < 0.75", {"eval/sync": 0.8}, False),
    ("eval/sync < 0.75", {}, False),
    ("eval/sync<7.5e-1", {"eval/sync": 0.7}, True),
    ("accuracy > 0.9", {"accuracy": 0.95}, True),
])
def test_conditions(text, scalars, holds):
    assert Condition.model_validate(text).holds(scalars) is holds


def test_the_recipe_with_the_most_of_the_parts_is_taken():
    assert Recipe.suiting({"visual_encoder": "warp", "decoder": "tiny", "fusion": "warp"}, "wav2lip").name == "warp"
    assert Recipe.suiting({"visual_encoder": "nobody's"}, "wav2lip").name == "wav2lip"
    assert Recipe.suiting({}, "tiny").name == "tiny"


@pytest.mark.parametrize("text, value", [("1e-3", 1e-3), ("-2E5", -2e5), (".5e1", 5.0), ("1.0e-3", 1e-3), ("7", 7), ("1e", "1e")])
def test_numbers_are_numbers_however_they_are_written(text, value):
    changed = Recipe.find("tiny").with_setting("losses.gan.options.lr", text).losses["gan"].options["lr"]
    assert changed == value and type(changed) is type(value)
