"""Public weights of pSp, e4e and encoders in their layout, under names that recipes can speak of."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadWeights

from ..stylegan2 import public as stylegan2
from .encoders import ALL_IN, default_input_size

INPUT_SIZE = 256
"""Of the pictures that public encoders see; one with heads shows it by their number of convolutions."""


def translate(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file of pSp or e4e as `encoder.*`, `decoder.*` and `latent_avg`, as far as it has them; and what kind and size
    of encoder and generator these are.

    A file whose codes are no offsets (`start_from_latent_avg` was off) has the mean 0, from which they are.

    Raises:
        BadWeights: the encoder reads something else than pictures; the generator is of a kind that is not drawn here.
    """
    encoder, generator = (_below(prefix, weights.tensors) for prefix in ("encoder.", "decoder."))
    if not {"input_layer.0.weight", "body.23.res_layer.5.fc1.weight"} <= set(encoder):
        return {}, {}
    channels = encoder["input_layer.0.weight"].shape[1]
    if channels != 3:
        raise BadWeights(f"{weights.path} is an encoder of {channels} channels: of sketches, of maps of labels, or of "
                         "pictures beside what was drawn of them. One that reads pictures alone, such as "
                         "psp_ffhq_encode.pt, would do.")
    settings = {"visual_encoder.name": _kind(weights, encoder)}
    if generator:
        try:
            generator, of_generator = stylegan2.generator_of(generator)
        except stylegan2.Unfit as unfit:
            raise BadWeights(f"{weights.path} has a generator that is not drawn here: {unfit}.") from None
        settings |= of_generator
    elif size := _size(weights, encoder):
        settings["size"] = size
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
    tensors |= {f"decoder.{name}": tensor for name, tensor in generator.items()}
    if settings["visual_encoder.name"] == "e4e":
        tensors["encoder.batches"] = torch.tensor(ALL_IN)
    if size := settings.get("size"):
        if (input_size := _input_size(encoder)) != default_input_size(size):
            settings["visual_encoder.options.input_size"] = input_size
        if (mean := _mean(weights)) is not None:
            count = 2 * size.bit_length() - 4
            tensors["latent_avg"] = mean if mean.ndim == 2 and len(mean) > 1 else mean.expand(count, -1)
    return tensors, settings


def _kind(weights: PublicWeights, encoder: dict[str, Tensor]) -> str:
    """The plugin that its encoder is."""
    if "output_layer_2.0.weight" in encoder:
        return "psp-w-plus"
    if "styles.0.linear.weight" not in encoder:
        return "psp-w"
    # pSp and e4e have the same keys. Only e4e speaks of a `stylegan_size`, and has a critic of codes.
    if says := weights.options.get("encoder_type"):
        return "e4e" if says == "Encoder4Editing" else "psp"
    return "e4e" if "stylegan_size" in weights.options or "discriminator_state_dict" in weights.networks else "psp"


def _size(weights: PublicWeights, encoder: dict[str, Tensor]) -> int | None:
    """Of the pictures that its codes draw, by their number; of an encoder of one code, what the options say."""
    if "output_layer_2.0.weight" in encoder:
        rows, width = encoder["linear.weight"].shape
        return 2 << rows // width // 2
    if heads := _matches(encoder, r"styles\.\d+\.linear\.weight"):
        return 2 << heads // 2
    return weights.options.get("stylegan_size") or weights.options.get("output_size")


def _input_size(encoder: dict[str, Tensor]) -> int:
    """Of the pictures that it sees: as many halvings more than 16 as its coarsest head has."""
    halvings = _matches(encoder, r"styles\.0\.convs\.\d+\.weight")
    return 16 << halvings if halvings else INPUT_SIZE


def _mean(weights: PublicWeights) -> Tensor | None:
    """What its codes are offsets from, (N, D) or (D,); None where it should have one and has not."""
    mean = weights.beside.get("latent_avg")
    if mean is None and weights.options.get("start_from_latent_avg") is False:
        mean = torch.zeros(512)
    return mean


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _matches(encoder: dict[str, Tensor], pattern: str) -> int:
    """How many keys are of the `pattern`."""
    return sum(bool(re.fullmatch(pattern, name)) for name in encoder)
