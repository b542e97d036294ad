"""The public weight files of IETaFS beside GANimation's: AU, audionet and videonet."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from fctfg.action_units import NAMES
from fctfg.checkpoints import PublicWeights


def aunet(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An AU file as `aunet.*`, and its width."""
    if not _is(weights, convs=8, inputs=(1, 5, 1), outputs=len(NAMES)):
        return {}, {}
    return _named(weights, "aunet."), {"audio_encoder.options.scale": weights.tensors["conv1.weight"].shape[0] / 32}


def audio_network(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The audionet of the contrastive critic as `audio_network.*`, and its width."""
    return _tower(weights, "audio_network.", convs=6, inputs=(1, 5, 1))


def video_network(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The videonet of the contrastive critic as `video_network.*`, and its width."""
    return _tower(weights, "video_network.", convs=6, inputs=(3, 3, 3))


def _tower(weights: PublicWeights, prefix: str, convs: int,
           inputs: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not _is(weights, convs, inputs, outputs=256):
        return {}, {}
    return _named(weights, prefix), {"losses.av-contrast.options.scale": weights.tensors["conv1.weight"].shape[0] / 32}


def _is(weights: PublicWeights, convs: int, inputs: tuple[int, ...], outputs: int) -> bool:
    """Whether the file is a chain of so many convolutions and two linear layers, with the norms that IETaFS names."""
    wanted = {f"conv{i}" for i in range(1, convs + 1)} | {f"conv{i}_bn" for i in range(1, convs + 1)} | {"fc1", "fc2"}
    found = {re.sub(r"\.\w+$", "", name) for name in weights.tensors}
    first, last = (weights.tensors.get(name) for name in ("conv1.weight", "fc2.weight"))
    return found == wanted and first is not None and tuple(first.shape[1:]) == inputs and len(last) == outputs


def _named(weights: PublicWeights, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.tensors.items()}
