"""The expert that judges: a critic of a run, or one filled from a public file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from .. import registry
from ..errors import BadRun, BadWeights
from ..interfaces import Clip
from ..recipe import Recipe
from ..runs import Run

if TYPE_CHECKING:
    from ..checkpoints import Match, PublicWeights

HOW_TO_GET_ONE = ("train one, which takes minutes on a CPU (fctfg train --recipe sync-expert-small --data PREPARED), "
                  "and give --run RUN; or give --weights syncnet_v2.model or lipsync_expert.pth")


class SyncJudge(Protocol):
    """What a loss offers to be asked about lip sync."""

    context: tuple[float, float]
    """Seconds of sound it hears before and after the moment a frame begins, the sound in step."""
    window: int
    """Frames that one look takes."""
    sees: tuple[str, int] | None
    """The crop profile and size, in pixels, that it knows; None for those of its recipe."""

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
        raise BadRun(f"{run.path} has no expert of lip sync: its losses are {', '.join(recipe.losses) or 'none'}. To get "
                     f"one, {HOW_TO_GET_ONE}.")
    file = run.path / "losses.safetensors"
    if not file.is_file():
        raise BadRun(f"{run.path} has saved no expert yet: it was stopped before its first checkpoint. "
                     f"Go on with: fctfg train --resume {run.path}")
    name = names[0]
    recipe, judge = _build(recipe, name)
    prefix = f"{name}."
    tensors = {key.removeprefix(prefix): value for key, value in load_file(file).items() if key.startswith(prefix)}
    wanted = {key for key, value in judge.state_dict().items() if isinstance(value, Tensor)}
    if wanted != set(tensors):
        raise BadRun(f"{file} does not fit the run's recipe.yaml, which was changed by hand, or the plugin "
                     f"'{recipe.losses[name].name}' has changed.")
    judge.load_state_dict(tensors, strict=False)  # not strict: the optimizer stays behind
    return judge, recipe


def _of_file(path: str, say: Callable[[str], None]) -> tuple[SyncJudge, Recipe]:
    from ..checkpoints import fill, read_weights

    if Path(path).is_dir():
        raise BadWeights(f"{path} is a folder; pass a run folder with --run.")
    match = _recognised(read_weights(path))
    name = next((name for name in match.losses if _can_judge(match.recipe.losses[name].name)), None)
    if name is None:
        raise BadWeights(f"{path} is {match}, and no expert of lip sync; {HOW_TO_GET_ONE}.")
    recipe, judge = _build(match.recipe, name)
    say(fill(nn.Module(), {name: judge}, match.recipe, path))
    return judge, recipe


def _recognised(weights: PublicWeights) -> Match:
    """What a file is; where it fills the experts of several recipes, that with the fewest losses, which is made for it."""
    from ..checkpoints import recognise

    for recipe in sorted(Recipe.installed(), key=lambda recipe: len(recipe.losses)):
        if recipe.public_files and any(_can_judge(part.name) for part in recipe.losses.values()):
            with suppress(BadWeights):
                match = recognise(weights, [recipe])
                if match.losses:
                    return match
    return recognise(weights)


def _can_judge(plugin: str) -> bool:
    return hasattr(registry.find("loss", plugin).load(), "log_odds")


def _build(recipe: Recipe, name: str) -> tuple[Recipe, SyncJudge]:
    """The loss of that name, and the recipe with the pictures that it knows: here they are cut as it likes."""
    part = recipe.losses[name]
    kind = registry.find("loss", part.name).load()
    if kind.sees:
        recipe = recipe.model_copy(update=dict(zip(("crop", "size"), kind.sees)))
    given = {key: getattr(recipe, key) for key in kind.built_with}
    return recipe, registry.build("loss", part.name, **given, **part.options).requires_grad_(False).eval()
