"""Directions of motion: along which the motion codes of a model vary most, and those a user has named."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .errors import BadRun
from .registry import suggest
from .runs import save_tensors

MOST = 16
FILE = "directions.safetensors"


class Directions:
    """What a run knows of them, each (N, D): by number, from the one of the most variation on, and by name.

    One step along a numbered one is one standard deviation of the motions that it was found in.
    """

    def __init__(self, numbered: Tensor, named: dict[str, Tensor]):
        self.numbered = numbered
        self.named = named

    @classmethod
    def of(cls, motions: Tensor) -> Directions:
        """The principal components of `motions` (F, N, D).

        Raises:
            BadRun: there are fewer than two.
        """
        if len(motions) < 2:
            raise BadRun("Directions of motion are found in several frames; give a video with --motions.")
        flat = motions.flatten(1).double()
        _, spread, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
        count = min(MOST, len(motions) - 1, len(directions))
        deviations = spread[:count] / (len(motions) - 1) ** 0.5
        numbered = (deviations[:, None] * directions[:count]).unflatten(1, motions.shape[1:])
        return cls(numbered.float(), {})

    @staticmethod
    def known(run: str | Path) -> bool:
        """Whether the run folder `run` has any."""
        return (Path(run) / FILE).is_file()

    @classmethod
    def load(cls, run: str | Path) -> Directions:
        """Those of the run folder `run`.

        Raises:
            BadRun: it has none yet.
        """
        from safetensors.torch import load_file

        if not cls.known(run):
            raise BadRun(f"{run} knows no directions of motion yet; give a video of a moving face with --motions VIDEO to find "
                         "them in.")
        tensors = load_file(Path(run) / FILE)
        numbered = tensors.pop("numbered")
        return cls(numbered, {name.removeprefix("named."): value for name, value in tensors.items()})

    def save(self, run: str | Path) -> None:
        named = {f"named.{name}": value.clone() for name, value in self.named.items()}
        save_tensors(Path(run) / FILE, {"numbered": self.numbered.contiguous(), **named}, {"format": "1"})

    def find(self, name: str) -> Tensor:
        """The direction of that name, or of that number counted from 1.

        Raises:
            BadRun: there is none.
        """
        if name in self.named:
            return self.named[name]
        if name.isdigit() and 1 <= int(name) <= len(self.numbered):
            return self.numbered[int(name) - 1]
        names = f"; named: {', '.join(sorted(self.named))}" if self.named else ""
        raise BadRun(f"No direction '{name}'.{suggest(name, self.named)} There are 1 to {len(self.numbered)}{names}.")
