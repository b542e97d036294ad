"""Tensors from the files that PyTorch has written over the years, without running what the files say.

PyTorch's own `weights_only` reader refuses TorchScript and files with training options in them, which are common; what
it reads, this reads to the same bits.

Three layouts: the zip archive of `torch.save` since 1.6; TorchScript, the same zip with code beside the tensors; and
the older stream of pickles with the raw numbers behind them. A bare pickle of arrays, tensors or modules is read too.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from . import nvlabs, pickles
from .pickles import Malformed, Record, Refused

DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass
class Storage:
    """The flat numbers that one or more tensors look into, read when the first of them is rebuilt."""

    dtype: torch.dtype
    read: Callable[[], Tensor]
    """The bytes, (n,) uint8."""
    numbers: Tensor | None = None

    def flat(self, dtype: torch.dtype | None = None) -> Tensor:
        if self.numbers is None:
            self.numbers = self.read()
        return self.numbers.view(dtype or self.dtype)


def read_zip(path: Path) -> Any:
    """The content of a zip archive by `torch.save` or TorchScript: plain data, tensors, and records of other objects.

    Raises:
        zipfile.BadZipFile: truncated or damaged.
        Malformed: a zip archive, but no checkpoint.
        Refused: it would call something; see `pickles`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_members(archive)
    except (Malformed, Refused):
        raise
    except (RuntimeError, ValueError, OverflowError) as error:  # zipfile's, over a damaged directory
        raise zipfile.BadZipFile(str(error)) from None


def _read_members(archive: zipfile.ZipFile) -> Any:
    names = archive.namelist()
    index = next((name for name in names if name.split("/", 1)[-1] == "data.pkl"), None)
    if index is None:
        raise Malformed(f"a zip archive of {', '.join(names[:3]) or 'nothing'}")
    folder = index[:-len("data.pkl")]
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise Malformed("an archive of a big-endian machine")
    storages: dict[str, Storage] = {}

    def storage(key) -> Storage:
        _, kind, name, _, count = key[:5]
        if name not in storages:
            dtype, member = _dtype(kind), f"{folder}data/{name}"
            storages[name] = Storage(dtype, lambda: _take(archive.open(member), count * dtype.itemsize))
        return storages[name]

    tree = pickles.read(io.BytesIO(archive.read(index)), storage)
    return pickles.thaw(tree, RULES)


def read_stream(stream: BinaryIO) -> Any:
    """The content of a file by `torch.save` before 1.6, or of a bare pickle.

    Raises:
        Malformed, Refused: see `pickles`.
    """
    storages: dict[str, Storage] = {}

    def storage(key):
        if key[0] == "module":  # a class with its source beside it; the source is of no use here
            return key[1]
        _, kind, name, _, count, *view = key
        if view and view[0] is not None:
            raise Malformed("storages that share memory, as PyTorch before 0.4 wrote them")
        if name not in storages:
            dtype = _dtype(kind)
            storages[name] = Storage(dtype, lambda: _missing(name))
        return storages[name]

    first = pickles.read(stream)
    if first != LEGACY_MAGIC:
        return pickles.thaw(first, RULES)
    version, system = pickles.read(stream), pickles.read(stream)
    if version != 1001 or not (isinstance(system, dict) and system.get("little_endian", True)):
        raise Malformed("a torch.save file of an unknown kind")
    tree = pickles.read(stream, storage)
    for name in pickles.read(stream):
        count = int.from_bytes(stream.read(8), "little")
        if name not in storages:
            raise Malformed("numbers that belong to no tensor")
        storages[name].numbers = _take(stream, count * storages[name].dtype.itemsize)
    return pickles.thaw(tree, RULES)


def _take(stream: BinaryIO, size: int) -> Tensor:
    """The next `size` bytes of `stream`, (size,) uint8.

    Raises:
        EOFError: there are fewer.
    """
    try:
        content = bytearray(stream.read(size))
    except (OverflowError, MemoryError):
        content = b""
    if len(content) < size:
        raise EOFError(f"{size - len(content)} bytes of a tensor are missing")
    return torch.frombuffer(content, dtype=torch.uint8) if size else torch.empty(0, dtype=torch.uint8)


def _missing(name: str) -> Tensor:
    raise Malformed(f"the numbers of tensor '{name}' are missing")


def _dtype(kind) -> torch.dtype:
    name = getattr(kind, "name", "").rpartition(".")[2]
    if name not in DTYPES:
        raise Malformed(f"numbers of an unknown kind '{name}'")
    return DTYPES[name]


def _tensor(storage: Storage, offset: int, size: tuple, stride: tuple, dtype: torch.dtype | None = None) -> Tensor:
    """A view into `storage`; `as_strided` refuses one that reaches beyond it."""
    return storage.flat(dtype).as_strided(size, stride, offset)


def _tensor_with_dtype(record: Record) -> Tensor:
    """`_rebuild_tensor_v3`, for numbers that have no storage class of their own."""
    dtype = getattr(torch, record.args[6].name.rpartition(".")[2], None)
    if not isinstance(dtype, torch.dtype):
        raise Malformed(f"numbers of an unknown kind '{record.args[6].name}'")
    return _tensor(*record.args[:4], dtype)


def _storage_from_bytes(record: Record) -> Storage:
    """A storage inside a pickle that was not written by `torch.save`; it is a small file of its own."""
    storage = read_stream(io.BytesIO(record.args[0]))
    if not isinstance(storage, Storage):
        raise Malformed("a storage that is none")
    return storage


def _numpy_dtype(record: Record) -> np.dtype:
    dtype = np.dtype(record.args[0])
    if dtype.kind not in "biufcSU":
        raise Malformed(f"a numpy array of {dtype}")
    return dtype.newbyteorder(record.state[1]) if record.state else dtype


def _numpy_array(dtype: np.dtype, shape: tuple, content: bytes | str, order: str = "C") -> np.ndarray:
    content = content.encode("latin1") if isinstance(content, str) else bytes(content)
    array = np.frombuffer(content, dtype, math.prod(shape)).reshape(shape, order=order)
    return array.astype(dtype.newbyteorder("="), order="C")  # a copy of our own, in this machine's byte order


def _numpy_reconstruct(record: Record) -> np.ndarray:
    _, shape, dtype, fortran, content = record.state
    return _numpy_array(dtype, shape, content, "F" if fortran else "C")


def _numpy_frombuffer(record: Record) -> np.ndarray:
    content, dtype, shape, order = record.args
    return _numpy_array(dtype, shape, content, order)


RULES: dict[str, pickles.Rule] = {
    "torch._utils._rebuild_tensor": lambda record: _tensor(*record.args[:4]),
    "torch._utils._rebuild_tensor_v2": lambda record: _tensor(*record.args[:4]),
    "torch._utils._rebuild_tensor_v3": _tensor_with_dtype,
    "torch._utils._rebuild_parameter": lambda record: record.args[0],
    "torch._utils._rebuild_parameter_with_state": lambda record: record.args[0],
    "torch.storage._load_from_bytes": _storage_from_bytes,
    "torch.Size": lambda record: tuple(*record.args),
    "torch.device": lambda record: ":".join(map(str, record.args)),
    **{f"torch.jit._pickle.{name}": lambda record: record.args[0]
       for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")},
    "numpy.dtype": _numpy_dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _numpy_reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": lambda record: _numpy_array(record.args[0], (), record.args[1]).item()
       for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _numpy_frombuffer for core in ("core", "_core")},
    **nvlabs.RULES,
}
"""What PyTorch, TorchScript, numpy and NVlabs write into pickles, by dotted name."""
