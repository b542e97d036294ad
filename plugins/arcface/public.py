"""Public weights of the recognition networks, under names that recipes can speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fctfg.checkpoints import PublicWeights, read_weights
from fctfg.errors import BadWeights

from .iresnet import BLOCKS

NETWORK = "losses.identity.options.network"


def recognition(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The network in model_ir_se50.pth, or in a backbone.pth or training state of insightface, as `identity.*`; and
    which it is.

    Raises:
        BadWeights: an iresnet of another depth than the identity loss has.
    """
    tensors = weights.networks.get("state_dict_backbone", weights.tensors)
    if "output_layer.3.weight" in tensors and "body.23.res_layer.5.fc1.weight" in tensors:
        network = "irse50"
    elif "features.weight" in tensors and "layer1.0.prelu.weight" in tensors:
        network = _iresnet(weights, tensors)
    else:
        return {}, {}
    return {f"identity.{name}": tensor for name, tensor in tensors.items()}, {NETWORK: network}


def recognition_and_body(weights: PublicWeights) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `recognition` gives model_ir_se50.pth; and its layers below the last as `encoder.*`, where pSp begins.

    Only those networks that pSp can begin with are known.
    """
    tensors, settings = recognition(weights)
    if settings.get(NETWORK) != "irse50":
        return {}, {}
    layers = {f"encoder.{name}": tensor for name, tensor in weights.tensors.items()
              if name.startswith(("input_layer.", "body."))}
    return {**tensors, **layers}, settings


def fill(network: nn.Module, name: str, path: str | Path) -> str | None:
    """Copy the public file `path` into `network` where the file is of the one called `name`; of which it is, if any."""
    found, settings = recognition(read_weights(path))
    if settings.get(NETWORK) != name:
        return settings.get(NETWORK)
    tensors = {key.removeprefix("identity."): tensor for key, tensor in found.items()}
    counted = {key: tensor for key, tensor in network.state_dict().items() if key.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counted, **tensors})
    except RuntimeError as error:
        raise BadWeights(f"{path} is not whole: {' '.join(str(error).split())[:200]}") from None
    return name


def _iresnet(weights: PublicWeights, tensors: dict[str, Tensor]) -> str:
    """Which of BLOCKS it is."""
    blocks = tuple(sum(name.startswith(f"layer{stage}.") and name.endswith(".prelu.weight") for name in tensors)
                   for stage in (1, 2, 3, 4))
    for name, known in BLOCKS.items():
        if blocks == known:
            return name
    raise BadWeights(f"{weights.path} is an iresnet with {' + '.join(map(str, blocks))} blocks, which loss 'identity' "
                     f"does not have; {' and '.join(BLOCKS)} it has.")
