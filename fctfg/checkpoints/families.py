"""Which recipe a public weight file belongs to, told by its content; and filling a model or a loss from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import registry
from ..errors import BadWeights, FctfgError
from ..model import TalkingFace, build_model
from ..recipe import PARTS, PublicFile, Recipe
from .public import PublicWeights, printable, read_weights
from .settings import Disagreement, disagreements, with_settings

COUNTER = ".num_batches_tracked"
"""Of batch norm: files from before PyTorch 0.4.1 and many conversions lack it, and nothing reads it in eval mode."""

MEAN = "decoder.mean"
"""The mean latent, which training files lack; a decoder that has one offers `estimate_mean()`, from its own weights."""


@dataclass(frozen=True)
class Match:
    """A weight file and the public file of a recipe that it is."""

    weights: PublicWeights
    recipe: Recipe
    """With the settings that the file implies."""
    file: PublicFile
    tensors: dict[str, Tensor]
    """The file's, under the names that `file.fills` speaks of."""
    differing: list[Disagreement] = field(default_factory=list)
    """Where the recipe was not as the file implies."""
    notice: str = ""
    """What it filled, under which licence, in a sentence; empty until it has."""

    @property
    def losses(self) -> list[str]:
        """The losses of the recipe that it fills."""
        return sorted({place.split(".")[1] for place in self.fills.values() if place.startswith("losses.")})

    @property
    def fills(self) -> dict[str, str]:
        """The part of `file.fills` that this file is for: a translated one may hold less than all."""
        if not self.file.translate:
            return self.file.fills
        return {prefix: place for prefix, place in self.file.fills.items()
                if any(name.startswith(prefix) for name in self.tensors)}

    def __str__(self) -> str:
        return f"{' or '.join(self.file.files)} of recipe '{self.recipe.name}'"


def load_public(path: str | Path, recipe: Recipe | None = None) -> tuple[TalkingFace, Match]:
    """The model that a public file holds, built by its recipe with the file's settings; and what the file is.

    Without `recipe`, the installed one that the file belongs to.

    Raises:
        BadWeights: it is not the whole of a model, or does not fit; the message has the files that would do.
    """
    match = _recognise_for(recipe, read_weights(path)) if recipe else recognise(read_weights(path))
    match = _without_losses(match, known=())
    model = build_model(match.recipe)
    places = _places(model, {})
    filled, match = _fill(match, model, places)
    if unfilled := [name for name in places if name not in filled and not name.endswith(COUNTER)]:
        raise BadWeights(f"{path} is {match}, which leaves {len(unfilled)} weights of the model unset "
                         f"({_some(unfilled)}). Train the rest, or pass one of: {_files_of_models()}.")
    return model, match


def fill(model: TalkingFace, losses: Mapping[str, nn.Module] | None, recipe: Recipe, path: str | Path) -> str:
    """Copy a public file of `recipe` into the parts of `model` and the `losses` it is for; a sentence that says so.

    All or nothing: a file that does not fit changes no weight.

    Raises:
        BadWeights: a file of another recipe, size or kind, for a loss that is not there, or with keys or shapes that do
            not fit.
    """
    losses = losses or {}
    match = _recognise_for(recipe, read_weights(path), places := _places(model, losses))
    if match.differing:
        theirs, ours = (", ".join(said) for said in zip(*(differing.sides for differing in match.differing)))
        raise BadWeights(f"{path} is {match} with {theirs}; this one has {ours}. Pass a file made for it, or "
                         f"{' '.join(differing.flag for differing in match.differing)}.")
    return _fill(_without_losses(match, known=losses), model, places)[1].notice


def recipes() -> list[Recipe]:
    """The installed recipes that name public files."""
    return [recipe for recipe in Recipe.installed() if recipe.public_files]


def recognise(weights: PublicWeights, among: Iterable[Recipe] | None = None,
              built: Mapping[str, Mapping[str, Tensor] | None] | None = None) -> Match:
    """The public file, of the recipes `among` or of all installed, whose keys `weights` has.

    Where several have keys of the same beginnings, it is one whose keys and shapes all agree; of those, one of the
    recipe that `built` names, best one that it agrees with, then the one whose model it fills furthest. That needs the
    recipes' models, which are built, without weights, unless `built` has their tensors by recipe name.

    Raises:
        BadWeights: none has; the message has the files that would be recognised.
    """
    among = recipes() if among is None else list(among)
    built = built or {}
    likely = _likely(weights, among)
    if not likely:
        _refuse_unknown(weights, among)
    if len(likely) == 1:
        return likely[0][1]
    ranked = []
    for agreement, match in likely:
        known = built.get(match.recipe.name)
        places = _blank_places(match) if known is None or match.differing else known
        if not _problems(match, places):
            share = sum(place.startswith(PARTS) for place in _placed(match)[0]) / len(places)
            differing = len(match.differing) if known is not None else 0
            ranked.append(((agreement, match.recipe.name in built, -differing, share), match))
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else likely[0][1]


