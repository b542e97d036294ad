"""What is known of each public weight file: where it comes from, under which licence, and what it is for.

A package states this in a YAML file, a list of cards, which it offers as an entry point of the group `fctfg.weights`.
Files that only a recipe names among its `public_files` have a card made of what the recipe says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import registry
from ..errors import BadWeights, FctfgError
from ..recipe import PublicFile, Recipe

Form = Literal["torch.save", "TorchScript", "safetensors", "Keras", "ONNX", "TFLite", "MediaPipe task", "dlib",
               "transformers folder", "ONNX folder"]


class Weights(BaseModel):
    """One public weight file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[^/\\.][^/\\]*$")
    """Its file name, by which it is asked for and kept; `<epoch>` and the like stand for what differs."""
    purpose: str = ""
    """What it is for, in a sentence without its end."""
    licence: str
    source: str
    """The page or repository of whoever publishes it."""
    paper: str = ""
    used_by: tuple[str, ...] = ()
    """`detector dlib-hog`, `recipe wav2lip`; recipes that name the file are added."""
    url: str | None = None
    """Where it can be fetched, a folder as a zip archive; None where no such place is known, or a person must click."""
    size: int | None = Field(None, gt=0)
    """Bytes, to a thousandth; None where not published."""
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$")
    """Its first digits where no more are published, as in the file names of PyTorch; None where none are."""
    form: Form | None = None
    signs: tuple[str, ...] = ()
    """What occurs in this file and no other of its form: names of tensors, inputs and outputs, members of an archive,
    with their shape where that tells (`features.0.weight 64x3x11x11`)."""
    package: str | None = None
    """The file of an installed package that it is, import name first: `lpips/weights/v0.1/alex.pth`."""
    pip: str | None = None
    """What brings that package."""

    def is_called(self, name: str) -> bool:
        """Whether a file of that name would be one of these."""
        parts = re.split(r"<\w+>", self.name.lower())
        return re.fullmatch(".+".join(map(re.escape, parts)), name.lower()) is not None

    def in_package(self) -> Path | None:
        """The file of an installed package, which is not imported; None where it is not there."""
        if not self.package:
            return None
        module, _, inside = self.package.partition("/")
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            return None
        places = (Path(place) / inside for place in (spec.submodule_search_locations if spec else None) or ())
        return next((path for path in places if path.is_file()), None)


def known() -> list[Weights]:
    """The cards of all installed packages, by name. A file that cannot be read is passed over."""
    cards = {card.name: card for card in _stated()}
    for recipe, files in _installed("recipe", _public_files):
        user = f"recipe {recipe}"
        for file in files:
            for name in file.files:
                card = cards.get(name) or Weights(name=name, licence=file.licence, source=file.source)
                if user not in card.used_by:
                    cards[name] = card.model_copy(update={"used_by": (*card.used_by, user)})
    return sorted(cards.values(), key=lambda card: card.name.lower())


def card(name: str) -> Weights:
    """The one that `name` is a name of, whatever the case, or the beginning of, as yunet is; one of many under a pattern
    is given that name.

    Raises:
        BadWeights: there is none; the message has the nearest.
    """
    cards = known()
    if wanted := next((card for card in cards if card.is_called(name)), None):
        return wanted.model_copy(update={"name": name}) if "<" in wanted.name else wanted
    beginning = [card for card in cards if re.match(rf"{re.escape(name)}(?![a-z0-9])", card.name, re.IGNORECASE)]
    if len(beginning) == 1 and "<" not in beginning[0].name:
        return beginning[0]
    holding = [card.name for card in cards if name.lower() in card.name.lower()]
    hint = f" Did you mean {' or '.join(map(repr, holding))}?" if 0 < len(holding) < 4 else \
        registry.suggest(name, [card.name for card in cards]) or \
        registry.suggest(name.lower(), {re.split(r"[^a-z0-9]", card.name.lower())[0] for card in cards})
    raise BadWeights(f"No public weights called '{name}'.{hint} `fctfg weights list` has them all.")


def stated(name: str) -> Weights | None:
    """The card called exactly `name` in a YAML file, without asking the recipes."""
    return next((card for card in _stated() if card.name == name), None)


def _stated() -> list[Weights]:
    return [card for cards in _installed("weights", read_cards) for card in cards]


def _installed(kind: str, read: Callable[[Path, int], Any]) -> list[Any]:
    """What `read` makes of each YAML file of a kind; one that cannot be read is passed over."""
    found = []
    for plugin in registry.plugins(kind):
        try:
            path = plugin.path()
            found.append(read(path, path.stat().st_mtime_ns))
        except (FctfgError, OSError):
            continue
    return found


@lru_cache(maxsize=256)
def _public_files(path: Path, _changed: int) -> tuple[str, tuple[PublicFile, ...]]:
    """The name of a recipe, and the files it reads."""
    recipe = Recipe.load(path)
    return recipe.name, recipe.public_files


@lru_cache(maxsize=256)
def read_cards(path: Path, _changed: int = 0) -> tuple[Weights, ...]:
    """The cards in a YAML file.

    Raises:
        BadWeights: it is not a list of cards; the message has the first thing that is wrong.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadWeights(f"{path} cannot be read: {str(error).splitlines()[0]}.") from None
    if not isinstance(content, list):
        raise BadWeights(f"{path} is not a list of weight files.")
    cards = []
    for number, fields in enumerate(content, 1):
        try:
            cards.append(Weights.model_validate(fields))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise BadWeights(f"{path}, file {number}: {where}: {problem['msg']}.") from None
    return tuple(cards)
