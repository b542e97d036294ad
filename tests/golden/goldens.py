"""What the tests of every network read of the goldens beside this file; `pythonpath` in pyproject.toml finds it."""

from __future__ import annotations

import json
from pathlib import Path

import fill
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent


def golden_inputs(name: str) -> dict[str, Tensor]:
    """What the reference was shown, by name."""
    return {key: torch.from_numpy(value) for key, value in fill.inputs(str(GOLDEN / name)).items()}


def golden_keys(name: str) -> dict[str, tuple[int, ...]]:
    """The shapes in the reference's state dict, by key."""
    listed = json.loads((GOLDEN / name / "keys.json").read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, shape, _ in listed}
