"""A guard for each habit worth keeping."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from fctfg import registry
from fctfg.cli import main

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "fctfg").rglob("*.py"))
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/__init__.py"))
ORDER = ["errors", "registry", "interfaces", "recipe", "model", ("trainer", "pipeline"), "cli"]


def imports(path: Path, everywhere: bool) -> set[str]:
    """Absolute module names that a file imports: at its top, or `everywhere` in it."""
    package = ["fctfg", *path.relative_to(ROOT / "fctfg").parent.parts]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1] if node.level else [])
            module = ".".join(filter(None, [base, node.module]))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_never_imports_a_plugin(path):
    assert not [name for name in imports(path, everywhere=True) if name.startswith("fctfg_plugins")]


def rank(module: str) -> int | None:
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 and parts[0] == "fctfg" else None
    return next((i for i, names in enumerate(ORDER) if name in (names if isinstance(names, tuple) else (names,))), None)


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = rank(".".join(["fctfg", *path.relative_to(ROOT / "fctfg").with_suffix("").parts]))
    if own is None:
        return
    later = {name for name in imports(path, everywhere=False) if (rank(name) or 0) > own}
    assert not later


HEAVY = {"av", "dlib", "librosa", "skimage", "lpips", "tensorboard", "torchvision"}


@pytest.mark.parametrize("path", [path for path in CORE if path.parts[-2] not in ("media", "prepare")], ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_are_imported_where_they_are_used(path):
    assert not {name.partition(".")[0] for name in imports(path, everywhere=False)} & HEAVY


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_every_plugin_says_where_it_comes_from_and_is_tested(folder):
    text = (folder / "README.md").read_text(encoding="utf-8").lower()
    for fact in ("paper", "source of facts", "licence", "public weights"):
        assert fact in text, f"{folder.name}/README.md does not say its {fact}"
    if folder.name != "tiny":  # every test that trains something tests that one
        assert (ROOT / "tests" / "plugins" / f"test_{folder.name}.py").is_file()


def test_every_plugin_folder_offers_something():
    targets = {plugin.target.split(":")[0].split(".")[1] for plugin in registry.plugins() if plugin.target.startswith("fctfg_plugins.")}
    assert {folder.name for folder in PLUGINS} == targets


def test_no_file_is_named_after_nothing():
    for path in [*CORE, *(ROOT / "plugins").rglob("*.py")]:
        assert not re.fullmatch(r"(utils?|helpers?|common|misc|base_.*|manager)\.py", path.name), path


def commands(text: str) -> list[str]:
    lines = re.findall(r"^(?:    |\t)(?:\$ )?(?:.*&& )?(fctfg [a-z].*)$", text, re.MULTILINE)
    return [line.split("  #")[0] for line in lines]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/weights.md", "examples/fctfg-hello/README.md"])
def test_the_documented_commands_exist(page):
    for line in commands((ROOT / page).read_text(encoding="utf-8")):
        name, *arguments = shlex.split(line)[1:]
        command = main.commands[name]
        if isinstance(command, click.Group):
            command = command.commands[arguments[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = {argument for argument in arguments if argument.startswith("--")} - known
        assert not unknown, line


def test_the_readme_shows_commands():
    assert len(commands((ROOT / "README.md").read_text(encoding="utf-8"))) > 5
