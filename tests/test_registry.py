from __future__ import annotations

import shutil

import pytest

from fctfg import registry
from fctfg.errors import AmbiguousPlugin, BadOption, BrokenPlugin, MissingExtra, UnknownPlugin


def test_unknown_name_suggests_the_nearest_and_lists_the_rest():
    with pytest.raises(UnknownPlugin, match=r"No decoder called 'tyni'. Did you mean 'tiny'\? Installed: .*tiny.*wav2lip"):
        registry.find("decoder", "tyni")


def test_a_name_two_packages_offer_asks_for_the_package(installed):
    installed("other", "fctfg.decoders", tiny="os:PathLike")
    with pytest.raises(AmbiguousPlugin, match="say one of 'fctfg:tiny', 'other:tiny'"):
        registry.find("decoder", "tiny")
    assert registry.find("decoder", "fctfg:tiny").package == "fctfg"


def test_what_is_installed_or_removed_meanwhile_is_noticed(installed, tmp_path):
    installed("first", "fctfg.decoders", one="x:X")
    names = lambda: {plugin.name for plugin in registry.plugins("decoder")}
    assert "one" in names()
    site = tmp_path / "site-first"
    late = site / "late-1.0.dist-info"
    late.mkdir()
    (late / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (late / "entry_points.txt").write_text("[fctfg.decoders]\ntwo = x:X\n")
    assert {"one", "two"} <= names()
    shutil.rmtree(late)
    assert "one" in names() and "two" not in names()


def test_a_class_of_another_kind_is_refused(installed):
    installed("other", "fctfg.decoders", path="os:PathLike")
    with pytest.raises(BrokenPlugin, match="os:PathLike is not a Decoder"):
        registry.build("decoder", "path")


def test_a_plugin_that_breaks_on_import_is_listed_and_says_why(installed):
    installed("bad", "fctfg.decoders", bad="no_such_module:X")
    assert "bad" in {plugin.name for plugin in registry.plugins("decoder")}
    assert registry.find("decoder", "bad").state() == (
        "decoder 'bad' of bad 1.0 failed to import: No module named 'no_such_module'")


def test_a_missing_extra_names_its_install_command(installed, monkeypatch):
    monkeypatch.setitem(registry.EXTRAS, "no_such_module", "nothing")
    installed("bad", "fctfg.decoders", bad="no_such_module.inner:X")
    with pytest.raises(MissingExtra, match=r"No module named 'no_such_module'; pip install 'fctfg\[nothing\]' brings it"):
        registry.find("decoder", "bad").load()


def test_unknown_option_lists_what_is_taken():
    with pytest.raises(BadOption, match=r"unexpected keyword argument 'widht'. Did you mean 'width'\? It takes: width"):
        registry.build("audio_encoder", "tiny", widht=3)


def test_missing_option_is_named():
    with pytest.raises(BadOption, match="missing a required argument: 'size'"):
        registry.build("decoder", "tiny")


class Odd:
    def __init__(self, *, size: int = 1, share: float | None = None, sizes: tuple[int, ...] = (), kind: str = ""):
        self.given = size, share, sizes, kind


def test_a_word_or_a_list_for_a_number_is_refused(monkeypatch):
    monkeypatch.setattr(registry.Plugin, "load", lambda plugin: Odd)
    with registry.offering("loss", odd=Odd):
        assert registry.build("loss", "odd", size=2, share=1, sizes=[3], kind="x").given == (2, 1, [3], "x")
        with pytest.raises(BadOption, match="loss 'odd': size is 'big', and should be int."):
            registry.build("loss", "odd", size="big")
        with pytest.raises(BadOption, match=r"share is \[1\], and should be float or none."):
            registry.build("loss", "odd", share=[1])


def test_offered_classes_vanish_after_the_block():
    tiny = registry.find("decoder", "tiny").load()
    with registry.offering("decoder", local_one=tiny):
        assert registry.find("decoder", "local-one").load() is tiny
    with pytest.raises(UnknownPlugin):
        registry.find("decoder", "local-one")


def test_a_recipe_of_another_package_is_found_without_importing_it(installed, tmp_path, monkeypatch):
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "mine.yaml").write_text("name: mine")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed("foreign", "fctfg.recipes", mine="foreign:mine.yaml", gone="foreign:gone.yaml")
    assert registry.find("recipe", "mine").path() == folder / "mine.yaml"
    assert "no file 'gone.yaml' in package 'foreign'" in registry.find("recipe", "gone").state()


def test_every_bundled_entry_point_names_an_existing_class():
    problems = {str(plugin): plugin.problem() for plugin in registry.plugins() if plugin.package == "fctfg"}
    assert problems and not {name: str(problem) for name, problem in problems.items()
                             if problem and not isinstance(problem, MissingExtra)}
