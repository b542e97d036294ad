"""From what a user names (a run, a recipe, a weight file) to a model on a device, and on to the pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .errors import BadMedia, BadRecipe, BadRun
from .interfaces import Fusion
from .model import Steering, TalkingFace, build_model
from .recipe import Recipe
from .runs import load_model


def open_model(run: str | None = None, recipe: str | None = None, checkpoint: str | None = None,
               say: Callable[[str], None] = print) -> tuple[TalkingFace, Recipe, dict[str, str]]:
    """The model in eval mode on the CPU, its recipe, and where its weights come from, for the report.

    Raises:
        BadRun: nothing was named, or a recipe that draws nothing without weights.
        BadWeights: the file is not what it should be.
    """
    if run:
        model, chosen = load_model(run)
        return model, chosen, {"run": str(run), "sha256": _sha256(Path(run) / "model.safetensors")}
    if checkpoint:
        from .checkpoints import load_public

        model, match = load_public(checkpoint, Recipe.find(recipe) if recipe else None)
        say(match.notice)
        return model.eval(), match.recipe, {"file": str(checkpoint), "sha256": _sha256(Path(checkpoint))}
    if not recipe:
        raise BadRun("Give --run RUN, --checkpoint FILE, or --recipe warp, which needs no weights.")
    chosen = Recipe.find(recipe)
    model = build_model(chosen)
    if any(True for _ in model.parameters()):
        raise BadRun(f"Recipe '{chosen.name}' needs weights: train it and give --run RUN, or give --checkpoint FILE; "
                     "--recipe warp needs none.")
    return model.eval(), chosen, {}


def generate(face: str, audio: str | None, out: str, *, run: str | None = None, recipe: str | None = None,
             checkpoint: str | None = None, device: str = "auto", precision: str = "auto", motion: float = 1.0,
             blend: float = 0.5, direction: str | None = None, by: float = 1.0,
             say: Callable[[str], None] = print, **options: Any) -> dict[str, Any]:
    """Open the model and make `face` say `audio` into `out`; the report. See `Studio`."""
    studio = Studio(run, recipe, checkpoint, device=device, precision=precision, motion=motion,
                    blend=blend if options.get("other_driving") else 0.0, direction=direction, by=by, say=say)
    with _progress_bar() as progress:
        report = studio.draw(face, audio, out, progress=progress, **options)
    say(summary(report))
    for warning in report["warnings"]:
        say(warning)
    return report


class Studio:
    """A model on its device, ready to draw one video after the other.

    The motion is scaled by `motion`, blended with that of another driving video, whose share is `blend`, and moved `by`
    steps along a `direction` of the run.
    """

    def __init__(self, run: str | None = None, recipe: str | None = None, checkpoint: str | None = None, *,
                 device: str = "auto", precision: str = "auto", motion: float = 1.0, blend: float = 0.0,
                 direction: str | None = None, by: float = 1.0, say: Callable[[str], None] = print):
        from .quicken import quicken

        model, self.recipe, self.weights = open_model(run, recipe, checkpoint, say)
        model.steering = steering(self.recipe, model, run, motion, blend, direction, by)
        self.steered = {"motion": motion, "blend": blend, "direction": direction, "by": by} if model.steering else {}
        self.device = pick_device(device)
        self.model = quicken(model, self.device, None if precision == "auto" else precision)

    def draw(self, face: str, audio: str | None, out: str, *,
             progress: Callable[[int, int], None] = lambda done, total: None, **options: Any) -> dict[str, Any]:
        """Make `face` say `audio`, its own sound where that is None, into `out`; the report.

        `action_units`, `au_file`, `blink` and `au` say what action units show besides what is heard: see `Expression`.
        `progress` and the other `options` go to `fctfg.pipeline.generate`.

        Raises:
            BadMedia: an input cannot be used, or there is nothing to say.
        """
        from .media import is_picture, probe_video
        from .pipeline import Expression
        from .pipeline import generate as draw

        if audio is None and not options.get("driving"):
            if is_picture(face) or not probe_video(face).has_sound:
                raise BadMedia(f"{face} has no sound of its own; give the speech with --audio.")
            audio = face
        asked = self.asked(options)
        expression = Expression(*(options.pop(name, None) for name in ("action_units", "au_file", "blink")),
                                tuple(options.pop("au", ())))
        return draw(face, audio, out, self.model, self.recipe, device=self.device, weights=self.weights, asked=asked,
                    expression=expression, progress=progress, **options)

    def asked(self, options: dict[str, Any]) -> dict[str, Any]:
        """How a drawing with these `options` is asked for, as the report has it."""
        return json.loads(json.dumps({**self.steered, **options}, default=str))


def summary(report: dict[str, Any]) -> str:
    """What a generation did, in a line."""
    without = report["frames_passed_through"]
    passed = f", {without} of them without the face and left as they were" if without else ""
    return (f"{report['out']}: {report['frames_out']} frames of {report['seconds']:.1f} s{passed}; "
            f"{report['frames_per_second']:.1f} frames/s. Report: {Path(report['out']).with_suffix('.json')}")


def steering(recipe: Recipe, model: TalkingFace, run: str | None, motion: float, blend: float, direction: str | None,
             by: float) -> Steering | None:
    """What these settings ask for; None where that is nothing.

    Raises:
        BadRecipe: the recipe's motion cannot be controlled.
        BadRun: the run knows no such direction.
    """
    from .directions import Directions

    if motion == 1 and not blend and direction is None:
        return None
    if type(model.fusion).compose is Fusion.compose:
        raise BadRecipe(f"Recipe '{recipe.name}' does not keep who a face is and how it moves apart, so its motion cannot be "
                        "controlled; one with fusion 'canonical-motion' does, such as fc-tfg.")
    if direction is not None and run is None:
        raise BadRun("Directions of motion belong to a run folder; give --run RUN.")
    return Steering(motion, blend, None if direction is None else by * Directions.load(run).find(direction))


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Frames done, frames a second and the time left; silent where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"),
                  TimeRemainingColumn(), console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BadRun(f"--device {name} cannot be used here ({reason}); `fctfg doctor` lists the devices, --device cpu works.") from None
    return device


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
