"""What a public file implies of the recipe it fills: a picture size, options, the kind of a part."""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import registry
from ..recipe import PARTS, Recipe

ABSENT = object()
FLAGS = {"visual_encoder": "--encoder", "audio_encoder": "--audio-encoder", "fusion": "--fusion",
         "decoder": "--decoder"}


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """`recipe` with `settings` by dotted key. Options of a loss that it does not have are passed over.

    Raises:
        BadRecipe: no such key, or a value that does not belong there.
    """
    for part in PARTS:
        if name := settings.get(f"{part}.name"):
            recipe = recipe.with_part(part, name)
    for key, value in settings.items():
        if not key.endswith(".name") and _loss_is_there(recipe, key):
            recipe = recipe.with_setting(key, json.dumps(value))
    return recipe


class Disagreement(NamedTuple):
    """A setting that a recipe has otherwise than a file implies."""

    key: str
    theirs: Any
    """The value that the file implies."""
    ours: Any
    """The recipe's, or ABSENT."""

    @property
    def sides(self) -> tuple[str, str]:
        """Theirs and ours in words."""
        ours = "none" if self.ours is ABSENT else _shown(self.ours)
        return f"{self.key} {_shown(self.theirs)}", f"{self.key} {ours}"

    @property
    def flag(self) -> str:
        """What to write on the command line so that the recipe agrees."""
        part, _, last = self.key.partition(".")
        if last == "name" and part in FLAGS:
            return f"{FLAGS[part]} {self.theirs}"
        return "--set " + shlex.quote(f"{self.key}={_shown(self.theirs)}")


def disagreements(recipe: Recipe, settings: Mapping[str, Any]) -> list[Disagreement]:
    """Where `recipe` is not as `settings` say. Options of a loss that it does not have are passed over."""
    compared = [Disagreement(key, value, setting_of(recipe, key)) for key, value in settings.items()
                if _loss_is_there(recipe, key)]
    return [pair for pair in compared if pair.ours is ABSENT or _plain(pair.theirs) != _plain(pair.ours)]


def setting_of(recipe: Recipe, key: str) -> Any:
    """The value of a recipe at a dotted key; of an option it does not name, the plugin's default, or ABSENT."""
    *path, last = key.split(".")
    place = recipe.to_dict()
    for step in path:
        place = place.get(step, {})
    if last in place:
        return place[last]
    if path[-1:] != ["options"]:
        return ABSENT
    kind, part = ("loss", recipe.losses[path[1]]) if path[0] == "losses" else (path[0], getattr(recipe, path[0]))
    parameter = inspect.signature(registry.find(kind, part.name).load()).parameters.get(last)
    return ABSENT if parameter is None or parameter.default is parameter.empty else parameter.default


def _plain(value: Any) -> Any:
    """As a recipe file has it: lists, not tuples."""
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _loss_is_there(recipe: Recipe, key: str) -> bool:
    group, *rest = key.split(".")
    return group != "losses" or rest[0] in recipe.losses
