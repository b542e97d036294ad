"""Public weights of HyperStyle and of the encoders under it, under names that recipes can speak of."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from fctfg.checkpoints import PublicWeights
from fctfg.errors import BadWeights

from ..psp import public as psp
from ..stylegan2.public import Unfit, generator_of

BASES = {"WEncoder": "psp-w", "GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
"""What the authors call the first encoder, to the plugin that it is; their files leave its weights out."""
REPEATED = re.compile(r"hypernet\.refinement_blocks\.(\d+)\.hypernet\.(\w+)")
"""The matrices that layers share, named once more in each."""


def translate(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file of HyperStyle as `hypernet.*`, `decoder.*` and `latent_avg`; and its size, widths, layers and base.

    Raises:
        BadWeights: its layers are not those it says it tunes, or do not share what they should; or it is for a
            generator that is not drawn here.
    """
    tensors = {name: tensor for name, tensor in weights.tensors.items() if name.startswith(("hypernet.", "decoder."))}
    if not {"hypernet.conv1.weight", "hypernet.body.15.conv2.weight", "decoder.input.input"} <= set(tensors):
        return {}, {}
    for name, tensor in list(tensors.items()):
        if match := REPEATED.fullmatch(name):
            shared = tensors.get(f"hypernet.shared_weight_hypernet.{match[2]}")
            if shared is None or not (shared is tensor or torch.equal(shared, tensor)):
                raise BadWeights(f"{weights.path} is no file of HyperStyle: layer {match[1]} has a {match[2]} of its "
                                 "own, and large layers share theirs.")
            del tensors[name]
    try:
        generator, settings = generator_of({name.removeprefix("decoder."): tensors.pop(name) for name in list(tensors)
                                            if name.startswith("decoder.")})
    except Unfit as unfit:
        raise BadWeights(f"{weights.path} refines a StyleGAN2 that is not drawn here: {unfit}.") from None
    tensors |= {f"decoder.{name}": tensor for name, tensor in generator.items()}
    codes = 2 * settings["size"].bit_length() - 4
    settings |= {"visual_encoder.name": "hyperstyle",
                 "visual_encoder.options.layers": _layers(weights, tensors, 3 * codes // 2 - 1),
                 "visual_encoder.options.separable": any(".make_kernel_in." in name for name in tensors)}
    base = weights.options.get("w_encoder_type", "WEncoder")
    if base in BASES:
        settings["visual_encoder.options.base"] = BASES[base]
    if refinements := weights.options.get("n_iters_per_batch"):
        settings["visual_encoder.options.refinements"] = refinements
    if (mean := weights.beside.get("latent_avg")) is not None:
        tensors["latent_avg"] = mean if mean.shape[:-1] == (codes,) else mean.reshape(1, -1).expand(codes, -1)
    return tensors, settings


def translate_base(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file of pSp, of e4e or of HyperStyle's W encoder, as `psp` translates it, for the base of `hyperstyle`."""
    tensors, settings = psp.translate(weights)
    if not tensors:
        return {}, {}
    for setting, under in (("visual_encoder.name", "visual_encoder.options.base"),
                           ("visual_encoder.options.input_size", "visual_encoder.options.base_options")):
        if setting in settings:
            value = settings.pop(setting)
            settings[under] = {"input_size": value} if under.endswith("base_options") else value
    return tensors, {"visual_encoder.name": "hyperstyle", **settings}


def _layers(weights: PublicWeights, tensors: dict[str, Tensor], count: int) -> list[int] | None:
    """The layers that are tuned of the decoder's `count`; None for all but those to RGB, as the plugin has it."""
    held = _numbers(tensors, r"hypernet\.refinement_blocks\.(\d+)\.")
    said = weights.options.get("layers_to_tune")
    if isinstance(said, (str, list)):
        said = [int(layer) for layer in (re.findall(r"\d+", said) if isinstance(said, str) else said)]
        said = sorted(layer for layer in said if layer < count)
        if said and said != held:
            raise BadWeights(f"{weights.path} says that it tunes layers {said}, and holds weights for {held}.")
    return None if held == [i for i in range(count) if i % 3 != 1] else held


def _numbers(names, pattern: str) -> list[int]:
    """The numbers that stand where `pattern` has a group."""
    return sorted({int(match[1]) for name in names if (match := re.match(pattern, name))})
