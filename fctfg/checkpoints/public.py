"""Weight files as others publish them: whatever the form, named tensors come out, or one line that says why not."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadWeights
from ..weights import how_to_get, located
from . import archives, keras, nvlabs
from .pickles import Malformed, Record, Refused

NETWORKS = ("state_dict", "g_ema", "G_ema")
"""Where a file keeps the network to run when it keeps several."""

OPTIONS = ("opts", "args", "options", "training_set_kwargs")
"""Where a file keeps what it was trained with."""

WRAPPERS = ("module.",)
"""Prefixes that training wraps around every key, here DataParallel's."""

KNOWN_FORMS = "what torch.save, TorchScript, safetensors or Keras 2 write"

# First bytes of what people take for weights, and what to do instead.
OTHER_FILES = (
    (rb"\s*<(!doctype|html|head|\?xml|!--)",
     "a web page: the link answered with HTML. Open the link in a browser and download the file itself"),
    (rb"version https://git-lfs",
     "a git-lfs pointer, not the file it points to. Run `git lfs pull` where it was cloned, or download it again"),
    (rb"....ftyp|RIFF|\x1aE\xdf\xa3|OggS|fLaC|ID3", "a video or sound. Pass it as --face or --audio"),
    (rb"\xff\xd8\xff|\x89PNG|GIF8", "a picture. Pass it as --face"),
    (rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "a compressed archive. Unpack it and pass the weight file inside"),
)


@dataclass(frozen=True)
class PublicWeights:
    """What a weight file holds."""

    path: Path
    tensors: dict[str, Tensor]
    """Of the one network, or of the first that NETWORKS names: by name, without the prefixes of wrappers, as its own
    state dict has them. Empty where there are several and none is called so."""
    form: str
    """`torch.save`, `TorchScript`, `safetensors` or `Keras`, whose tensors are `layer/weight` and laid out as there."""
    scalars: dict[str, int | float | str | bool] = field(default_factory=dict)
    """What the file says beside the networks, such as `global_step`."""
    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Every network by the key it stands under (`g_ema`, `d`, `state_dict`), each as `tensors`; empty for a file that
    is nothing but one state dict."""
    beside: dict[str, Tensor] = field(default_factory=dict)
    """The tensors beside the networks, such as `latent_avg`."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the networks were trained with, as plain values: the content of `opts`, `args` or `training_set_kwargs`; and
    by its key what a network was built with, where the file says so."""


def read_weights(path: str | Path) -> PublicWeights:
    """The named tensors of a weight file, on the CPU; code inside the file is never run.

    A bare name that is not here is looked for among the files that `fctfg weights` keeps.

    Reads `torch.save` files old and new, one state dict or several by name, also with options and optimizer state
    beside them; TorchScript archives and pickled modules, by the names of their attributes; safetensors; and the HDF5
    of Keras 1 and 2 (see `keras.layers`).

    Raises:
        BadWeights: missing, damaged, something else, without tensors, or a pickle that would run code.
    """
    path = located(path)
    start = _first_bytes(path)
    for pattern, what in OTHER_FILES:
        if re.match(pattern, start, re.DOTALL | re.IGNORECASE):
            raise BadWeights(f"{path} is {what}.")
    try:
        if re.match(rb".{8}\{", start, re.DOTALL):
            return _read_safetensors(path)
        if start.startswith(keras.MAGIC):
            tensors, scalars = keras.read(path)
            return PublicWeights(path, tensors, "Keras", scalars)
        if start.startswith(b"PK"):
            content = archives.read_zip(path)
        else:
            with open(path, "rb") as stream:
                content = archives.read_stream(stream)
    except Refused as error:
        raise BadWeights(f"{path} would run '{printable(error)}' when unpickled; it was not. Weights hold no code: get "
                         "a file you trust from its author, best as safetensors.") from None
    except Malformed as error:
        if str(error).endswith("out of bounds for storage of size 0"):  # none of a tensor's numbers are there
            raise _ends_early(path) from None
        why = f" ({printable(error)})" if start.startswith((b"\x80", b"PK", keras.MAGIC)) else ""
        raise BadWeights(f"{path} is not a weight file{why}; expected {KNOWN_FORMS}.") from None
    except (EOFError, zipfile.BadZipFile):
        raise _ends_early(path) from None
    except OSError as error:
        raise BadWeights(f"{path} cannot be read: {error.strerror or error}.") from None
    form = "TorchScript" if isinstance(content, Record) and content.name.startswith("__torch__") else "torch.save"
    try:
        return _sorted_out(path, content, form)
    except RecursionError:
        raise BadWeights(f"{path} is not a weight file (it is nested without end); expected {KNOWN_FORMS}.") from None


def printable(text: object, length: int = 200) -> str:
    """Words from inside a file, fit for one line of a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:length])


