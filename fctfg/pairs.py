"""Which encoders, audio encoders and decoders work together: each pair built small and run one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from . import registry
from .data.noise import random_clip
from .errors import FctfgError
from .interfaces import Component
from .model import TalkingFace, build_model, check_pair
from .recipe import Recipe
from .registry import Plugin

FRAMES = 3
KINDS = ("visual_encoder", "audio_encoder", "decoder")
WORKS, REFUSED, BROKEN, UNUSABLE = "works", "refused", "broken", "unusable"

ABOUT = """\
# What works with what

Each pair was built small and run one step, at the size in its cell; a dash is a pair that is refused, with the reason
below. An audio encoder meets the rest through the width of its speech alone: what works in both tables works as a triple.
Written by `fctfg list-plugins --pairs --markdown`.
"""


@dataclass(frozen=True)
class Pairing:
    """What became of one combination. A row with one name is a plugin that cannot be used at all."""

    visual_encoder: str | None
    audio_encoder: str | None
    decoder: str | None
    fusion: str | None
    """The one it was run with."""
    size: int | None
    """Of the pictures it was run on; None where there is none for both."""
    state: str
    """`works`; `refused`, with the reason; `broken`, where it should have been; or `unusable`, of a single plugin."""
    reason: str = ""


class Pairs:
    """Every visual encoder with every decoder, and every audio encoder with every decoder.

    An audio encoder meets the rest through the width of its speech alone, so it is tried with one visual encoder for
    each decoder, and what works in both tables works as a triple. Each plugin is built with its `test_options`, at a
    `test_size` that both take, with the fusion of an installed recipe for that decoder, or else `add`; one step forward
    and back is run on noise.

    Args:
        tell: called with how many combinations are done, of how many.
    """

    def __init__(self, tell: Callable[[int, int], None] = lambda done, total: None):
        self.tell = tell
        self.unusable: list[Pairing] = []
        self.plugins = {kind: self._usable(kind) for kind in (*KINDS, "fusion")}

    @cached_property
    def rows(self) -> list[Pairing]:
        """The first table, then the second, then the plugins that are in neither."""
        encoders, hearing, decoders = (self.plugins[kind] for kind in KINDS)
        total, rows = len(decoders) * (len(encoders) + len(hearing)), []
        for name, decoder in decoders.items():
            systems = self._systems(name)
            working = {}
            for encoder in encoders:
                row, model = self._try(encoder, name, systems)
                rows.append(row)
                if row.state == WORKS:
                    working[encoder] = row, model
                self.tell(len(rows), total)
            preferred = [system.visual_encoder for system in systems if system.visual_encoder in working]
            partner = next(iter(preferred or working), None)
            for audio_encoder in hearing:
                rows.append(self._hear(audio_encoder, *working[partner]) if partner else Pairing(
                    None, audio_encoder, name, None, None, REFUSED, "no visual encoder works with it"))
                self.tell(len(rows), total)
        return sorted(rows, key=lambda row: row.audio_encoder is not None) + self.unusable

    def _usable(self, kind: str) -> dict[str, Plugin]:
        """The plugins that can be imported, by the name that a recipe would use."""
        offered = registry.plugins(kind)
        names = [plugin.name for plugin in offered]
        usable = {}
        for plugin in offered:
            name = plugin.name if names.count(plugin.name) == 1 else f"{plugin.package}:{plugin.name}"
            if (problem := plugin.problem()) is None:
                usable[name] = plugin
            elif kind in KINDS:
                parts = {part: name if part == kind else None for part in KINDS}
                self.unusable.append(Pairing(**parts, fusion=None, size=None, state=UNUSABLE, reason=str(problem)))
        return usable

    def _systems(self, decoder: str) -> list[_System]:
        """The ways to complete `decoder`: those of installed recipes, then any fusion, `add` first."""
        recipes = [_System(recipe.visual_encoder.name, recipe.fusion.name) for recipe in Recipe.installed()
                   if recipe.decoder.name == decoder]
        fusions = sorted(self.plugins["fusion"], key=lambda name: (name != "add", name))
        return recipes + [_System(None, fusion) for fusion in fusions]

    def _try(self, encoder: str, decoder: str, systems: list[_System]) -> tuple[Pairing, TalkingFace | None]:
        """The first size and fusion with which a pair works; else why the first of them does not."""
        sizes = [self._class("decoder", decoder).test_size, self._class("visual_encoder", encoder).test_size]
        sizes += sorted({self._class(kind, name).test_size for kind in ("visual_encoder", "decoder")
                         for name in self.plugins[kind]})
        own = [system for system in systems if system.visual_encoder == encoder]
        fusions = dict.fromkeys(system.fusion for system in own + systems if system.fusion in self.plugins["fusion"])
        refused, broken = {}, []
        for fusion in fusions:
            try:
                check_pair(self._recipe(encoder, decoder, fusion, sizes[0]))
            except FctfgError as error:
                return Pairing(encoder, None, decoder, None, None, REFUSED, str(error)), None
            for size in dict.fromkeys(sizes):
                row, model = _run(self._recipe(encoder, decoder, fusion, size))
                if row.state == WORKS:
                    return row, model
                if row.state == BROKEN:
                    broken.append(row)
                    break
                refused.setdefault(row.reason, row)
            if len(broken) == 2:  # one fusion may not reach every part; two are a bug
                break
        if broken:
            return broken[0], None
        # Where one wants another size than the other, it takes what both say.
        both = " ".join([*refused][:1 + (sizes[0] != sizes[1])])
        return replace(next(iter(refused.values())), reason=both), None

    def _hear(self, audio_encoder: str, row: Pairing, model: TalkingFace) -> Pairing:
        """The system of `row`, whose `model` works, with another audio encoder."""
        recipe = self._recipe(row.visual_encoder, row.decoder, row.fusion, row.size, audio_encoder)
        tried, _ = _run(recipe, model)
        return Pairing(None, audio_encoder, row.decoder, row.fusion, row.size, tried.state, tried.reason)

    def _recipe(self, encoder: str, decoder: str, fusion: str, size: int, audio_encoder: str | None = None) -> Recipe:
        names = {"visual_encoder": encoder, "decoder": decoder, "fusion": fusion,
                 "audio_encoder": audio_encoder or self._plainest}
        parts = {kind: {"name": name, "options": dict(self._class(kind, name).test_options)}
                 for kind, name in names.items()}
        return Recipe.from_dict({"name": "pair", "size": size, **parts})

    @cached_property
    def _plainest(self) -> str:
        """The audio encoder of the first table."""
        return "tiny" if "tiny" in self.plugins["audio_encoder"] else next(iter(self.plugins["audio_encoder"]))

    def _class(self, kind: str, name: str) -> type[Component]:
        return self.plugins[kind][name].load()


@dataclass(frozen=True)
class _System:
    visual_encoder: str | None
    fusion: str


def _run(recipe: Recipe, around: TalkingFace | None = None) -> tuple[Pairing, TalkingFace | None]:
    """Build what `recipe` says, or its audio encoder and fusion alone `around` a model, and run one step.

    In eval mode, since batch norm has nothing to learn from one clip; shapes and gradients are the same.
    """
    names = (recipe.visual_encoder.name, None, recipe.decoder.name, recipe.fusion.name, recipe.size)
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_model(recipe) if around is None else _heard_by(recipe, around)
            model.eval()
            clip = random_clip(recipe.size, FRAMES, margin=max(1.0, *model.audio_encoder.context), clips=1)
            output = model(clip)
            if output.frames.shape != clip.frames.shape:
                raise ValueError(f"it draws {tuple(output.frames.shape)} of {tuple(clip.frames.shape)}")
            model.zero_grad()
            if output.frames.requires_grad:
                output.frames.square().mean().backward()
        return Pairing(*names, state=BROKEN if (problem := _unreached(model)) else WORKS, reason=problem), model
    except FctfgError as error:
        return Pairing(*names[:4], size=None, state=REFUSED, reason=str(error)), None
    except Exception as error:  # what should have been refused, or work
        reason = next(iter(str(error).splitlines()), "")
        return Pairing(*names[:4], size=None, state=BROKEN, reason=f"{type(error).__name__}: {reason}"), None


def _heard_by(recipe: Recipe, model: TalkingFace) -> TalkingFace:
    torch.manual_seed(recipe.seed)
    audio_encoder = registry.build("audio_encoder", recipe.audio_encoder.name, **recipe.audio_encoder.options)
    fusion = registry.build("fusion", recipe.fusion.name, codes=model.decoder.codes, speech_width=audio_encoder.width,
                            **recipe.fusion.options)
    return TalkingFace(model.visual_encoder, audio_encoder, fusion, model.decoder)


def _unreached(model: TalkingFace) -> str:
    """Which part could learn and is not reached by the picture's gradient; nothing where all are."""
    for kind in KINDS:
        learning = [p for p in getattr(model, kind).parameters() if p.requires_grad]
        if learning and not any(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in learning):
            return f"no gradient of what is drawn reaches the {registry.label(kind)}"
    return ""


