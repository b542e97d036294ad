"""The public weight file of SyncNet."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fctfg.checkpoints import PublicWeights

WRAPPER = "__S__."
"""Some who pass the file on have saved the object that holds the network."""


def syncnet_v2(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The towers that `weights` holds, by the names of `SyncNet`, and no settings."""
    return {name.removeprefix(WRAPPER): tensor for name, tensor in weights.tensors.items()}, {}


def sound_tower(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tower that hears alone, for recipes that take it as their audio encoder."""
    towers, settings = syncnet_v2(weights)
    return {name: tensor for name, tensor in towers.items() if name.startswith(("netcnnaud.", "netfcaud."))}, settings
