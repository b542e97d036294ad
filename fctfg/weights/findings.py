"""What a weight file is: its form, the public file that it agrees with, what it fills, whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BadWeights
from . import contents, shelf, sums
from .cards import Weights, known

SIZES_AGREE = 1e-3
"""Of a size, as it is published."""
UNREAD = {"TFLite", "dlib"}
"""The forms of which the beginning alone is read."""


@dataclass(frozen=True)
class Finding:
    """What is found of one file or folder of weights."""

    path: Path
    size: int
    """Bytes."""
    sha256: str
    """Of a file; empty for a folder."""
    contents: contents.Contents
    cards: list[Weights]
    """The public files that it can be, the likeliest first; more than one where they are alike inside."""
    fits: list[str] = field(default_factory=list)
    """What it fills of which recipe, in words."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with it; empty where nothing is known to be."""
    remark: str = ""
    """By what it is known to be whole, or that it cannot be told."""

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return {"path": str(self.path), "size": self.size, "sha256": self.sha256 or None, "form": self.contents.form,
                "about": self.contents.about, "is": [card.name for card in self.cards], "fits": self.fits,
                "licence": self.cards[0].licence if self.cards else None, "problems": self.problems,
                "remark": self.remark}


def examine(path: str | Path) -> Finding:
    """Look into a file, or a folder of transformers.

    Raises:
        BadWeights: it is missing, damaged, or no weights; the message says which.
    """
    path = Path(path)
    found = contents.read(path)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    digest = "" if path.is_dir() else sums.sha256(path)
    names, fits, problems = _of_recipes(found)
    cards = _agreeing(path, found, digest, names)
    if any(card.name not in names for card in cards):
        problems = []  # of recipes that have a file that only looks alike
    bad, remark = _wholeness(path, size, digest, cards, found.form)
    return Finding(path, size, digest, found, cards, fits, [*problems, *bad], remark)


def _of_recipes(found: contents.Contents) -> tuple[list[str], list[str], list[str]]:
    """The names of the public files of recipes that it is, what it fills of them, and what keeps it from that."""
    if found.tensors is None:
        return [], [], []
    from ..checkpoints import looks_like

    names, fits, problems = [], [], []
    try:
        alike = looks_like(found.tensors)
    except BadWeights as refusal:
        return [], [], [str(refusal)]
    for match, lacking in alike:
        if lacking:
            problems.append(f"looks like {match}, but {'; '.join(lacking)}")
            continue
        filled = {".".join(place.split(".")[:2 if place.startswith("losses.") else 1])
                  for place in match.fills.values()}
        wants = [differing.sides[0] for differing in match.differing]
        fits.append(f"{', '.join(sorted(filled))} of recipe {match.recipe.name}"
                    + (f" with {', '.join(wants)}" if wants else ""))
        names += match.file.files
    if not fits:
        names = [name for match, _ in alike[:1] for name in match.file.files]
    return list(dict.fromkeys(names)), list(dict.fromkeys(fits)), [] if fits else problems[:1]


def _agreeing(path: Path, found: contents.Contents, digest: str, names: list[str]) -> list[Weights]:
    """The cards it agrees with: by its sum; by what recipes read in it; by its signs or, where it has none, its name."""
    cards = [card for card in known() if card.form in (None, found.form)]
    if same := [card for card in cards if card.sha256 and digest.startswith(card.sha256)]:
        return same
    called = path.stem if found.form == "ONNX folder" and path.suffix == ".zip" else path.name
    agreeing = [card for card in cards if card.name in names
                or (all(map(found.has, card.signs)) if card.signs else card.form and found.tensors is None
                    and card.is_called(called))]
    return sorted(agreeing, key=lambda card: (not card.is_called(called), -len(card.signs)))


def _wholeness(path: Path, size: int, digest: str, cards: list[Weights], form: str) -> tuple[list[str], str]:
    """What is wrong with the bytes of a file, if anything; and by what they are known to be right."""
    own = cards[0] if len(cards) == 1 or cards and cards[0].is_called(path.name) else None
    if own and own.sha256 and digest:
        if digest.startswith(own.sha256):
            return [], "whole: its SHA-256 is the published one"
        return [f"its SHA-256 begins with {digest[:len(own.sha256)][:16]}, that of the published {own.name} with "
                f"{own.sha256[:16]}: it is damaged, or another version"], ""
    if own and own.size and abs(size - own.size) > max(SIZES_AGREE * own.size, 1):
        return [f"it has {size:,} bytes, the published {own.name} {own.size:,}: it is damaged, or another version"], ""
    if was := sums.recorded(shelf.folder()).get(path.name) if path.parent == shelf.folder() else None:
        if was != digest:
            return ["it has changed since it came here"], ""
        return [], "whole: as it was when it came here"
    if form in UNREAD:
        return [], "whether it is whole cannot be told: no SHA-256 to compare with is published"
    return [], "reads to its end; no SHA-256 to compare with is published"
