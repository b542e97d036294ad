"""What a public file implies of the recipe it fills: a picture size, options, the kind of a part."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

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


def disagreements(recipe: Recipe, settings: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The dotted keys where `recipe` is not as `settings` say, with the value of the settings and the recipe's own."""
    compared = [(key, value, setting_of(recipe, key)) for key, value in settings.items() if _loss_is_there(recipe, key)]
    return [(key, value, own) for key, value, own in compared if own is ABSENT or json.dumps(value) != json.dumps(own)]


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


def flag_for(key: str, value: Any) -> str:
    """What to write on the command line so that the recipe agrees."""
    part, _, last = key.partition(".")
    return f"{FLAGS[part]} {value}" if last == "name" and part in FLAGS else f"--set {key}={_shown(value)}"


def listed(disagreeing: list[tuple[str, Any, Any]], theirs: bool) -> str:
    """Keys and values in words: those of the settings, or the recipe's own."""
    return ", ".join(f"{key} {'none' if (shown := value if theirs else own) is ABSENT else _shown(shown)}"
                     for key, value, own in disagreeing)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _loss_is_there(recipe: Recipe, key: str) -> bool:
    group, *rest = key.split(".")
    return group != "losses" or rest[0] in recipe.losses
