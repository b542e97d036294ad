"""Public weights of pSp, e4e and encoders in their layout, under names that recipes can speak of."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadWeights

from .encoders import ALL_IN, default_input_size

INPUT_SIZE = 256
"""Of the pictures that public encoders see; one with heads shows it by their number of convolutions."""


def translate(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file of pSp or e4e as `encoder.*`, `decoder.*` and `latent_avg`; and its kind of encoder, size and multiplier.

    A file whose codes are no offsets (`start_from_latent_avg` was off) has the mean 0, from which they are.

    Raises:
        BadWeights: the encoder reads something else than pictures.
    """
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name.startswith(("encoder.", "decoder."))}
    if not {"encoder.input_layer.0.weight", "encoder.body.23.res_layer.5.fc1.weight"} <= set(tensors):
        return {}, {}
    channels = tensors["encoder.input_layer.0.weight"].shape[1]
    if channels != 3:
        raise BadWeights(f"{weights.path} is an encoder of {channels} channels: of sketches, of maps of labels, or of "
                         "pictures beside what was drawn of them. One that reads pictures alone, such as "
                         "psp_ffhq_encode.pt, would do.")
    kind, size = _kind(weights), _size(weights)
    settings = {"visual_encoder.name": kind}
    if size:
        settings["size"] = size
        input_size = _input_size(tensors)
        if input_size != default_input_size(size):
            settings["visual_encoder.options.input_size"] = input_size
    if (wide := tensors.get("decoder.convs.6.conv.weight")) is not None:  # the first to 64 px, the first that differs
        settings["decoder.options.channel_multiplier"] = wide.shape[1] // 256
    if kind == "e4e":
        tensors["encoder.batches"] = torch.tensor(ALL_IN)
    if (mean := _mean(weights)) is not None and size:
        tensors["latent_avg"] = mean if mean.ndim == 2 and len(mean) > 1 else mean.expand(2 * size.bit_length() - 4, -1)
    return tensors, settings


def _kind(weights: PublicWeights) -> str:
    """The plugin that its encoder is."""
    tensors, options = weights.tensors, weights.options
    if "encoder.output_layer_2.0.weight" in tensors:
        return "psp-w-plus"
    if "encoder.styles.0.linear.weight" not in tensors:
        return "psp-w"
    # pSp and e4e have the same keys. Only e4e speaks of a `stylegan_size`, and has a critic of codes.
    says = str(options.get("encoder_type", ""))
    e4e = says == "Encoder4Editing" if says else ("stylegan_size" in options
                                                  or "discriminator_state_dict" in weights.networks)
    return "e4e" if e4e else "psp"


def _size(weights: PublicWeights) -> int | None:
    """Of the pictures that its generator draws; None where neither that, nor the codes, nor the options say."""
    if drawn := _count(weights.tensors, r"decoder\.to_rgbs\.(\d+)\."):
        return 4 << drawn
    if codes := _count(weights.tensors, r"encoder\.styles\.(\d+)\."):
        return 2 << codes // 2
    if "encoder.output_layer_2.0.weight" in weights.tensors:
        rows, width = weights.tensors["encoder.linear.weight"].shape
        return 2 << rows // width // 2
    return weights.options.get("stylegan_size") or weights.options.get("output_size")


def _input_size(tensors: dict[str, Tensor]) -> int:
    halvings = sum(re.fullmatch(r"encoder\.styles\.0\.convs\.\d+\.weight", name) is not None for name in tensors)
    return 16 << halvings if halvings else INPUT_SIZE


def _mean(weights: PublicWeights) -> Tensor | None:
    """What its codes are offsets from, (N, D) or (D,); None where it should have one and has not."""
    mean = weights.beside.get("latent_avg")
    if mean is None and weights.options.get("start_from_latent_avg") is False:
        mean = torch.zeros(512)
    return mean


def _count(names, pattern: str) -> int:
    """How many different numbers stand where `pattern` has a group."""
    return len({match[1] for name in names if (match := re.match(pattern, name))})
