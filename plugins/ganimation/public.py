"""The public weight files of GANimation: three dialects of one generator and of one critic."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from fctfg.action_units import NAMES
from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadWeights

# The trunk and the heads of colour and attention, as each repository calls them; ours are those of the first.
GENERATORS = (("main.", "im_reg.", "im_att."),  # vipermu/ganimation, meherabhi/IETaFS
              ("main.", "img_reg.", "attetion_reg."),  # albertpumarola/GANimation
              ("model.", "color_top.", "au_top."))  # donydchen/ganimation_replicate
CRITICS = (("main.", "conv1.", "conv2."), ("model.", "dis_top.", "aus_top."))
NOT_LEARNT = re.compile(r"(^debug\d+\.)|(\.(running_mean|running_var|num_batches_tracked)$)")
"""Second names of the same layers, and running statistics, with which the authors never draw."""


def generator(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A G as `generator.main.*`, `generator.im_reg.*` and `generator.im_att.*`; and its width and depth.

    Raises:
        BadWeights: it draws from another number of action units.
    """
    found = _parts(weights, GENERATORS)
    if found is None or found[0][0].ndim != 4 or found[0][0].shape[-1] != 7:
        return {}, {}
    trunk, colour, attention = found
    channels, inputs = trunk[0].shape[:2]
    _check_action_units(weights, inputs - 3)
    layers = _layers(trunk)
    repeat, odd = divmod(len(layers) - 5, 2)
    if odd or repeat < 0 or len(colour) != 1 or len(attention) != 1:
        return {}, {}
    tensors = {}
    for name, norm, (conv, after) in zip(*_places(repeat), layers):
        tensors[f"generator.main.{name}.weight"] = conv
        # A bias in front of a norm is taken off again by it, and a norm without weights is one whose weights are 1.
        affine = after[-2:] if len(after) >= 2 else _unweighted(conv, is_up=int(name.split(".")[0]) >= 9 + repeat)
        tensors |= {f"generator.main.{norm}.{kind}": tensor for kind, tensor in zip(("weight", "bias"), affine)}
    tensors |= {"generator.im_reg.0.weight": colour[0], "generator.im_att.0.weight": attention[0]}
    return tensors, {"decoder.options.g_conv_dim": channels, "decoder.options.g_repeat": repeat}


def critic(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A D as `critic.main.*`, `critic.conv1.*` and `critic.conv2.*`; and its width, depth and the picture size.

    Raises:
        BadWeights: it reads another number of action units.
    """
    found = _parts(weights, CRITICS)
    if found is None or found[0][0].ndim != 4 or found[0][0].shape[1:] != (3, 4, 4):
        return {}, {}
    trunk, scores, action_units = found
    if len(trunk) % 2 or len(scores) != 1 or len(action_units) != 1 or action_units[0].ndim != 4:
        return {}, {}
    _check_action_units(weights, len(action_units[0]))
    repeat = len(trunk) // 2
    tensors = {f"critic.main.{2 * (i // 2)}.{('weight', 'bias')[i % 2]}": tensor for i, tensor in enumerate(trunk)}
    tensors |= {"critic.conv1.weight": scores[0], "critic.conv2.weight": action_units[0]}
    options = "losses.ganimation.options"
    return tensors, {"size": action_units[0].shape[-1] * 2**repeat, f"{options}.d_conv_dim": trunk[0].shape[0],
                     f"{options}.d_repeat": repeat}


def _parts(weights: PublicWeights, dialects: tuple[tuple[str, ...], ...]) -> list[list[Tensor]] | None:
    """The learnt tensors under each of a dialect's prefixes, layer by layer; None where none is its own."""
    learnt = {name: weights.tensors[name] for name in sorted(weights.tensors, key=_layer)  # some files sort by alphabet
              if not NOT_LEARNT.search(name)}
    for prefixes in dialects:
        parts = [[tensor for name, tensor in learnt.items() if name.startswith(prefix)] for prefix in prefixes]
        if all(parts) and sum(map(len, parts)) == len(learnt):
            return parts
    return None


def _layer(name: str) -> tuple[list[int], bool]:
    return [int(number) for number in re.findall(r"\d+", name)], name.endswith("bias")


def _check_action_units(weights: PublicWeights, count: int) -> None:
    if count != len(NAMES):
        raise BadWeights(f"{weights.path} is a GANimation of {count} action units, and fctfg's are {len(NAMES)}, those "
                         "of OpenFace.")


def _layers(trunk: list[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
    """The convolutions of a trunk, each with the vectors that follow it."""
    layers: list[tuple[Tensor, list[Tensor]]] = []
    for tensor in trunk:
        if tensor.ndim == 4:
            layers.append((tensor, []))
        else:
            layers[-1][1].append(tensor)
    return layers


def _places(repeat: int) -> tuple[list[str], list[str]]:
    """Where the convolutions of the trunk stand in ours, and the norms behind them."""
    blocks = range(9, 9 + repeat)
    convs = ["0", "3", "6", *(f"{block}.main.{i}" for block in blocks for i in (0, 3)),
             f"{9 + repeat}", f"{12 + repeat}"]
    return convs, [re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), conv) for conv in convs]


def _unweighted(conv: Tensor, is_up: bool) -> tuple[Tensor, Tensor]:
    """Weight and bias of a norm that has none; a transposed convolution has its outputs second."""
    outputs = conv.shape[1 if is_up else 0]
    return torch.ones(outputs, dtype=conv.dtype), torch.zeros(outputs, dtype=conv.dtype)
