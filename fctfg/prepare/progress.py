"""How far a run of `prepare` is, and the bar that shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Advance:
    """What is told of a video on the way."""

    frames: int
    """Read since the last time."""
    share: float
    """Of the video, in [0, 1], so far."""


@dataclass
class Progress:
    """How far a run is; given to the `progress` function of `prepare` each time that something is told."""

    files: int
    done: int = 0
    """Files that are finished, those of earlier runs included."""
    total_bytes: int = 0
    """Of the files that this run has to do."""
    bytes: float = 0.0
    """Of those, done so far: what the time left can be told from, since lengths are not known beforehand."""
    frames: int = 0
    """Read in this run."""
    clips: int = 0
    """Kept, those of earlier runs included."""


class ProgressBar:
    """Shows files done, clips kept, frames a second and the time left; says nothing where there is no terminal.

        with ProgressBar() as bar:
            prepare(raw_dir, out, progress=bar)
    """

    def __init__(self):
        from rich.console import Console
        from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.bar = Bar(TextColumn("{task.fields[files]}"), BarColumn(), TextColumn("{task.percentage:.0f}%"),
                       TextColumn("{task.fields[rate]}"), TimeRemainingColumn(elapsed_when_finished=True),
                       console=console, disable=not console.is_terminal, transient=True)
        self.task = self.bar.add_task("", total=None, files="starting", rate="")

    def __enter__(self) -> ProgressBar:
        self.began = time.monotonic()
        self.bar.start()
        return self

    def __exit__(self, *_) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        rate = progress.frames / max(time.monotonic() - self.began, 1e-9)
        self.bar.update(self.task, completed=progress.bytes, total=progress.total_bytes or 1,
                        rate=f"{rate:.0f} frames/s",
                        files=f"{progress.done}/{progress.files} videos, {progress.clips} clips")
