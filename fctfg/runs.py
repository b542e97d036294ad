"""The run folder: everything a training run leaves behind, and all that `generate` and `--resume` need.

    runs/0003-wav2lip/
      recipe.yaml               what was asked for, complete; written before the first step
      model.safetensors         the TalkingFace to generate with: the moving average where a stage keeps one
      losses.safetensors        the critics' networks, such as the sync expert
      checkpoints/step-*.pt     everything a killed run needs to go on, newest last
      metrics.jsonl             one line per report
      curves.png                what held-out clips gave, over the steps
      samples/*.png             strips of held-out clips
      events.out.tfevents.*     the same for TensorBoard
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from .errors import BadRun
from .files import replacing, write_text
from .recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .model import TalkingFace

# A resumed run may go on for longer or report at another pace; anything else would make it another run.
MAY_CHANGE = re.compile(r"stages\.\d+\.(steps|until)(\..*)?|evaluate_every|evaluate_batches|save_every|keep|patience")


class Run:
    """One run folder."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @classmethod
    def create(cls, recipe: Recipe, out: str | Path | None = None, root: str | Path = "runs") -> Run:
        """A new folder: `out`, or the next number under `root`.

        Raises:
            BadRun: `out` already holds a run, or cannot be written to.
        """
        if out is None:
            taken = [int(match[1]) for path in Path(root).glob("*") if (match := re.match(r"(\d+)-", path.name))]
            out = Path(root) / f"{max(taken, default=0) + 1:04d}-{recipe.name}"
        run = cls(out)
        if run.path.is_dir() and any(run.path.iterdir()):
            raise BadRun(f"{run.path} is not empty; go on with --resume {quote(str(run.path))}, or give another --out.")
        try:
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            run.write_recipe(recipe)
        except OSError as error:
            for folder in (run.checkpoints, run.path):  # both are empty, or not ours
                with suppress(OSError):
                    folder.rmdir()
            raise BadRun(f"{run.path} cannot be written to: {error.strerror}. Make room, or give another --out.") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """A run that is there.

        Raises:
            BadRun: the folder is missing or holds no recipe.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise BadRun(f"There is no run folder {run.path}.{_runs_beside(run.path)}")
        if not (run.path / "recipe.yaml").is_file():
            raise BadRun(f"{run.path} is not a run: it has no recipe.yaml.{_runs_beside(run.path / 'x')}")
        return run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def recipe(self) -> Recipe:
        return Recipe.load(self.path / "recipe.yaml")

    def write_recipe(self, recipe: Recipe) -> None:
        write_text(self.path / "recipe.yaml", recipe.dump())

    def save_checkpoint(self, state: dict[str, Any], keep: int) -> Path:
        """Write `state` for its step, then remove all but the newest `keep`."""
        import torch

        path = self.checkpoints / f"step-{state['step']:08d}.pt"
        with replacing(path) as temporary, open(temporary, "wb") as file:
            torch.save(state, file)
        for old in self._checkpoint_files()[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, on the CPU; None where the run was stopped before its first."""
        import torch

        files = self._checkpoint_files()
        return torch.load(files[-1], map_location="cpu", weights_only=True) if files else None

    def _checkpoint_files(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step-*.pt"))

    def export(self, model: nn.Module, losses: nn.Module, step: int) -> None:
        """Write the weights that `generate` and `--start-from` read."""
        for module, name in ((model, "model"), (losses, "losses")):
            save_tensors(self.path / f"{name}.safetensors", tensors_of(module), {"step": str(step)})

    def append_metrics(self, line: dict[str, Any]) -> None:
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Every reported line, oldest first. A line that a power cut left half-written is passed over."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines that a resumed run will write again."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line["step"] <= step]
        write_text(self.path / "metrics.jsonl", "".join(kept))


def load_model(path: str | Path) -> tuple[TalkingFace, Recipe]:
    """The trained model of a run folder, in eval mode on the CPU, and its recipe.

    Raises:
        BadRun: no such run, or it has not saved a model yet.
    """
    from safetensors.torch import load_file

    from .model import build_model

    run = Run.open(path)
    weights = run.path / "model.safetensors"
    if not weights.is_file():
        raise BadRun(f"{run.path} has no model.safetensors yet: it was stopped before its first checkpoint. "
                     f"Go on with: fctfg train --resume {run.path}")
    model = build_model(run.recipe)
    model.load_state_dict(load_file(weights))
    return model.eval(), run.recipe


def differences(old: Recipe, new: Recipe) -> list[str]:
    """The dotted keys in which two recipes differ, but for those a resumed run may change."""
    one, two = _flat(old.to_dict()), _flat(new.to_dict())
    changed = [key for key in {**one, **two} if one.get(key, _ABSENT) != two.get(key, _ABSENT)]
    return sorted(key for key in changed if not MAY_CHANGE.fullmatch(key))


_ABSENT = object()


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat = {}
    for key, inner in items:
        flat.update(_flat(inner, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The state dict without extra state, as contiguous tensors on the CPU."""
    import torch

    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in module.state_dict().items()
            if torch.is_tensor(value)}


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write safetensors by a temporary name."""
    from safetensors.torch import save

    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))  # save_file would let nobody else read it


def _runs_beside(path: Path) -> str:
    runs = sorted(p.parent.name for p in path.parent.glob("*/recipe.yaml")) if path.parent.is_dir() else []
    return f" Runs in {path.parent}: {', '.join(runs)}." if runs else " A folder that `fctfg train` wrote would do."
