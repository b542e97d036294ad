"""Public weights of StyleGAN2, in rosinality's and in NVIDIA's names, under names that recipes can speak of."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadWeights

from . import filters
from .sizes import SIZES, channels_at

Tensors = dict[str, Tensor]
MULTIPLIERS = (2, 1)
"""That public files have."""


class Unfit(Exception):
    """A StyleGAN2 of a kind that is not drawn here; says what it has."""


def translate(weights: PublicWeights) -> tuple[Tensors, dict[str, Any]]:
    """A StyleGAN2 file as `generator.*`, `critic.*` and `latent_avg` (N, D), as far as it has them, all in rosinality's
    names; and its size and widths. Of several generators, the moving average is taken.

    Raises:
        BadWeights: a StyleGAN2 of a kind that is not drawn here: conditional, not RGB, with another filter or wiring.
    """
    networks = weights.networks or {"": weights.tensors}
    generators = {key: network for key, network in networks.items() if {"to_rgb1.bias", "synthesis.b4.const"} & set(network)}
    critics = [network for network in networks.values() if {"final_linear.1.weight", "b4.out.weight"} & set(network)]
    tensors, settings = {}, {}
    try:
        if generators:
            network = generators[max(generators, key=lambda key: key.endswith("_ema"))]
            generator, settings = generator_of(network)
            tensors = {f"generator.{name}": tensor for name, tensor in generator.items()}
            mean = weights.beside.get("latent_avg", network.get("mapping.w_avg"))
            if mean is not None:
                count = 2 * settings["size"].bit_length() - 4
                tensors["latent_avg"] = mean if mean.shape[:-1] == (count,) else mean.reshape(1, -1).expand(count, -1)
        if critics:
            critic, of_critic = critic_of(critics[0])
            tensors |= {f"critic.{name}": tensor for name, tensor in critic.items()}
            settings |= of_critic
    except Unfit as unfit:
        raise BadWeights(f"{weights.path} is a StyleGAN2 that is not drawn here: {unfit}.") from None
    return tensors, settings


def generator_of(network: Tensors) -> tuple[Tensors, dict[str, Any]]:
    """A generator in rosinality's names with all of its buffers, and the settings it implies."""
    tensors = dict(network) if "to_rgb1.bias" in network else _generator_from_nvidia(network)
    rows = {4: _of(tensors, "conv1.conv.weight").shape[1]}
    for i, side in enumerate(SIZES[:_count(tensors, r"to_rgbs\.(\d+)\.")]):
        rows[side] = _of(tensors, f"convs.{2 * i}.conv.weight").shape[1]
        _add_kernel(tensors, f"convs.{2 * i}.conv.blur.kernel", gain=4)
        _add_kernel(tensors, f"to_rgbs.{i}.upsample.kernel", gain=4)
    draw = torch.Generator().manual_seed(0)
    for i, side in enumerate([4, *(side for side in list(rows)[1:] for _ in range(2))]):
        noise = torch.randn(1, 1, side, side, generator=draw)  # older files have none; any will do that stays the same
        tensors.setdefault(f"noises.noise_{i}", noise)
    if (colours := _of(tensors, "to_rgb1.bias").numel()) != 3:
        raise Unfit(f"its pictures have {colours} channels, not 3")
    first, layers = _of(tensors, "style.1.weight"), _count(tensors, r"style\.(\d+)\.weight")
    if first.shape[0] != first.shape[1]:
        raise Unfit(f"its mapping network begins with {first.shape[1]} numbers and goes on with {first.shape[0]}")
    multiplier, most = _widths(rows)
    return tensors, {"size": max(rows), "decoder.name": "stylegan2", "decoder.options.channel_multiplier": multiplier,
                     "decoder.options.channel_max": most, "decoder.options.w_dim": first.shape[1],
                     "decoder.options.num_mapping": layers}


def critic_of(network: Tensors) -> tuple[Tensors, dict[str, Any]]:
    """A discriminator in rosinality's names with all of its buffers, and the settings it implies for a loss `gan`."""
    tensors = dict(network) if "final_linear.1.weight" in network else _critic_from_nvidia(network)
    blocks = _count(tensors, r"convs\.(\d+)\.conv1\.")
    size = 4 << blocks
    rows = {size: _of(tensors, "convs.0.0.weight").shape[0]}
    for i in range(1, blocks + 1):
        rows[size >> i] = _of(tensors, f"convs.{i}.skip.1.weight").shape[0]
        _add_kernel(tensors, f"convs.{i}.conv2.0.kernel")
        _add_kernel(tensors, f"convs.{i}.skip.0.kernel")
    multiplier, most = _widths(rows)
    return tensors, {"size": size, "losses.gan.options.channel_multiplier": multiplier,
                     "losses.gan.options.channel_max": most}


