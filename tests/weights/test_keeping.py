"""Listing, checking and importing, by the commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import save_file

from fctfg import registry
from fctfg.checkpoints import read_weights
from fctfg.cli import main
from fctfg.errors import BadWeights
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.weights import find, how_to_get, located, need
from fctfg.weights.cards import known, read_cards

NAME = "mine.safetensors"


def run(*arguments, **options):
    return CliRunner().invoke(main, ["weights", *map(str, arguments)], **options)


def refusal(*arguments, **options) -> str:
    done = run(*arguments, **options)
    last = done.output.strip().splitlines()[-1]
    assert done.exit_code == 1 and last.startswith("Error: "), done.output
    return last


def test_the_list_says_of_each_file_what_is_known(offered, shelf, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    offered(url="https://example.org/mine/file")
    rows = {row["name"]: row for row in json.loads(run("list", "--json").output)}
    mine = rows[NAME]
    assert mine["url"] == "https://example.org/mine/file" and mine["licence"] == "For tests only" and mine["path"] is None
    expert = rows["lipsync_expert.pth"]
    assert {"loss sync", "recipe wav2lip", "recipe sync-expert", "recipe fc-tfg"} <= set(expert["used_by"])
    assert expert["url"] is expert["size"] is expert["sha256"] is None and "2008.10010" in expert["paper"]
    assert rows["mmod_human_face_detector.dat"]["path"].endswith("models/mmod_human_face_detector.dat")
    table = run("list").output
    assert all(name in table for name in rows)
    one = run("list", "LIPSYNC_expert.pth").output
    assert "size     not published" in one and "link     none known" in one and "used by  loss sync" in one
    assert {row["name"] for row in json.loads(run("list", "--here", "--json").output)} == \
        {row["name"] for row in rows.values() if row["path"]}


def test_every_file_that_a_bundled_recipe_reads_has_a_card_and_every_card_is_whole():
    for plugin in registry.plugins("weights"):
        assert plugin.problem() is None and read_cards(plugin.path())
    for card in known():
        assert card.purpose and card.licence and card.source.startswith("http") and card.form and card.used_by, card.name
        assert not card.purpose.endswith("."), card.name
        for user in card.used_by:
            kind, _, name = user.rpartition(" ")
            registry.find(kind.replace(" ", "_"), name)
        assert (card.pip is None) == (card.package is None)
        assert card.in_package() or not card.package, card.name


def test_listing_imports_neither_torch_nor_a_plugin():
    code = ("import sys; from click.testing import CliRunner; from fctfg.cli import main\n"
            "assert CliRunner().invoke(main, ['weights', 'list']).exit_code == 0\n"
            "loaded = {'torch', 'fctfg_plugins.perceptual', 'pooch.core', 'requests', 'dlib', 'lpips'} & set(sys.modules)\n"
            "assert not loaded, loaded")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_imported_file_is_told_by_its_content_and_found_by_name(offered, published, shelf, tmp_path):
    offered()
    stranger = tmp_path / "a file (1)"
    stranger.write_bytes(published.read_bytes())
    done = run("import", stranger)
    assert done.exit_code == 0 and f"is       {NAME}" in done.output and "whole: its SHA-256 is the published one" in done.output
    assert find(NAME) == need(NAME) == located(NAME) == shelf / NAME
    assert read_weights(NAME).tensors["first.weight"].shape == (300, 200)
    assert f"already kept as {shelf / NAME}" in run("import", stranger).output
    assert "already kept" in run("import", shelf / NAME).output
    assert run("check").exit_code == 0
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=shelf, capture_output=True).returncode == 0 \
        if sys.platform == "linux" else True


def test_a_link_leads_to_where_the_file_lies(offered, published, shelf):
    offered()
    assert "is linked as" in run("import", "--link", published).output
    assert (shelf / NAME).is_symlink() and (shelf / NAME).resolve() == published
    published.unlink()
    assert find(NAME) is None


def test_what_lies_there_is_never_replaced(offered, published, shelf):
    offered(sha256=None)
    run("import", published)
    save_file({"first.weight": torch.zeros(300, 200)}, published)
    assert "is there already, and differs from" in refusal("import", published)
    assert run("import", published, "--name", "other.safetensors").exit_code == 0
    assert find("other.safetensors").read_bytes() == published.read_bytes()
    assert "without folders" in refusal("import", published, "--name", "../x")


def test_what_is_not_known_is_kept_only_under_a_name_that_is_given(shelf, tmp_path):
    save_file({"strange.weight": torch.zeros(7)}, tmp_path / "strange.bin")
    line = refusal("import", tmp_path / "strange.bin")
    assert "is a safetensors file, 1 tensors, 7 numbers, of no public network that is known (it has strange.weight)" in line
    assert run("import", tmp_path / "strange.bin", "--name", "mine.bin").exit_code == 0 and find("mine.bin")
    assert "is a folder, and holds neither config.json" in refusal("import", tmp_path)
    assert "does not exist" in refusal("import", tmp_path / "gone")
    done = run("import", tmp_path / "gone", tmp_path / "strange.bin")
    assert done.exit_code == 1 and "2 of 2 files were not imported" in done.output


def test_a_damaged_file_is_neither_imported_nor_passed(offered, published, shelf):
    offered()
    run("import", published)
    content = (shelf / NAME).read_bytes()
    (shelf / NAME).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run("check")
    assert done.exit_code == 1 and "it is damaged, or another version" in done.output
    assert "was not imported: its SHA-256 begins with" in refusal("import", shelf / NAME)
    (shelf / NAME).write_bytes(content[:-100])
    assert "ends early or is damaged" in run("check", NAME).output
    [row] = json.loads(CliRunner().invoke(main, ["weights", "check", "--json"]).stdout)
    assert row["path"] == str(shelf / NAME) and len(row["problems"]) == 1


def test_without_a_published_sum_a_file_is_compared_with_itself_as_it_came(offered, published, shelf):
    offered(sha256=None)
    assert "no SHA-256 to compare with is published" in run("import", published).output
    assert "whole: as it was when it came here" in run("check").output
    save_file({"first.weight": torch.zeros(300, 200)}, shelf / NAME)
    done = run("check")
    assert done.exit_code == 1 and "it has changed since it came here" in done.output


@pytest.fixture
def foreign_recipe(installed, tmp_path, monkeypatch):
    """A recipe of another package whose model a public file fills; its tensors."""
    recipe = Recipe.find("tiny").to_dict() | {"name": "theirs"}
    recipe["public_files"] = [{"files": ["theirs.pth", "theirs_more.pth"], "fills": {"net.": "decoder."}, "licence": "Theirs",
                               "source": "https://example.org/theirs"}]
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "theirs.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("theirs", "fctfg.recipes", theirs="theirs:theirs.yaml")
    return {f"net.{key}": value for key, value in build_model(Recipe.find("theirs")).decoder.state_dict().items()}


def test_a_file_of_a_recipe_says_what_it_fills(foreign_recipe, shelf, tmp_path):
    torch.save({"state_dict": foreign_recipe}, tmp_path / "download.bin")
    done = run("import", tmp_path / "download.bin")
    assert "is       theirs.pth or theirs_more.pth" in done.output and "fills    decoder of recipe theirs" in done.output
    assert "theirs.pth and theirs_more.pth are alike inside, so it keeps its own name" in done.output and find("download.bin")
    assert run("import", tmp_path / "download.bin", "--name", "theirs_more.pth").exit_code == 0
    assert "recipe theirs" in run("list", "theirs_more.pth").output and need("theirs_more.pth")
    assert how_to_get("theirs.pth") == "get it from https://example.org/theirs, then `fctfg weights import theirs.pth`"
    with pytest.raises(BadWeights, match="theirs.pth does not exist; get it from https://example.org/theirs"):
        read_weights("theirs.pth")


def test_a_file_that_almost_fits_says_what_is_wrong(foreign_recipe, shelf, tmp_path):
    name, tensor = next(iter(foreign_recipe.items()))
    torch.save(foreign_recipe | {name: tensor.flatten()[:1]}, tmp_path / "theirs.pth")
    assert "looks like theirs.pth or theirs_more.pth of recipe 'theirs', but 1 shapes differ" in \
        refusal("import", tmp_path / "theirs.pth")


def test_of_a_folder_of_checkpoints_one_moment_is_imported(shelf, tmp_path):
    from fctfg.checkpoints.sets import read_set

    folder = tmp_path / "theirs"
    folder.mkdir()
    for moment in ("30-2000", "29-1000"):
        for network in ("G", "AU"):
            torch.save({f"{moment}.{network}": torch.zeros(3)}, folder / f"{moment}-{network}.ckpt")
    assert read_set(folder)[:2] == (30, 2000)
    done = run("import", folder)
    assert "30-2000-G.ckpt is a torch.save file" in done.output and "29-" not in done.output and "2 of 2" in done.output
    assert "29-1000-AU.ckpt" in run("import", folder, "--resume-iters", "1000").output
    assert "there are 29-1000-G.ckpt, 30-2000-G.ckpt" in refusal("import", folder, "--first-epoch", "7")
    assert "<epoch>-<iteration>-G.ckpt" in run("list", "--json").output
    assert run("list", "12-900-G.ckpt").output.startswith("12-900-G.ckpt\n  for      GANimation's generator")


def test_nothing_kept_is_said(shelf):
    assert f"Nothing is kept in {shelf}" in run("check").output
    assert run("check", "--json").output == "[]\n"


def test_a_file_that_a_package_brings_names_the_package(shelf, monkeypatch):
    monkeypatch.setitem(sys.modules, "face_recognition_models", None)
    with pytest.raises(BadWeights, match="is missing; `pip install face-recognition-models` brings it"):
        need("mmod_human_face_detector.dat")
    assert "comes with a package: pip install face-recognition-models" in refusal("fetch", "mmod_human_face_detector.dat")


def test_a_card_that_is_none_is_refused_and_the_others_stay(tmp_path):
    (tmp_path / "weights.yaml").write_text("- {name: x, licence: y}")
    with pytest.raises(BadWeights, match="weights.yaml, file 1: source: Field required"):
        read_cards(tmp_path / "weights.yaml")