def _first_bytes(path: Path) -> bytes:
    if os.path.isdir(path):
        raise BadWeights(f"{path} is a folder; name the weight file in it, or pass a run folder with --run.")
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except FileNotFoundError:
        way = how_to_get(path.name) or "nothing is downloaded, so fetch the weights first"
        raise BadWeights(f"{path} does not exist; {way}.") from None
    except OSError as error:
        raise BadWeights(f"{path} cannot be read: {error.strerror or error}.") from None
    if not start:
        raise BadWeights(f"{path} is empty; download it again.")
    return start


def _ends_early(path: Path) -> BadWeights:
    return BadWeights(f"{path} ends early or is damaged ({path.stat().st_size:,} bytes); download it again.")


def _read_safetensors(path: Path) -> PublicWeights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            scalars = dict(file.metadata() or {})
    except SafetensorError as error:
        raise BadWeights(f"{path} is a safetensors file that ends early or is damaged ({printable(error)}); "
                         "download it again.") from None
    if not tensors:
        raise BadWeights(f"{path} holds no tensors.")
    return PublicWeights(path, _unwrapped(tensors), "safetensors", scalars)


def _sorted_out(path: Path, content: Any, form: str) -> PublicWeights:
    """The networks in the content of a file, and the tensors, options and plain values beside them."""
    if nvlabs.is_of_tensorflow(content):
        raise BadWeights(f"{path} is a StyleGAN pickle of TensorFlow, which is not read. Convert it with legacy.py of "
                         f"NVlabs' stylegan2-ada-pytorch: python legacy.py --source={path.name} --dest=converted.pkl.")
    members = {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}
    scalars = {name: value for name, value in members.items() if isinstance(value, (bool, int, float, str))}
    options, networks = {}, {}
    for name, value in members.items():
        if name in OPTIONS or isinstance(value, Record) and value.name == "argparse.Namespace":
            options |= said if isinstance(said := _plain(value), dict) else {}
        elif named := _named_tensors(value):
            networks[name] = _unwrapped(named)
            if keywords := nvlabs.was_built_with(value):
                options[name] = _plain(keywords)
    loose = _named_tensors(content)  # a state dict, or what stands beside the networks
    if not (networks or loose):
        held = ", ".join(members) or ("nothing" if isinstance(content, dict) else repr(content))
        raise BadWeights(f"{path} holds no named tensors: {printable(held)}.")
    if not networks:
        return PublicWeights(path, _unwrapped(loose), form, scalars, options=options)
    picked = next((networks[name] for name in NETWORKS if name in networks), {})
    if len(networks) == 1:
        [picked] = networks.values()
    return PublicWeights(path, picked, form, scalars, networks, loose, options)


def _plain(value: Any) -> Any:
    """Options without the classes they were kept in: dicts, lists, numbers and words."""
    if isinstance(value, Record):
        return _plain(value.state) if isinstance(value.state, dict) else value.name
    if isinstance(value, type):
        return getattr(value, "name", value.__name__)
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value


def _named_tensors(network: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, or of a pickled module by the attributes that lead to them; else none."""
    if isinstance(network, Record):
        return dict(_attributes(network))
    if not isinstance(network, dict):
        return {}
    return {str(name): tensor for name, value in network.items() if (tensor := _as_tensor(value)) is not None}


def _attributes(module: Record, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    state = module.state if isinstance(module.state, dict) else {}
    groups = [state.get(name) for name in ("_parameters", "_buffers", "_modules")]  # as nn.Module keeps them
    for members in (groups if any(groups) else [state]):  # TorchScript has no such groups
        for name, value in (members or {}).items():
            if isinstance(value, Record):
                yield from _attributes(value, f"{prefix}{name}.")
            elif isinstance(value, Tensor):
                yield prefix + name, value


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value)
    return value.detach() if isinstance(value, Tensor) else None


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        while all(name.startswith(wrapper) for name in tensors):
            tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors
