"""Measuring many films in several processes, keeping every row as it comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .. import __version__, registry
from ..errors import BadMedia, MeasuringFailed
from ..faces import Speaker
from ..generating import pick_device
from ..prepare.pool import Died, work_through
from .asked import Asked, Metrics, choose
from .films import find_pairs
from .measuring import Finding, Pair, measure
from .results import Results
from .rows import FILE, Row, Rows, key_of
from .writing import summary, write_report

Say = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """How films are measured, the same for all of them."""

    metrics: tuple[str, ...] = ()
    """As `--metric` says them; none for all that can run."""
    detector: str = "dlib-hog"
    speaker: str = "largest"
    device: str = "auto"
    processes: int | None = None
    """None for one a core; 1 for this one."""


@dataclass(frozen=True)
class _Task:
    pair: Pair
    metrics: tuple[str, ...]
    """Those not measured before."""


def evaluate(generated: str | Path, out: str | Path, reference: str | Path | None = None, how: How = How(), *,
             embed: bool = False, say: Say = print) -> Results:
    """Measure what `find_pairs` finds, and write the report into the folder `out`; what an earlier, interrupted run
    measured the same way is not measured again.

    Raises:
        BadMedia, BadJobs, BadOption, UnknownPlugin: what was given cannot be used, before anything is measured.
        MeasuringFailed: a metric has a bug; raised after the report is written.
    """
    pairs, notes = find_pairs(generated, reference)
    has_reference = any(pair.reference for pair in pairs)
    chosen = choose(how.metrics, pick_device(how.device), there(has_reference))
    check_faces(how)
    folder = open_folder(out)
    name = Path(generated).stem or Path(generated).resolve().name
    results = measure_all({name: pairs}, folder, chosen, how, notes, say)
    write_report(results, folder, embed=embed)
    for line in summary(results):
        say(line)
    say(f"Report: {folder / 'index.html'}")
    complain(results, folder)
    return results


def there(has_reference: bool) -> frozenset[str]:
    """What films have that metrics may need, as far as is known before they are opened."""
    return frozenset({"face", "sound", *(["reference"] if has_reference else [])})


def check_faces(how: How) -> None:
    """Say before anything is measured what is wrong with whom to follow, which would be wrong for every film.

    Raises:
        FctfgError: there is no such detector, or `speaker` means nobody.
    """
    registry.find("detector", how.detector)
    if how.speaker.strip() != "largest":
        Speaker.parse(how.speaker, registry.build("detector", how.detector))


def open_folder(out: str | Path) -> Path:
    """The folder of a report, made where there is none.

    Raises:
        BadMedia: there is a file of that name, a folder with something else in it, or nothing can be written there.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise BadMedia(f"--out {folder} is a file; name a folder for the report.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FILE).exists():
        raise BadMedia(f"--out {folder} holds other files, and no report that could be gone on with; name another "
                       "folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).touch()
    except OSError as error:
        raise BadMedia(f"--out {folder} cannot be written: {error.strerror}; name another folder.") from None
    return folder


def measure_all(systems: dict[str, list[Pair]], folder: Path, chosen: Metrics, how: How, notes: Sequence[str] = (),
                say: Say = print) -> Results:
    """The rows of every pair of every system; those kept in `folder` before are taken from there.

    Ctrl-C leaves all that was finished in `folder`.
    """
    rows = Rows(folder)
    found: dict[tuple[str, str, str], Row] = {}
    keys = {(pair, label): key_of(pair, facts, how.detector, how.speaker)
            for pair in {pair for pairs in systems.values() for pair in pairs} for label, facts in chosen.facts.items()}
    tasks = [_Task(pair, missing) for pair in dict.fromkeys(pair for pairs in systems.values() for pair in pairs)
             if (missing := tuple(label for label in chosen.metrics if keys[pair, label] not in rows.kept))]
    measured: dict[str, Row] = {}
    count = sum(len(pairs) for pairs in systems.values())
    processes = min(os.cpu_count() or 1 if how.processes is None else how.processes, len(tasks))
    setup = partial(_ready, how, tuple(chosen.metrics)) if processes > 1 else partial(_at_hand, chosen, how)
    try:
        with _bar(len(tasks)) as advance:
            for task, said in work_through(tasks, setup, processes if processes > 1 else 0):
                if isinstance(said, float):
                    advance(task, said)
                    continue
                findings = [Finding(label, why=str(said), traceback=str(said)) for label in task.metrics] \
                    if isinstance(said, Died) else [said]
                for finding in findings:
                    row = Row.of(task.pair, finding, chosen.facts[finding.metric])
                    row.key = keys[task.pair, finding.metric]
                    rows.keep(row, finding.score)
                    measured[row.key] = row
                if len([label for label in task.metrics if keys[task.pair, label] in measured]) == len(task.metrics):
                    advance(task, 1.0)
    except KeyboardInterrupt:
        say(f"Stopped; {len(rows.kept)} rows are kept in {folder / FILE}, and the same command goes on from there.")
        raise
    for system, pairs in systems.items():
        for pair in pairs:
            for label in chosen.metrics:
                row = measured.get(keys[pair, label]) or rows.kept[keys[pair, label]]
                found[system, label, pair.name] = replace(row, system=system, clip=pair.name, metric=label)
    kept = count * len(chosen.metrics) - sum(len(task.metrics) for task in tasks)
    if kept:
        say(f"{kept} of {count * len(chosen.metrics)} rows were measured before and are kept.")
    about = {"fctfg": __version__, "detector": how.detector, "speaker": how.speaker}
    results = Results(chosen.facts, list(found.values()), chosen.absent, list(notes), about)
    results.pool(chosen.metrics, folder)
    return results


def complain(results: Results, folder: Path) -> None:
    """End with an error where the report has holes that no film is to blame for.

    Raises:
        MeasuringFailed: a metric has a bug, or a process died.
    """
    if failed := results.failed:
        first = failed[0]
        raise MeasuringFailed(f"{len(failed)} of {len(results.rows)} measurements failed by an error that is not the "
                              f"film's: {first.metric} on {first.generated}: {first.why}. Tracebacks are in "
                              f"{folder / 'results.json'}; the same command tries them again.")


def _ready(how: How, names: tuple[str, ...]) -> Callable[[_Task], Iterator[float | Finding]]:
    """In a process of its own: the metrics anew."""
    device = pick_device(how.device)
    metrics = {}
    for name in names:
        metrics[name] = Asked.parse(name).build()
        metrics[name].load(device)
    return _measuring(metrics, how)


def _at_hand(chosen: Metrics, how: How) -> Callable[[_Task], Iterator[float | Finding]]:
    return _measuring(chosen.metrics, how)


def _measuring(metrics: dict, how: How) -> Callable[[_Task], Iterator[float | Finding]]:
    def work(task: _Task) -> Iterator[float | Finding]:
        yield from measure(task.pair, {name: metrics[name] for name in task.metrics}, how.detector, how.speaker)

    return work


@contextmanager
def _bar(count: int) -> Iterator[Callable[[_Task, float], None]]:
    """Films measured and the time left; silent where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    shares: dict[_Task, float] = {}
    with Progress(TextColumn("measuring"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[films]}"),
                  TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=count, films=f"0/{count} films")

        def advance(film: _Task, share: float) -> None:
            shares[film] = max(share, shares.get(film, 0.0))
            done = sum(share == 1.0 for share in shares.values())
            bar.update(task, completed=sum(shares.values()), films=f"{done}/{count} films")

        yield advance
