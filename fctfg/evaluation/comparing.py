"""Several systems on the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import __version__
from ..errors import BadMedia, BadOption, FctfgError
from ..generating import pick_device
from ..jobs import Job, draw_jobs
from .asked import Asked, choose
from .films import find_pairs
from .measuring import Pair
from .results import FILE, Results, common_facts
from .running import How, Say, check_faces, complain, measure_all, open_folder, there
from .writing import summary, write_report

FILMS = "films"


@dataclass(frozen=True)
class System:
    """Something that makes films, and where they, or what it learnt, lie."""

    name: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> System:
        """Read `PATH` or `NAME=PATH`."""
        name, equals, path = text.partition("=")
        if equals and name and path and not Path(text).exists():
            return cls(name, Path(path))
        return cls(Path(text).stem or Path(text).resolve().name, Path(text))

    @property
    def is_report(self) -> bool:
        return (self.path / FILE).is_file()

    @property
    def is_run(self) -> bool:
        return (self.path / "recipe.yaml").is_file()


def compare(systems: Sequence[str], out: str | Path, reference: str | Path | None = None, how: How = How(), *,
            embed: bool = False, say: Say = print) -> Results:
    """Put `systems` beside each other over the same clips, and write the report into the folder `out`.

    Each is a report of `evaluate`, whose rows are taken as they are; a folder of videos, or a table, which is measured;
    or a run folder, which draws every video of `reference` with its own sound first. The first is what the others are
    held against.

    Raises:
        FctfgError: what was given cannot be used, before anything is measured.
        MeasuringFailed: a metric has a bug; raised after the report is written.
    """
    named = [System.parse(text) for text in systems]
    for system in named:
        if not system.path.exists():
            raise BadMedia(f"There is no file or folder {system.path}; give reports, runs, or folders of videos.")
    if clash := next((system.name for system in named if sum(other.name == system.name for other in named) > 1), None):
        raise BadOption(f"Two systems are called '{clash}'; name them: fctfg compare one={named[0].path} other=...")
    reports = {system.name: _loaded(system) for system in named if system.is_report}
    fresh = [system for system in named if not system.is_report]
    if reference is None and (run := next((system for system in fresh if system.is_run), None)):
        raise BadOption(f"{run.path} is a run: give --reference FOLDER, whose videos it is to draw.")
    metrics = how.metrics or tuple(dict.fromkeys(label for results in reports.values() for label in results.facts))
    if fresh:  # whatever is wrong with them is said before a folder is made, and before runs draw for hours
        choose(metrics, pick_device(how.device), there(reference is not None or any(map(_is_table, fresh))))
        check_faces(how)
    folder = open_folder(out)
    parts, chosen = dict(reports), None
    if fresh:
        pairs, notes = {}, []
        for system in fresh:
            if system.is_run:
                real, _ = find_pairs(reference)
                pairs[system.name] = draw_films(system, real, folder / FILMS / system.name, how.device, say)
            else:
                pairs[system.name], more = find_pairs(system.path, reference)
                notes += [f"{system.name}: {note}" for note in more]
        has_reference = any(pair.reference for each in pairs.values() for pair in each)
        chosen = choose(metrics, pick_device(how.device), there(has_reference))
        measured = measure_all(pairs, folder, chosen, how, notes, say)
        for system in fresh:
            parts[system.name] = replace(measured, rows=[row for row in measured.rows if row.system == system.name])
    results = _beside([parts[system.name] for system in named])
    results.pool(chosen.metrics if chosen else _rebuilt(results), folder)
    write_report(results, folder, embed=embed, heading=f"Compared: {', '.join(system.name for system in named)}")
    for line in summary(results):
        say(line)
    say(f"Report: {folder / 'index.html'}")
    complain(results, folder)
    return results


def draw_films(system: System, real: Sequence[Pair], folder: Path, device: str, say: Say) -> list[Pair]:
    """The films that a run draws of each of the `real` ones with its own sound; those drawn before are kept."""
    jobs = [Job(line, str(pair.generated), str(pair.generated), str(folder / f"{pair.name}.mp4"))
            for line, pair in enumerate(real, start=1)]
    return [Pair(pair.name, Path(result.job.out), pair.generated, missing=f"it could not be drawn: {result.problem}"
                 if result.state == "failed" else "")
            for pair, result in zip(real, draw_jobs(jobs, run=str(system.path), device=device, say=say))]


def _is_table(system: System) -> bool:
    """Whether it may name references of its own."""
    return system.path.suffix.lower() in (".csv", ".tsv")


def _loaded(system: System) -> Results:
    """A report under one name, its features found from anywhere."""
    results = Results.load(system.path)
    one = len(results.systems) == 1
    for row in results.rows:
        row.system = system.name if one else f"{system.name}, {row.system}"
        row.features = str((system.path / row.features).absolute()) if row.features else ""
    return Results(results.facts, results.rows, results.absent, results.notes, results.about)


def _beside(parts: Sequence[Results]) -> Results:
    facts, notes = common_facts(parts)
    if not facts:
        raise BadOption(f"No metric was measured alike for all of them. {' '.join(notes)}")
    rows = [row for results in parts for row in results.rows if row.metric in facts]
    about = {"fctfg": __version__, **{name: value for name, value in parts[0].about.items()
                                      if all(results.about.get(name) == value for results in parts)}}
    absent = {name: why for results in parts for name, why in results.absent.items()}
    notes += dict.fromkeys(note for results in parts for note in results.notes)
    return Results(facts, rows, absent, notes, about)


def _rebuilt(results: Results) -> dict:
    """The metrics of reports, to tell of whole sets; those that are not installed here are passed over."""
    found = {}
    for label in results.facts:
        try:
            found[label] = Asked.parse(label).build()
        except FctfgError:
            results.notes.append(f"{label} is not installed here, so nothing is told of whole sets.")
    return found
