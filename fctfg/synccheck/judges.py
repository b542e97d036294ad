"""The expert that judges: a critic of a run, or one filled from a public file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from .. import registry
from ..errors import BadRun, BadWeights
from ..interfaces import Clip
from ..recipe import Recipe
from ..runs import Run

HOW_TO_GET_ONE = ("train one, which takes minutes on a CPU (fctfg train --recipe sync-expert-small --data PREPARED), and "
                  "give --run RUN; or give --weights lipsync_expert.pth")


@runtime_checkable
class SyncJudge(Protocol):
    """What a loss offers to be asked about lip sync."""

    context: tuple[float, float]
    """Seconds of sound it hears before and after the moment a frame begins, the sound in step."""
    window: int
    """Frames that one look takes."""

    def log_odds(self, clip: Clip, reach: int) -> Tensor:
        """Of mouth and sound being of one moment, where as many are as are not: (B, W, 2 reach + 1).

        Window w begins with frame w; entry j takes the sound to be j - `reach` frames early. The clip's wave reaches
        `reach` frames beyond `context`.
        """


def open_judge(run: str | None = None, weights: str | None = None,
               say: Callable[[str], None] = print) -> tuple[SyncJudge, Recipe]:
    """The expert of a run folder or of a public weight file, and the recipe that says how its pictures are cut.

    Raises:
        BadRun: neither was named, or the run has no expert.
        BadWeights: the file is none of an expert.
    """
    if run:
        return _of_run(Run.open(run))
    if weights:
        return _of_file(weights, say)
    raise BadRun(f"Lip sync is judged by an expert: {HOW_TO_GET_ONE}.")


def _of_run(run: Run) -> tuple[SyncJudge, Recipe]:
    from safetensors.torch import load_file

    recipe = run.recipe
    names = [name for name, part in recipe.losses.items() if _can_judge(part.name)]
    if not names:
        raise BadRun(f"{run.path} has no expert of lip sync: its losses are {', '.join(recipe.losses) or 'none'}. To get one, "
                     f"{HOW_TO_GET_ONE}.")
    file = run.path / "losses.safetensors"
    if not file.is_file():
        raise BadRun(f"{run.path} has saved no expert yet: it was stopped before its first checkpoint. "
                     f"Go on with: fctfg train --resume {run.path}")
    name = names[0]
    judge = _build(recipe, name)
    prefix = f"{name}."
    tensors = {key.removeprefix(prefix): value for key, value in load_file(file).items() if key.startswith(prefix)}
    wanted = {key for key, value in judge.state_dict().items() if isinstance(value, Tensor)}
    if wanted != set(tensors):
        raise BadRun(f"{file} does not fit the run's recipe.yaml, which was changed by hand, or the plugin '{name}' has changed.")
    judge.load_state_dict(tensors, strict=False)  # not strict: the optimizer stays behind
    return judge, recipe


def _of_file(path: str, say: Callable[[str], None]) -> tuple[SyncJudge, Recipe]:
    from ..checkpoints import fill, read_weights, recognise

    if Path(path).is_dir():
        raise BadWeights(f"{path} is a folder; pass a run folder with --run.")
    match = recognise(read_weights(path))
    names = [name for name in match.losses if _can_judge(match.recipe.losses[name].name)]
    if not names:
        raise BadWeights(f"{path} is {match}, and no expert of lip sync; {HOW_TO_GET_ONE}.")
    judge = _build(match.recipe, names[0])
    say(fill(nn.Module(), {names[0]: judge}, match.recipe, path))
    return judge, match.recipe


def _can_judge(plugin: str) -> bool:
    return hasattr(registry.find("loss", plugin).load(), "log_odds")


def _build(recipe: Recipe, name: str) -> SyncJudge:
    part = recipe.losses[name]
    given = {key: getattr(recipe, key) for key in registry.find("loss", part.name).load().built_with}
    return registry.build("loss", part.name, **given, **part.options).requires_grad_(False).eval()