def _generator_from_nvidia(network: Tensors) -> Tensors:
    if any(name.startswith("mapping.embed.") for name in network):
        raise Unfit("it is conditional, drawing what a label says")
    _check_filters(network)
    tensors = {}
    for name, tensor in network.items():
        if match := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", name):
            tensors[f"style.{int(match[1]) + 1}.{match[2]}"] = tensor
        elif name == "synthesis.b4.const":
            tensors["input.input"] = tensor[None]
        elif match := re.fullmatch(r"synthesis\.b(\d+)\.(torgb|conv[01])\.(.+)", name):
            doubled = int(match[1]).bit_length() - 3  # from 4 px
            if match[2] == "torgb":
                layer, noise, bias = ("to_rgb1" if not doubled else f"to_rgbs.{doubled - 1}"), None, "bias"
            else:
                index = 2 * doubled - 2 + int(match[2][-1])
                layer, noise, bias = ("conv1" if not doubled else f"convs.{index}"), max(index + 1, 0), "activate.bias"
            place, shape = {
                "weight": (f"{layer}.conv.weight", (1, *tensor.shape)),
                "bias": (f"{layer}.{bias}", (1, 3, 1, 1) if noise is None else tensor.shape),
                "affine.weight": (f"{layer}.conv.modulation.weight", tensor.shape),
                "affine.bias": (f"{layer}.conv.modulation.bias", tensor.shape),
                "noise_strength": (f"{layer}.noise.weight", (1,)),
                "noise_const": (f"noises.noise_{noise}", (1, 1, *tensor.shape)),
            }.get(match[3], (None, None))
            if place:
                tensors[place] = tensor.reshape(shape)
    return tensors


def _critic_from_nvidia(network: Tensors) -> Tensors:
    if any(name.startswith("mapping.") for name in network):
        raise Unfit("its critic is conditional, judging by a label")
    _check_filters(network)
    size = max(int(match[1]) for name in network if (match := re.match(r"b(\d+)\.", name)))
    if f"b{size}.skip.weight" not in network:
        raise Unfit("its critic is not residual")
    tensors = {}
    for name, tensor in network.items():
        match = re.fullmatch(r"b(\d+)\.(\w+)\.(weight|bias)", name)
        if not match:
            continue
        block, leaf = size.bit_length() - int(match[1]).bit_length() + 1, match[3]
        place = {"fromrgb": ("convs.0.0", "convs.0.1"), "conv": ("final_conv.0", "final_conv.1"),
                 "conv0": (f"convs.{block}.conv1.0", f"convs.{block}.conv1.1"),
                 "conv1": (f"convs.{block}.conv2.1", f"convs.{block}.conv2.2"),
                 "skip": (f"convs.{block}.skip.1", ""),
                 "fc": ("final_linear.0",) * 2, "out": ("final_linear.1",) * 2}.get(match[2], (name, name))
        tensors[f"{place[leaf == 'bias']}.{leaf}"] = tensor
    return tensors


def _check_filters(network: Tensors) -> None:
    for name, tensor in network.items():
        if name.endswith("resample_filter") and not _is_ours(tensor, gain=1):
            raise Unfit(f"{name} is not the filter of {list(filters.TAPS)}")


def _add_kernel(tensors: Tensors, name: str, gain: float = 1.0) -> None:
    """What the network holds but does not read; a file that has another one needs another network."""
    if not _is_ours(tensors.setdefault(name, filters.kernel(gain)), gain):
        raise Unfit(f"{name} is not the filter of {list(filters.TAPS)}")


def _is_ours(kernel: Tensor, gain: float) -> bool:
    expected = filters.kernel(gain)
    return kernel.shape == expected.shape and torch.allclose(kernel.float(), expected, atol=1e-4)


def _of(tensors: Tensors, name: str) -> Tensor:
    if name not in tensors:
        raise Unfit(f"it has no {name}")
    return tensors[name]


def _count(tensors: Tensors, pattern: str) -> int:
    """How many different numbers stand where `pattern` has a group."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def _widths(rows: dict[int, int]) -> tuple[float, int]:
    """The channel multiplier and the most channels that give layers of these sides their channels."""
    finest, most = max(rows), max(rows.values())
    exact = rows[finest] * finest / 16384
    for multiplier in (*MULTIPLIERS, int(exact) if exact == int(exact) else exact):
        if all(channels_at(side, multiplier, most) == channels for side, channels in rows.items()):
            return multiplier, most
    raise Unfit(f"its layers have {', '.join(f'{channels} at {side} px' for side, channels in rows.items())} channels, which "
                "no channel multiplier gives")