def render(rows: list[Pairing], markdown: bool = False) -> Iterator[str]:
    """Two tables, of encoders by decoders and of audio encoders by decoders, and the reasons below, line by line.

    A cell has the size that both were run at; a dash stands for a pair that is refused, a cross for one that fails.
    """
    if markdown:
        yield ABOUT
    decoders = list(dict.fromkeys(row.decoder for row in rows if row.decoder and row.state != UNUSABLE))
    for kind in KINDS[:2]:
        cells: dict[str, dict[str, str]] = {}
        for row in rows:
            if row.state != UNUSABLE and (name := getattr(row, kind)):
                cells.setdefault(name, {})[row.decoder] = {WORKS: str(row.size), REFUSED: "-", BROKEN: "x"}[row.state]
        yield from _table([[registry.label(kind), *decoders],
                           *([name, *map(by_decoder.get, decoders)] for name, by_decoder in cells.items())], markdown)
        yield ""
    for reason, names in _reasons(rows):
        yield f"{'- ' if markdown else ''}{names}: {reason}"


def _table(lines: list[list[str]], markdown: bool) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines)]
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths)]
        yield f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip()
        if markdown and number == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def _reasons(rows: list[Pairing]) -> Iterator[tuple[str, str]]:
    """Each reason why something does not work, once, and the pairs it is of."""
    pairs: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        if row.state == WORKS:
            continue
        other, decoder = row.visual_encoder or row.audio_encoder or "", row.decoder or ""
        reason = f"{row.state}, {row.reason.replace(repr(other), 'it') if other and decoder else row.reason}"
        pairs.setdefault(reason, {}).setdefault(decoder, []).append(other)
    for reason, by_decoder in pairs.items():
        yield reason, "; ".join(" with ".join(filter(None, [", ".join(filter(None, others)), decoder]))
                                for decoder, others in by_decoder.items())


def examine() -> list[Pairing]:
    """The rows of `Pairs`, with a bar where there is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    with Progress(TextColumn("pairs"), BarColumn(), MofNCompleteColumn(), console=console,
                  disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        return Pairs(lambda done, total: bar.update(task, completed=done, total=total)).rows