def looks_like(weights: PublicWeights) -> list[tuple[Match, list[str]]]:
    """Every public file of the installed recipes that `weights` may be, the likeliest first, each with what keeps it
    from filling that recipe's model and losses.

    Raises:
        BadWeights: it is of a kind that a translation knows and refuses, and nothing else.
    """
    return [(match, _problems(match, _blank_places(match))) for _, match in _likely(weights, recipes())]


def _likely(weights: PublicWeights, among: Iterable[Recipe]) -> list[tuple[float, Match]]:
    """What `weights` may be, with how well its keys agree, the likeliest first.

    Raises:
        BadWeights: it is of a kind that a translation knows and refuses, and nothing else.
    """
    found, refusals = [], []
    translate = cache(lambda target: _translator(target)(weights))
    for recipe in among:
        for file in recipe.public_files:
            try:
                tensors, settings = translate(file.translate) if file.translate else (weights.tensors, {})
            except BadWeights as refusal:
                refusals.append(refusal)
                continue
            if not any(name.startswith(tuple(file.fills)) for name in tensors):
                continue
            match = Match(weights, with_settings(recipe, settings), file, tensors, disagreements(recipe, settings))
            if (agreement := _agreement(match)) >= 0.5:
                found.append((agreement, match))
    if refusals and not found:
        raise refusals[0]
    return sorted(found, key=lambda pair: -pair[0])


def _translator(target: str) -> Callable[[PublicWeights], tuple[dict[str, Tensor], dict[str, Any]]]:
    """The function that `PublicFile.translate` names; where it cannot be imported, one that knows no file."""
    module, _, name = target.partition(":")
    try:
        return reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError):  # of a package that is broken or lacks something: not this file's fault
        return lambda weights: ({}, {})


def _refuse_unknown(weights: PublicWeights, among: Iterable[Recipe]) -> None:
    if not weights.tensors:
        raise BadWeights(f"{weights.path} holds more than one network, none of which is known: "
                         f"{printable(', '.join(weights.networks))}.")
    if all(name.startswith(tuple(f"{part}." for part in PARTS)) for name in weights.tensors):
        raise BadWeights(f"{weights.path} is the model of a run; pass the folder it came from with --run.")
    known = "; ".join(f"{_names(recipe.public_files)} (recipe {recipe.name})" for recipe in among
                      if recipe.public_files) or "none"
    raise BadWeights(f"{weights.path} holds {len(weights.tensors)} tensors ({_some(weights.tensors)}) of an "
                     f"unknown network. Known files: {known}.")


def _recognise_for(recipe: Recipe, weights: PublicWeights, places: Mapping[str, Tensor] | None = None) -> Match:
    """The file of `recipe` that `weights` is. All installed recipes are looked through, to name the one it is of."""
    others = (other for other in recipes() if other.name != recipe.name)
    match = recognise(weights, [recipe, *others], {recipe.name: places})
    if match.recipe.name != recipe.name:
        raise BadWeights(f"{weights.path} is {match}, not of recipe '{recipe.name}', "
                         f"which takes {_names(recipe.public_files) or 'no public file'}.")
    return match


def _agreement(match: Match) -> float:
    """From 0 to 1: how many keys begin as the file says, times how many of those beginnings occur."""
    fills, names = match.fills, match.tensors
    covered = sum(name.startswith(tuple(fills)) for name in names) / len(names)
    return covered * sum(any(name.startswith(prefix) for name in names) for prefix in fills) / max(len(fills), 1)


