"""Many faces and sounds, of a table or a folder, drawn one after the other by a model that is opened once."""

from __future__ import annotations

import csv
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import registry
from .errors import BadJobs, FctfgError
from .generating import Studio
from .media.files import existing_file

REQUIRED = ("face", "audio", "out")
OPTIONAL = ("driving", "speaker", "fps", "detector", "when_audio_is_longer", "when_audio_is_shorter")
"""Columns that a table may have, with what `fctfg.pipeline.generate` takes by these names."""
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PATHS = ("face", "audio", "out", "driving")


@dataclass(frozen=True)
class Job:
    """One row: what to draw, and where to."""

    line: int
    """Of the table, where the row ends; the header is line 1. Of a folder, its number there."""
    face: str
    audio: str | None
    """None for the face video's own sound, or the driving one's."""
    out: str
    options: dict[str, str] = field(default_factory=dict)
    in_table: bool = True

    def __str__(self) -> str:
        return f"line {self.line}" if self.in_table else self.face

    def check(self) -> None:
        """Refuse what can be told before anything is drawn.

        Raises:
            BadMedia: an input is missing, empty or not to be read.
        """
        for path in (self.face, self.audio, self.options.get("driving")):
            if path is not None:
                existing_file(path)


@dataclass(frozen=True)
class Result:
    """What became of a job."""

    job: Job
    state: str
    """`done`, `kept` or `failed`."""
    report: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def read_jobs(path: str | Path) -> list[Job]:
    """The rows of a table with a header, separated by commas, semicolons or tabs; empty lines are passed over.

    Paths are relative to the table's folder. An empty cell is as if the column were not there.

    Raises:
        BadJobs: it cannot be read, lacks a column or has one too many; or a row is not as long as the header, has an
            empty cell where something must be, or writes where another does. The message has the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadJobs(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise BadJobs(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV in "
                      "UTF-8.") from None
    lines = text.splitlines(keepends=True)
    rows = csv.reader(lines, delimiter=max(",;\t", key=lines[0].count) if lines else ",", strict=True)
    try:
        numbered = [(rows.line_num, [cell.strip() for cell in row]) for row in rows]
    except csv.Error as error:
        raise BadJobs(f"{path}, line {rows.line_num}: {error}.") from None
    numbered = [(line, row) for line, row in numbered if any(row)]
    columns = _columns(path, numbered[0][1] if numbered else [])
    jobs = [_job(path, line, columns, row) for line, row in numbered[1:]]
    if not jobs:
        raise BadJobs(f"{path} has no jobs below its header.")
    taken: dict[Path, int] = {}
    for job in jobs:
        if (first := taken.setdefault(Path(job.out).absolute(), job.line)) != job.line:
            raise BadJobs(f"{path}, line {job.line}: {job.out} is written by line {first} already; give each its own.")
    return jobs


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.lower().replace("-", "_").replace(" ", "_") for name in header]
    takes = f"It takes {', '.join(REQUIRED)}, and where wanted {', '.join(OPTIONAL)}."
    if missing := [name for name in REQUIRED if name not in columns]:
        raise BadJobs(f"{path}, line 1: there is no column {' nor '.join(missing)}. {takes}")
    for name, column in zip(header, columns):
        if column not in REQUIRED + OPTIONAL:
            nearest = registry.suggest(column, REQUIRED + OPTIONAL)
            raise BadJobs(f"{path}, line 1: unknown column '{name}'.{nearest} {takes}")
        if columns.count(column) > 1:
            raise BadJobs(f"{path}, line 1: there are two columns '{name}'.")
    return columns


def _job(path: Path, line: int, columns: list[str], row: list[str]) -> Job:
    if len(row) != len(columns):
        raise BadJobs(f"{path}, line {line}: {len(row)} cells, and the header has {len(columns)}; quote a cell that "
                      "holds the separator.")
    cells = {name: cell for name, cell in zip(columns, row) if cell}
    for name in ("face", "out"):
        if name not in cells:
            raise BadJobs(f"{path}, line {line}: the cell of column {name} is empty.")
    for name in PATHS:
        if name in cells:
            cells[name] = str(path.parent / cells[name])
    if (picture := path.parent / cells.get("speaker", "")).is_file():
        cells["speaker"] = str(picture)
    return Job(line, cells.pop("face"), cells.pop("audio", None), cells.pop("out"), cells)


def jobs_of_folder(folder: str | Path, audio: str | None, out: str | Path) -> list[Job]:
    """One for each picture in `folder`, by name: `out`/NAME.mp4, in which it says `audio`.

    Raises:
        BadJobs: there is no picture, two share a name, or `out` is a file's name.
    """
    folder, out = Path(folder), Path(out)
    faces = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=lambda path: path.name)
    if not faces:
        raise BadJobs(f"{folder} has no pictures; there are none that end in {', '.join(PICTURES)}.")
    if out.suffix:
        raise BadJobs(f"{folder} is a folder, so --out names one too, for a video of each of its pictures; not {out}.")
    for one, other in zip(faces, faces[1:]):
        if one.stem == other.stem:
            raise BadJobs(f"{one} and {other} would both become {out / one.stem}.mp4; rename one of them.")
    return [Job(number, str(face), audio, str(out / f"{face.stem}.mp4"), in_table=False)
            for number, face in enumerate(faces, 1)]


def run_jobs(jobs: Sequence[Job], *, say: Callable[[str], None] = print, common: dict[str, Any] | None = None,
             **studio: Any) -> list[Result]:
    """Draw all of `jobs`; one that fails is told of, and the others go on. What became of them, in order.

    A video that is there already, drawn as it would be now and not older than what it is made from, is kept. `common`
    holds options for every job, which its own row overrides, and of `plot` the folder; `studio` goes to `Studio`.

    Raises:
        BadJobs: jobs failed, with the list, after the last; or `plot` is a file's name.
    """
    plots = (common or {}).get("plot")
    if plots and Path(plots).suffix:
        raise BadJobs(f"There are many plots to write, so --plot names a folder for them; not {plots}.")
    results = draw_jobs(list(jobs), say=say, common=common, **studio)
    for line in render(results):
        say(line)
    if failed := [result for result in results if result.state == "failed"]:
        listed = "; ".join(f"{result.job}, {result.job.out}: {result.problem.rstrip('.')}"
                           for result in failed)
        raise BadJobs(f"{len(failed)} of {len(results)} jobs failed: {listed}.")
    return results


def draw_jobs(jobs: list[Job], *, say: Callable[[str], None] = print, common: dict[str, Any] | None = None,
              **studio: Any) -> list[Result]:
    """What became of each of `jobs`, in order, as `run_jobs` draws them; none raises."""
    if not (common or {}).get("other_driving"):
        studio["blend"] = 0.0
    problems = {job.line: problem for job in jobs if (problem := _problem_of(job))}
    for job in jobs:
        if problem := problems.get(job.line):
            say(f"{job}: {problem}")
    opened = Studio(say=say, **studio) if len(problems) < len(jobs) else None
    results = []
    with _progress_bars(len(jobs)) as advance:
        for job in jobs:
            if problem := problems.get(job.line):
                results.append(Result(job, "failed", problem=problem))
            else:
                results.append(_draw(opened, job, {**(common or {}), **job.options}, advance.frames))
                if results[-1].problem:
                    say(f"{job}: {results[-1].problem}")
            advance.job()
    return results

def _problem_of(job: Job) -> str:
    try:
        job.check()
    except FctfgError as error:
        return " ".join(str(error).split())
    return ""


def _draw(studio: Studio, job: Job, options: dict[str, Any], progress: Callable[[int, int], None]) -> Result:
    if "plot" in options:
        options = {**options, "plot": str(Path(options["plot"]) / f"{Path(job.out).stem}.png")}
    if report := _made_before(studio, job, options):
        return Result(job, "kept", report)
    try:
        for written in filter(None, (job.out, options.get("plot"))):
            Path(written).parent.mkdir(parents=True, exist_ok=True)
        return Result(job, "done", studio.draw(job.face, job.audio, job.out, progress=progress, **options))
    except (FctfgError, OSError) as error:
        return Result(job, "failed", problem=" ".join(str(error).split()))
    except Exception as error:  # a bug of ours, or no memory for this one: others may work
        traceback.print_exc()
        return Result(job, "failed", problem=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _made_before(studio: Studio, job: Job, options: dict[str, Any]) -> dict[str, Any]:
    """The report of an earlier run that drew the same from the same files; empty where there is none."""
    out, inputs = Path(job.out), [job.face, job.audio, *map(options.get, ("driving", "other_driving", "au_file"))]
    try:
        report = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
        newest = max(Path(path).stat().st_mtime for path in inputs if path)
        if out.stat().st_mtime < newest:
            return {}
    except (OSError, ValueError):
        return {}
    same = {"face": job.face, "recipe": studio.recipe.name, "weights": studio.weights, "asked": studio.asked(options)}
    if job.audio or not options.get("driving"):
        same["audio"] = job.audio or job.face
    return report if all(report.get(name) == value for name, value in same.items()) else {}


def render(results: list[Result]) -> Iterator[str]:
    """A table of what became of the jobs, line by line."""
    rows = [("line", "state", "frames", "seconds", "frames/s", "out")]
    for result in results:
        said = result.report
        numbers = ([str(said.get("frames_out", "")), f"{said['seconds']:.1f}", f"{said['frames_per_second']:.1f}"]
                   if said else [""] * 3)
        rows.append((str(result.job.line), result.state, *numbers, result.job.out))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) if column == 1 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        yield "  ".join([*cells, row[5]])


@dataclass(frozen=True)
class _Advance:
    job: Callable[[], None]
    frames: Callable[[int, int], None]


@contextmanager
def _progress_bars(jobs: int) -> Iterator[_Advance]:
    """Jobs done and frames of the one under way; silent where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  console=console, disable=not console.is_terminal, transient=True) as bar:
        all_jobs, frames = bar.add_task("jobs", total=jobs), bar.add_task("frames", total=None)
        yield _Advance(lambda: bar.advance(all_jobs),
                       lambda done, total: bar.update(frames, completed=done, total=total))
