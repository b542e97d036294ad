"""Drawn heads whose every motion is known: films with errors of known sizes, and how well metrics order them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..data.heads import Look
from ..data.synthetic import TalkingHead
from ..interfaces import FRAME_RATE, SAMPLE_RATE
from .asked import Metrics
from .measuring import Pair
from .results import SIGNS
from .running import How, Say, measure_all, open_folder
from .statistics import rank_correlation
from .testlists import write_film

FILMS = "films"
LEVELS = (0.0, 0.33, 0.67, 1.0)
"""How much of each error a film has, of the most."""
MOST = {"sound late, frames": 12.0, "mouth, share of its opening": 1.0, "pose, degrees": 8.0, "other person": 1.0,
        "blur, pixels": 4.0}
"""The kinds of errors, and the size that level 1 has."""


@dataclass(frozen=True)
class Truth:
    """How many heads are drawn, and how."""

    heads: int = 2
    seconds: float = 3.0
    size: int = 224
    seed: int = 20_000
    """Of a world that nobody trains in."""


@dataclass(frozen=True)
class Flaw:
    """One film: a head with one kind of error."""

    head: int
    kind: str
    level: float

    @property
    def name(self) -> str:
        return f"head {self.head}, {self.kind.partition(',')[0]} {self.level:g}"


def flaws(truth: Truth) -> Iterator[Flaw]:
    """Every head with every error at every level; without error but once."""
    for head in range(truth.heads):
        for kind in MOST:
            yield from (Flaw(head, kind, level) for level in LEVELS)


def write_flawed(path: Path, truth: Truth, flaw: Flaw) -> None:
    """Draw one film."""
    head = TalkingHead(truth.seed, flaw.head, truth.seconds, truth.size, truth.size)
    wave, amount = head.speech.wave, flaw.level * MOST[flaw.kind]
    rng = np.random.default_rng([truth.seed, flaw.head])
    if flaw.kind.startswith("sound"):
        late = round(amount / FRAME_RATE * SAMPLE_RATE)
        wave = np.concatenate([np.zeros(late, np.float32), wave])[:len(wave)]
    elif flaw.kind.startswith("mouth"):
        head.poses = [replace(pose, opening=(1 - amount) * pose.opening, spread=(1 - amount) * pose.spread)
                      for pose in head.poses]
    elif flaw.kind.startswith("pose"):
        sway = np.radians(amount) * np.sqrt(2) * np.sin(
            2 * np.pi * 0.8 * np.arange(head.num_frames) / FRAME_RATE + rng.uniform(0, 2 * np.pi))
        head.poses = [replace(pose, yaw=pose.yaw + by) for pose, by in zip(head.poses, sway)]
    elif flaw.kind.startswith("other"):
        head.look = between(head.look, TalkingHead(truth.seed, flaw.head + 1000, 0.1).look, amount)
    frames = (head.frame(number) for number in range(head.num_frames))
    if flaw.kind.startswith("blur") and amount:
        frames = (np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(amount))) for frame in frames)
    write_film(path, frames, FRAME_RATE, wave)


def between(one: Look, other: Look, share: float) -> Look:
    """A person `share` of the way from one to the other; what is no number changes halfway."""
    def mixed(a, b):
        if isinstance(a, tuple):
            return tuple(round(x + (y - x) * share) for x, y in zip(a, b))
        if isinstance(a, float):
            return a + (b - a) * share
        return b if share > 0.5 else a

    return Look(**{f.name: mixed(getattr(one, f.name), getattr(other, f.name)) for f in fields(Look)})


def agreement(truth: Truth, folder: Path, chosen: Metrics, how: How, say: Say) -> dict:
    """A section of a report: the rank correlation of each quantity with the exact size of each kind of error.

    Each film is measured against the same head without error. The correlation is taken over the levels of one kind for
    each head, and averaged over heads; its sign is turned so that 1 means worse as the error grows, by the quantity's
    own direction.
    """
    open_folder(folder)
    films = list(flaws(truth))
    say(f"drawing {len(films)} films of drawn heads with known errors")
    paths = {}
    for flaw in films:
        same = Flaw(flaw.head, next(iter(MOST)), 0.0) if not flaw.level else flaw  # without error all are one
        path = folder / FILMS / f"{_signature(truth)} {same.name}.mp4"
        if not path.exists():
            write_flawed(path, truth, same)
        paths[flaw] = path
    pairs = {flaw: Pair(flaw.name, paths[flaw], paths[Flaw(flaw.head, flaw.kind, 0.0)]) for flaw in films}
    results = measure_all({"drawn heads": list(pairs.values())}, folder, chosen, how, say=say)
    rows = []
    for column in results.columns:
        cells = []
        for kind in MOST:
            found = []
            for head in range(truth.heads):
                values = [results.value("drawn heads", column, Flaw(head, kind, level).name) for level in LEVELS]
                if None not in values:
                    values = [abs(value) for value in values] if column.quantity.better == "near zero" else values
                    found.append(rank_correlation(LEVELS, values))
            found = [value for value in found if np.isfinite(value)]
            sign = -SIGNS.get(column.quantity.better, -1)
            cells.append(f"{sign * np.mean(found):+.2f}" if found else "–")
        rows.append([column.title, results.facts[column.metric].protocol, *cells])
    return {"about": "Spearman's rank correlation of each quantity with the exact size of an error, over "
                     f"{len(LEVELS)} sizes of each kind and {truth.heads} drawn heads of {truth.seconds:g} s. +1: the "
                     "quantity says worse as the error grows (of one without a direction: it is larger); 0: it does not see it; "
                     "–: the same for all of them, or not measured.",
            "head": ["quantity", "protocol", *MOST], "rows": rows}


def _signature(truth: Truth) -> str:
    return f"{truth.seed}-{truth.seconds:g}s-{truth.size}px"
