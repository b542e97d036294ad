"""Which recipe a public weight file belongs to, told by its content; and filling a model or a loss from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import registry
from ..errors import BadWeights, FctfgError
from ..model import TalkingFace, build_model
from ..recipe import PARTS, PublicFile, Recipe
from .public import PublicWeights, printable, read_weights


COUNTER = ".num_batches_tracked"
"""Of batch norm: files from before PyTorch 0.4.1 and many conversions lack it, and nothing reads it in eval mode."""


@dataclass(frozen=True)
class Match:
    """A weight file and the public file of a recipe that it is."""

    weights: PublicWeights
    recipe: Recipe
    file: PublicFile

    @property
    def losses(self) -> list[str]:
        """The losses of the recipe that it fills."""
        return sorted({place.split(".")[1] for place in self.file.fills.values() if place.startswith("losses.")})

    @property
    def notice(self) -> str:
        """What it fills, under which licence, in a sentence."""
        filled = sorted({".".join(place.split(".")[:2 if place.startswith("losses.") else 1])
                         for place in self.file.fills.values()})
        return (f"Filled {', '.join(filled)} from {self.weights.path}: {self}. "
                f"Licence: {self.file.licence}. Source: {self.file.source}.")

    def __str__(self) -> str:
        return f"{' or '.join(self.file.files)} of recipe '{self.recipe.name}'"


def load_public(path: str | Path, recipe: Recipe | None = None) -> tuple[TalkingFace, Match]:
    """The model that a public file holds, built by its recipe and filled; and what the file is.

    Without `recipe`, the installed one that the file belongs to.

    Raises:
        BadWeights: it is not the whole of a model, or does not fit; the message has the files that would do.
    """
    weights = read_weights(path)
    match = _recognise_for(recipe, weights) if recipe else recognise(weights)
    _refuse_losses(match, known=())
    model = build_model(match.recipe)
    filled = _fill(match, _places(model, {}))
    if unfilled := [name for name in _places(model, {}) if name not in filled and not name.endswith(COUNTER)]:
        raise BadWeights(f"{path} is {match}, which leaves {len(unfilled)} weights of the model unset "
                         f"({_some(unfilled)}). Train the rest, or pass one of: {_files_of_models()}.")
    return model, match


def fill(model: TalkingFace, losses: Mapping[str, nn.Module] | None, recipe: Recipe, path: str | Path) -> str:
    """Copy a public file of `recipe` into `model`, or into those of `losses` that it is for; a sentence that says so.

    All or nothing: a file that does not fit changes no weight.

    Raises:
        BadWeights: a file of another recipe, for a loss that is not there, or with keys or shapes that do not fit.
    """
    losses = losses or {}
    weights, places = read_weights(path), _places(model, losses)
    match = _recognise_for(recipe, weights, places)
    _refuse_losses(match, known=losses)
    _fill(match, places)
    return match.notice


def recipes() -> list[Recipe]:
    """The installed recipes that name public files. One that cannot be read is passed over."""
    found = []
    for plugin in registry.plugins("recipe"):
        try:
            found.append(Recipe.load(plugin.path()))
        except FctfgError:
            continue
    return [recipe for recipe in found if recipe.public_files]


def recognise(weights: PublicWeights, among: Iterable[Recipe] | None = None,
              built: Mapping[str, Mapping[str, Tensor]] | None = None) -> Match:
    """The public file, of the recipes `among` or of all installed, whose keys `weights` has.

    Where several have keys of the same beginnings, the first whose keys and shapes all agree is taken; that needs
    the recipe's model, which is built unless `built` has its tensors by recipe name.

    Raises:
        BadWeights: none has; the message has the files that would be recognised.
    """
    among = recipes() if among is None else list(among)
    if not weights.tensors:
        raise BadWeights(f"{weights.path} holds more than one network, none of which is known: "
                         f"{printable(', '.join(weights.networks))}.")
    likely = [(agreement, Match(weights, recipe, file)) for recipe in among for file in recipe.public_files
              if (agreement := _agreement(weights.tensors, file)) >= 0.5]
    if not likely:
        if all(name.startswith(tuple(f"{part}." for part in PARTS)) for name in weights.tensors):
            raise BadWeights(f"{weights.path} is the model of a run; pass the folder it came from with --run.")
        known = "; ".join(f"{_names(recipe.public_files)} (recipe {recipe.name})" for recipe in among
                          if recipe.public_files) or "none"
        raise BadWeights(f"{weights.path} holds {len(weights.tensors)} tensors ({_some(weights.tensors)}) of an "
                         f"unknown network. Known files: {known}.")
    likely = [match for _, match in sorted(likely, key=lambda pair: -pair[0])]
    if len(likely) > 1:
        for match in likely:
            places = (built or {}).get(match.recipe.name) or _blank_places(match)
            if not _problems(match, places):
                return match
    return likely[0]


def _recognise_for(recipe: Recipe, weights: PublicWeights, places: Mapping[str, Tensor] | None = None) -> Match:
    """The file of `recipe` that `weights` is. All installed recipes are looked through, to name the one it is of."""
    others = (other for other in recipes() if other.name != recipe.name)
    match = recognise(weights, [recipe, *others], {recipe.name: places} if places else None)
    if match.recipe.name != recipe.name:
        raise BadWeights(f"{weights.path} is {match}, not of recipe '{recipe.name}', "
                         f"which takes {_names(recipe.public_files) or 'no public file'}.")
    return match


def _agreement(tensors: Mapping[str, Tensor], file: PublicFile) -> float:
    """From 0 to 1: how many keys begin as the file says, times how many of those beginnings occur."""
    covered = sum(name.startswith(tuple(file.fills)) for name in tensors) / len(tensors)
    return covered * sum(any(name.startswith(prefix) for name in tensors) for prefix in file.fills) / len(file.fills)


def _places(model: nn.Module, losses: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Every tensor that a public file could fill, by the names that `PublicFile.fills` leads to."""
    places = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    for name, loss in losses.items():
        places |= {f"losses.{name}.{key}": value for key, value in loss.state_dict().items()
                   if isinstance(value, Tensor)}
    return places


