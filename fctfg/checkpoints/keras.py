"""Tensors from the HDF5 files of Keras 1 and 2: weights alone (`save_weights`), or a whole model (`save`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import BadWeights
from .pickles import Malformed

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF"
"""The first bytes of HDF5."""

TORCH_NAMES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
               "moving_variance": "running_var"}
EXPANSION = 1000
"""How many times as large as its file a tensor may be; weights hardly compress."""


class KerasLayer(NamedTuple):
    """One layer that has weights."""

    name: str
    """Keras's own, such as `conv2d_7`."""
    weights: dict[str, Tensor]
    """By the names that torch's layer of the kind has, and as it lays them out."""

    @property
    def number(self) -> int:
        """What its name ends in: Keras counts the layers of a kind as they are made. 0 where there is none."""
        return int(re.search(r"(?:_(\d+))?$", self.name)[1] or 0)


def layers(tensors: Mapping[str, Tensor]) -> list[KerasLayer]:
    """The layers that `read` found, in the order in which Keras itself matches them with a network's.

    Kernels of convolutions come as (out, in, height, width), of transposed ones as (in, out, height, width), matrices
    as (out, in).
    """
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, _, weight = key.rpartition("/")
        if weight == "kernel":  # the two channel axes first, those of the picture as they were
            tensor = tensor.permute(tensor.ndim - 1, tensor.ndim - 2, *range(tensor.ndim - 2))
        found.setdefault(layer, {})[TORCH_NAMES.get(weight, weight)] = tensor
    return [KerasLayer(name, weights) for name, weights in found.items()]


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by `layer/weight`, in the file's order and Keras's layout, and what it says of itself.

    Nothing outside the file is looked at, whatever links it has.

    Raises:
        BadWeights: h5py is not there to read it.
        Malformed: HDF5, but not as Keras 1 or 2 wrote it.
        EOFError: it ends early or is damaged.
    """
    try:
        import h5py
    except ImportError:
        raise BadWeights(f"{path} is a Keras file (HDF5), and package h5py, which reads it, is missing; "
                         "pip install 'fctfg[keras]' brings it.") from None
    try:
        with h5py.File(path, "r", locking=False) as file:
            root = _member(file, "model_weights") if "model_weights" in file else file
            if not {"layer_names", "layer_names0"} & set(root.attrs):
                raise Malformed(f"HDF5 of {', '.join(list(root)[:3]) or 'nothing'}, not what Keras 1 or 2 wrote")
            limit = EXPANSION * path.stat().st_size
            tensors = {key: tensor for layer in _words(root, "layer_names")
                       for key, tensor in _layer(layer, _member(root, layer), limit)}
            said = {name: _word(place.attrs[name]) for place in (file, root) for name in ("backend", "keras_version")
                    if name in place.attrs}
    except Malformed:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # all of them h5py's, over damaged files
        raise EOFError(str(error)) from None
    if not tensors:
        raise Malformed("a Keras file without weights")
    return tensors, said


def _layer(name: str, group: h5py.Group, limit: int) -> Iterable[tuple[str, Tensor]]:
    """The tensors of one layer, or of all layers of a model used as one, by their names."""
    names = _words(group, "weight_names")
    leaves = [name.partition(":")[0].rpartition("/")[2] for name in names]
    unique = len(set(leaves)) == len(leaves)
    for path, leaf in zip(names, leaves):
        place = group
        for step in path.split("/"):
            place = _member(place, step)
        # Scopes in a weight's path are of no meaning, unless they tell the layers of a model within the model apart.
        yield f"{name}/{leaf if unique else path.partition(':')[0]}", _tensor(place, limit)


def _tensor(dataset: h5py.Dataset, limit: int) -> Tensor:
    if dataset.dtype.kind not in "fiu" or dataset.is_virtual or dataset.external:
        raise Malformed(f"a Keras file with '{dataset.name}', which is no plain array of numbers")
    if dataset.nbytes > limit:
        raise EOFError(f"{dataset.name} is said to have {dataset.nbytes:,} bytes")
    return torch.from_numpy(np.asarray(dataset[()], dataset.dtype.newbyteorder("=")))


def _member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise Malformed(f"a Keras file in which '{name}' is a link to elsewhere")
    return group[name]


def _words(group: h5py.Group, name: str) -> list[str]:
    """An attribute that is a list of names; Keras writes a long one in parts, `name0`, `name1`, and so on."""
    if name in group.attrs:
        return [_word(word) for word in group.attrs[name]]
    found = []
    for i in count():
        if f"{name}{i}" not in group.attrs:
            return found
        found += [_word(word) for word in group.attrs[f"{name}{i}"]]


def _word(word: bytes | str) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
