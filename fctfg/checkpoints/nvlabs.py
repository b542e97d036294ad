"""The pickles of NVlabs' StyleGAN2-ADA and StyleGAN3: modules that carry their own source, which is never run.

Each module is pickled as a call of `torch_utils.persistence._reconstruct_persistent_obj` with a dict of its source,
class name and state; the state, a module's attributes, is all that is taken. Pickles of TensorFlow are named as such.
"""

from __future__ import annotations

from typing import Any

from .pickles import Malformed, Record, Rule, to_dict


def _module(record: Record) -> Record:
    """The module as PyTorch itself would have pickled it, by the name of its class."""
    [said] = record.args
    if said.get("type") != "class":
        raise Malformed("a persistent object that is no class")
    module = Record.__new__(Record)
    module.name, module.state = str(said["class_name"]), said["state"]
    return module


def was_built_with(network: Any) -> dict[str, Any]:
    """The keywords of a persistent module's constructor, such as `img_resolution`; none for anything else."""
    state = network.state if isinstance(network, Record) and isinstance(network.state, dict) else {}
    return state.get("_init_kwargs") or {}


def is_of_tensorflow(content: Any) -> bool:
    """Whether a pickle's content is the (G, D, Gs) of ProGAN, StyleGAN or StyleGAN2 for TensorFlow."""
    names = [item.name for item in content if isinstance(item, Record)] if isinstance(content, (tuple, list)) else []
    return bool({"dnnlib.tflib.network.Network", "tfutil.Network"}.intersection(names))


RULES: dict[str, Rule] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "dnnlib.util.EasyDict": to_dict,
}
