"""What a training run says while it goes: a progress bar, metrics.jsonl, curves, TensorBoard, sample strips."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .files import replacing
from .interfaces import FRAME_RATE, SAMPLE_RATE, Clip, Output
from .recipe import Recipe, Stage
from .runs import Run

if TYPE_CHECKING:
    from torch import Tensor

CLIPS_IN_STRIP = 4
LINE_EVERY = 10.0  # seconds, where there is no terminal to draw a bar on


class Reporter:
    """Speaks for the main process; on the others every call does nothing."""

    def __init__(self, run: Run, recipe: Recipe, accelerator: Accelerator, say: Callable[[str], None], step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.say = run, say
        self.active = accelerator.is_main_process
        self.stage = ""
        self.latest: dict[str, float] = {}
        self._since = self._said = time.monotonic()
        self._samples = 0
        if not self.active:
            return
        self.board = SummaryWriter(str(run.path), purge_step=step or None)
        if not step:
            self.board.add_text("recipe", f"```yaml\n{recipe.dump()}```")
        console = Console(stderr=True)
        self.bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                            TextColumn("{task.fields[scalars]}"), TimeRemainingColumn(), console=console,
                            disable=not console.is_terminal, transient=True)
        self.bar.start()

    def begin(self, stage: Stage, done: int) -> None:
        """A stage begins, or goes on from `done` steps."""
        if not self.active:
            return
        self.stage, self.steps, self.done = stage.name, stage.steps, done
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        self.task = self.bar.add_task(stage.name, total=stage.steps, completed=done, scalars="")

    def step(self, step: int, scalars: dict[str, float]) -> None:
        """Scalars of a training step."""
        if not self.active:
            return
        self.latest = scalars
        self._record(step, scalars)

    def advance(self, done: int, samples: int) -> None:
        """One more step, over `samples` clips."""
        if not self.active:
            return
        self.done = done
        self._samples += samples
        now = time.monotonic()
        text = f"{_few(self.latest)}  {self._samples / max(now - self._since, 1e-9):.1f} samples/s"
        self.bar.update(self.task, completed=done, scalars=text)
        if self.bar.disable and now - self._said >= LINE_EVERY:
            self.say(f"{self.stage} {done}/{self.steps}  {text}")
            self._said = now
        if now - self._since > 60:  # the rate of the last minute, not of the whole night
            self._since, self._samples = now, 0

    def evaluation(self, step: int, scalars: dict[str, float]) -> None:
        """Means over the held-out clips."""
        if not self.active:
            return
        self._record(step, scalars)
        draw_curves(self.run)
        self.say(f"{self.stage} {self.done + (self.done == 0)}/{self.steps}  held out: "
                 + "  ".join(f"{name.removeprefix('eval/')} {value:.4g}" for name, value in scalars.items()))

    def skipped(self, step: int, count: int) -> None:
        """A step was skipped because its loss was not finite; `count` so far."""
        if self.active:
            self._record(step, {"skipped": count})
            if count in (1, 10, 100) or count % 1000 == 0:
                self.say(f"The loss was not finite at step {step}; the step is skipped ({count} so far).")

    def strip(self, step: int, clip: Clip, output: Output) -> None:
        """Held-out clips as a picture: for each, its references, the true frames, extras such as the canonical
        face, the drawn frames."""
        if not self.active:
            return
        from PIL import Image

        picture = sample_strip(clip, output)
        path = self.run.path / "samples" / f"step-{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
        self.board.add_image("held out: references, truth, extras, drawn", picture, step, dataformats="HWC")
        first, last = float(clip.times[0]), float(clip.times[-1]) + 1 / FRAME_RATE
        self.board.add_audio("held out", clip.wave[0, round(first * SAMPLE_RATE):round(last * SAMPLE_RATE)].cpu(), step,
                             sample_rate=SAMPLE_RATE)

    def close(self) -> None:
        if self.active:
            self.bar.stop()
            self.board.close()

    def _record(self, step: int, scalars: dict[str, float]) -> None:
        self.run.append_metrics({"step": step, "stage": self.stage, **scalars})
        for name, value in scalars.items():
            self.board.add_scalar(f"{self.stage}/{name}", value, step)


def draw_curves(run: Run) -> None:
    """Draw what was measured on held-out clips over the steps, beside the same of the training clips, as curves.png."""
    from .charts import Panel, draw

    curves: dict[str, tuple[list, list]] = {}
    for line in run.metrics():
        for name, value in line.items():
            if name not in ("step", "stage"):
                across, up = curves.setdefault(name, ([], []))
                across.append(line["step"])
                up.append(value)
    last = max(across[-1] for across, _ in curves.values())
    panels = []
    for name in sorted(name for name in curves if name.startswith("eval/")):
        own = name.removeprefix("eval/")
        training = {"training": _thinned(*curves[own])} if own in curves else {}
        panels.append(Panel(own, "steps", {"held out": curves[name], **training}, width=(0, last)))
    with replacing(run.path / "curves.png") as temporary:
        draw(panels, min(3, len(panels))).save(temporary, format="PNG")


def _thinned(across: list, up: list, most: int = 400) -> tuple[list, list]:
    """So many points at most, each the mean of its neighbours."""
    width = -(-len(across) // most)
    starts = range(0, len(across), width)
    return ([float(np.mean(across[start:start + width])) for start in starts],
            [float(np.mean(up[start:start + width])) for start in starts])


def sample_strip(clip: Clip, output: Output) -> np.ndarray:
    """(rows * H, columns * W, 3) uint8: three rows a clip, and one more for each extra that is pictures."""
    import torch

    size = clip.frames.shape[2:]
    extras = [value for value in output.extra.values() if value.dim() == 5 and value.shape[2:] == size]
    rows = []
    for pictures in list(zip(clip.source, clip.frames, *extras, output.frames))[:CLIPS_IN_STRIP]:
        count = len(pictures[1])
        rows += [_row(row[torch.arange(count) % len(row)]) for row in pictures]
    return np.concatenate(rows)


def _row(pictures: Tensor) -> np.ndarray:
    """(T, 3, H, W) in [-1, 1] to (H, T * W, 3) uint8."""
    values = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
    return np.concatenate(list(values.transpose(0, 2, 3, 1)), axis=1)


def _few(scalars: dict[str, float]) -> str:
    """The scalars that a glance wants: the total, or the critics' losses."""
    chosen = [name for name in ("total", "l1") if name in scalars] or [name for name in scalars if name.endswith("critic")]
    return "  ".join(f"{name} {scalars[name]:.4f}" for name in chosen)