def _blank_places(match: Match) -> dict[str, Tensor]:
    """The places of a match's recipe, built anew; none where it cannot be built."""
    parts = {name: match.recipe.losses[name] for name in match.losses if name in match.recipe.losses}
    try:
        with torch.random.fork_rng(devices=[]):
            losses = {name: registry.build("loss", part.name, **part.options) for name, part in parts.items()}
            return _places(build_model(match.recipe), losses)
    except FctfgError:
        return {}


def _placed(match: Match) -> tuple[dict[str, Tensor], list[str]]:
    """The file's tensors by the place they go to, and the keys that have none. The longest prefix counts."""
    placed, homeless = {}, []
    prefixes = sorted(match.file.fills, key=len, reverse=True)
    for name, tensor in match.weights.tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is None:
            homeless.append(name)
        else:
            placed[match.file.fills[prefix] + name.removeprefix(prefix)] = tensor
    return placed, homeless


def _problems(match: Match, places: Mapping[str, Tensor]) -> list[str]:
    """What keeps the file from filling `places`, each with its count and first names; empty where it fits."""
    placed, homeless = _placed(match)
    surplus = homeless + [name for name in placed if name not in places]
    missing = [name for name in places if name.startswith(tuple(match.file.fills.values())) and name not in placed
               and not name.endswith(COUNTER)]
    shapes = [f"{name}: {tuple(tensor.shape)}, not {tuple(places[name].shape)}" for name, tensor in placed.items()
              if name in places and tensor.shape != places[name].shape]
    listed = [(missing, "keys are missing"), (surplus, "keys are surplus"), (shapes, "shapes differ")]
    problems = [f"{len(names)} {what} ({_some(names)})" for names, what in listed if names]
    if not problems and (broken := [name for name, tensor in placed.items() if not torch.isfinite(tensor).all()]):
        problems = [f"{len(broken)} tensors are not finite ({_some(broken)})"]
    return problems


@torch.no_grad()
def _fill(match: Match, places: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if problems := _problems(match, places):
        raise BadWeights(f"{match.weights.path} looks like {match}, but {'; '.join(problems)}.")
    placed, _ = _placed(match)
    for name, tensor in placed.items():
        places[name].copy_(tensor)  # state dicts share their tensors with the module
    return placed


def _refuse_losses(match: Match, known: Iterable[str]) -> None:
    if absent := [name for name in match.losses if name not in known]:
        raise BadWeights(f"{match.weights.path} is {match}: weights of the loss '{absent[0]}', which draw no face. "
                         f"Pass one of: {_files_of_models()}.")


def _files_of_models() -> str:
    return ", ".join(_names([file]) for recipe in recipes() for file in recipe.public_files
                     if not any(place.startswith("losses.") for place in file.fills.values())) or "none is known"


def _names(files: Iterable[PublicFile]) -> str:
    return ", ".join(name for file in files for name in file.files)


def _some(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(printable(name, 120) for name in names[:count]) + (", ..." if len(names) > count else "")
