"""The benchmark: systems on the same lists of tests, beside a floor and a check that say what the numbers are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .. import media
from ..errors import BadMedia, BadOption
from ..generating import pick_device
from ..interfaces import SAMPLE_RATE
from ..jobs import Job, draw_jobs
from ..recipe import Recipe
from ..runs import Run
from .asked import choose
from .comparing import FILMS, System
from .measuring import Pair
from .results import SIGNS, Column, Results
from .running import How, Say, check_faces, complain, measure_all, open_folder, there
from .testlists import Driven, cross_driven, held_out_films, self_driven, write_film
from .truth import Truth, agreement
from .writing import summary, write_report

UNCHANGED, WARP = "source unchanged", "warp"
LATE = 10
"""Frames by which the sound of the check is late."""
SHIFTED = f"sound {LATE} frames late"


@dataclass(frozen=True)
class Suite:
    """What is tested on what."""

    data: str
    """A prepared folder, or "synthetic"."""
    raw: str | None = None
    """The folder of videos that it was prepared from."""
    clips: int = 20
    seed: int = 0
    truth: Truth | None = Truth()
    """None to leave the drawn heads out."""


def benchmark_systems(suite: Suite, systems: Sequence[str], out: str | Path, how: How = How(), *, embed: bool = False,
                      say: Say = print) -> dict[str, Results]:
    """Let every run of `systems` draw the self-driven and the cross-driven list, measure all, and write a report for
    each list into the folder `out`. What was drawn and measured before, the same way, is kept.

    In both lists are `warp`, which was never trained, and the source itself with the words that it should say; in the
    self-driven one the source with its sound late, too. Of each quantity the self-driven report says whether it can
    tell these apart on this data, and how it agrees with the truth on drawn heads.

    Raises:
        FctfgError: what was given cannot be used.
        MeasuringFailed: a metric has a bug; raised after the reports are written.
    """
    runs = [System.parse(text) for text in systems]
    names = [UNCHANGED, SHIFTED, WARP, *(system.name for system in runs)]
    if clash := next((name for name in names if names.count(name) > 1), None):
        raise BadOption(f"Two systems are called '{clash}'; name them: --run one=RUN --run other=RUN.")
    recipes = [Run.open(str(system.path)).recipe for system in runs]
    device = pick_device(how.device)
    choose(how.metrics, device, there(True))  # whatever is wrong with them is said before hours of drawing
    check_faces(how)
    folder = open_folder(out)
    films = held_out_films(suite.data, folder / FILMS / "real", suite.clips, recipes, suite.seed, suite.raw)
    notes = [f"{system.name} was trained with nothing held out: it may have seen these clips."
             for system, recipe in zip(runs, recipes) if not recipe.held_out]
    if suite.raw is None and suite.data.partition(":")[0] != "synthetic":
        notes.append("The films are the stored crops, enlarged; detectors miss faces there that they find in the whole "
                     "videos, which --raw RAW_FOLDER has drawn instead.")
    reports = {}
    for title, tests in (("self-driven", self_driven(films)), ("cross-driven", cross_driven(films, suite.seed))):
        if not tests:
            say(f"{title}: left out, since there is a single speaker.")
            continue
        own = title == "self-driven"
        pairs = _drawn(tests, runs, folder / FILMS / title, how.device, own, say)
        chosen = choose(how.metrics if own else _without_reference(how, device), device, there(own))
        part = open_folder(folder / title)
        results = measure_all(pairs, part, chosen, how, notes, say)
        results.about.update({"list": title, "data": suite.data, "seed": suite.seed,
                              "films": "raw videos" if suite.raw else "stored crops"})
        if own:
            results.sections["What can be told apart on this data"] = apart_section(results)
            if suite.truth:
                results.sections["Agreement with the truth on drawn heads"] = agreement(
                    suite.truth, folder / "truth", chosen, how, say)
        write_report(results, part, embed=embed, heading=f"Benchmark, {title}")
        say(f"\n{title}: {len(tests)} tests of {len(films)} films")
        for line in [*summary(results), *_told(results), f"Report: {part / 'index.html'}"]:
            say(line)
        reports[title] = results
    for title, results in reports.items():
        complain(results, folder / title)
    return reports


def _without_reference(how: How, device) -> tuple[str, ...]:
    """Those of the metrics asked for that need no real video of the same words; where words are swapped is none."""
    if not how.metrics:
        return ()
    asked = choose(how.metrics, device, there(True))
    return tuple(label for label, metric in asked.metrics.items() if "reference" not in metric.needs)


def _drawn(tests: Sequence[Driven], runs: Sequence[System], folder: Path, device: str, own: bool,
           say: Say) -> dict[str, list[Pair]]:
    """The films of every system for each of the tests, drawn where they are not there yet."""
    kept = folder / UNCHANGED
    pairs = {UNCHANGED: [_pair(test, kept / f"{test.name}.mp4", own, _keep_source(test, kept)) for test in tests]}
    if own:
        pairs[SHIFTED] = [_pair(test, folder / SHIFTED / f"{test.name}.mp4", own,
                                _shift(kept / f"{test.name}.mp4", folder / SHIFTED / f"{test.name}.mp4"))
                          for test in tests]
    drawing = {WARP: {"recipe": WARP}, **{system.name: {"run": str(system.path)} for system in runs}}
    for name, model in drawing.items():
        say(f"drawing {len(tests)} films by {name}")
        jobs = [Job(line, str(test.face.path), str(test.words.path), str(folder / name / f"{test.name}.mp4"))
                for line, test in enumerate(tests, start=1)]
        drawn = draw_jobs(jobs, device=device, say=say, common={"when_audio_is_longer": "cut"}, **model)
        pairs[name] = [_pair(test, Path(result.job.out), own, result.problem) for test, result in zip(tests, drawn)]
    return pairs


def _pair(test: Driven, path: Path, own: bool, problem: str) -> Pair:
    missing = f"it could not be drawn: {problem}" if problem else ""
    return Pair(test.name, path, test.face.path if own else None, missing=missing)


def _keep_source(test: Driven, folder: Path) -> str:
    """The source as it is with the words of the test, encoded as what systems draw is; why not, where it cannot be."""
    out = folder / f"{test.name}.mp4"
    if out.exists():
        return ""
    try:
        info = media.probe_video(test.face.path)
        wave = media.read_sound(test.words.path, SAMPLE_RATE)
        frames = islice(media.read_video(test.face.path), max(1, round(len(wave) / SAMPLE_RATE * info.frame_rate)))
        write_film(out, frames, info.frame_rate, wave)
    except BadMedia as error:
        return str(error)
    return ""


def _shift(film: Path, out: Path) -> str:
    if out.exists() or not film.exists():
        return "" if film.exists() else "there is no source"
    out.parent.mkdir(parents=True, exist_ok=True)
    media.shift_sound(film, out, LATE / float(media.probe_video(film).frame_rate))
    return ""


def apart_section(results: Results) -> dict:
    """Of each quantity, whether it puts the source above the source with its sound late, and above `warp`.

    It can tell two apart where the 95 % interval of the paired difference over clips, of five at least, leaves out 0 on
    the right side. One that can tell neither is blind on this data.
    """
    rows = []
    for column in results.columns:
        if column.quantity.better not in SIGNS:
            continue
        told = [_tells(results, column, SHIFTED), _tells(results, column, WARP)]
        verdict = ("too few clips to say" if None in told else "blind on this data" if not any(told) else
                   " and ".join(name for name, tells in zip(("sync", "warp from real"), told) if tells))
        rows.append([column.title, results.facts[column.metric].protocol, *map(_words, told), verdict])
    return {"about": f"Whether a quantity puts '{UNCHANGED}' above '{SHIFTED}' and above '{WARP}': the 95 % interval "
                     "of the paired difference over clips, of five at least, leaves out 0 on the right side. One that "
                     "can tell neither is blind on this data, and its numbers for the other systems say nothing.",
            "head": ["quantity", "protocol", f"against {SHIFTED}", f"against {WARP}", "can tell"], "rows": rows}


def _tells(results: Results, column: Column, other: str) -> bool | None:
    """None where too few clips have both."""
    apart = results.difference(other, UNCHANGED, column)
    if apart is None or apart.n < 5:
        return None
    return apart.is_sure and apart.mean * SIGNS[column.quantity.better] > 0


def _words(told: bool | None) -> str:
    return {True: "told apart", False: "not told apart", None: "too few clips"}[told]


def _told(results: Results) -> list[str]:
    """The sections as lines."""
    lines = []
    for title, section in results.sections.items():
        table = [[str(cell) for cell in row] for row in [section["head"], *section["rows"]]]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines += ["", f"{title}. {section['about']}"]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    return lines