def _places(model: nn.Module, losses: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Every tensor that a public file could fill, by the names that `PublicFile.fills` leads to."""
    places = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    for name, loss in losses.items():
        places |= {f"losses.{name}.{key}": value for key, value in loss.state_dict().items()
                   if isinstance(value, Tensor)}
    return places


def _blank_places(match: Match) -> dict[str, Tensor]:
    """The places of a match's recipe, without numbers; none where it cannot be built."""
    recipe = match.recipe
    for device in ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of weights that a part loads and "meta" does not keep
                losses = {name: _build_loss(recipe, name) for name in match.losses if name in recipe.losses}
                return _places(build_model(recipe), losses)
        except FctfgError:
            break
        except (RuntimeError, TypeError, ValueError):  # it looks at numbers while it is built
            if device == "cpu":
                raise
    return {}


def _build_loss(recipe: Recipe, name: str) -> nn.Module:
    part = recipe.losses[name]
    wanted = registry.find("loss", part.name).load().built_with
    return registry.build("loss", part.name, **{key: getattr(recipe, key) for key in wanted}, **part.options)


def _placed(match: Match) -> tuple[dict[str, Tensor], list[str]]:
    """The file's tensors by the place they go to, and the keys that have none. The longest prefix counts."""
    placed, homeless = {}, []
    prefixes = sorted(match.fills, key=len, reverse=True)
    for name, tensor in match.tensors.items():
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is None:
            homeless.append(name)
        else:
            placed[match.fills[prefix] + name.removeprefix(prefix)] = tensor
    return placed, homeless


def _problems(match: Match, places: Mapping[str, Tensor]) -> list[str]:
    """What keeps the file from filling `places`, each with its count and first names; empty where it fits."""
    placed, homeless = _placed(match)
    surplus = homeless + [name for name in placed if name not in places]
    missing = [name for name in places if name.startswith(tuple(match.fills.values())) and name not in placed
               and not name.endswith(COUNTER) and name != MEAN]
    shapes = [f"{name}: {tuple(tensor.shape)}, not {tuple(places[name].shape)}" for name, tensor in placed.items()
              if name in places and tensor.shape != places[name].shape]
    counted = [(missing, "keys are missing"), (surplus, "keys are surplus"), (shapes, "shapes differ")]
    problems = [f"{len(names)} {what} ({_some(names)})" for names, what in counted if names]
    if not problems and (broken := [name for name, tensor in placed.items() if not torch.isfinite(tensor).all()]):
        problems = [f"{len(broken)} tensors are not finite ({_some(broken)})"]
    return problems


@torch.no_grad()
def _fill(match: Match, model: TalkingFace, places: Mapping[str, Tensor]) -> tuple[set[str], Match]:
    """Copy the file into `places`, those of `model` among them; the filled names, and `match` with its notice."""
    if problems := _problems(match, places):
        raise BadWeights(f"{match.weights.path} looks like {match}, but {'; '.join(problems)}.")
    placed, _ = _placed(match)
    for name, tensor in placed.items():
        places[name].copy_(tensor)  # state dicts share their tensors with the module
    remark = ""
    if MEAN in places and MEAN not in placed and any(name.startswith("decoder.") for name in placed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(match.recipe.seed)
            places[MEAN].copy_(model.decoder.estimate_mean())
        placed[MEAN] = places[MEAN]
        remark = " It has no mean latent; that was computed from its mapping network."
    filled = sorted({".".join(name.split(".")[:2 if name.startswith("losses.") else 1]) for name in placed})
    notice = (f"Filled {', '.join(filled)} from {match.weights.path}: {match}.{remark} Licence: {match.file.licence}. "
              f"Source: {match.file.source}.")
    return set(placed), replace(match, notice=notice)


def _without_losses(match: Match, known: Iterable[str]) -> Match:
    """`match` without what it has for losses that are not `known`.

    Raises:
        BadWeights: it has nothing else.
    """
    absent = {prefix: place for prefix, place in match.fills.items()
              if place.startswith("losses.") and place.split(".")[1] not in known}
    if not absent:
        return match
    if len(absent) == len(match.fills):
        raise BadWeights(f"{match.weights.path} is {match}: weights of the loss '{match.losses[0]}', which draw no "
                         f"face. Pass one of: {_files_of_models()}.")
    kept = {prefix: place for prefix, place in match.fills.items() if prefix not in absent}
    tensors = {name: tensor for name, tensor in match.tensors.items() if not name.startswith(tuple(absent))}
    return replace(match, file=match.file.model_copy(update={"fills": kept}), tensors=tensors)


def _files_of_models() -> str:
    return ", ".join(_names([file]) for recipe in recipes() for file in recipe.public_files
                     if not all(place.startswith("losses.") for place in file.fills.values())) or "none is known"


def _names(files: Iterable[PublicFile]) -> str:
    return ", ".join(name for file in files for name in file.files)


def _some(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(printable(name, 120) for name in names[:count]) + (", ..." if len(names) > count else "")
