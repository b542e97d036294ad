"""What an ONNX file says of itself, read from its bytes: no package is needed, and no number of a tensor is looked at.

Protocol buffers are fields one after another, each a number, a kind and a value; the numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Shape = tuple[int, ...]


class NotONNX(ValueError):
    """The bytes do not read as an ONNX model to their end."""


@dataclass(frozen=True)
class Model:
    """A graph by its ends. A dimension that is left open is 0."""

    producer: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    tensors: dict[str, Shape]


def read(path: Path) -> Model:
    """The model in the file `path`.

    Raises:
        NotONNX: it is none, or ends early.
    """
    with open(path, "rb") as file:
        return _model(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


def _model(content: memoryview) -> Model:
    producer, graph, operators = "", None, False
    for number, value in _fields(content):
        if number == 2:
            producer = _text(value)
        elif number == 7:
            graph = value
        operators |= number == 8
    if graph is None:
        raise NotONNX("no graph")
    if not operators:  # which version of them it speaks, without which none can be run; it stands behind the graph
        raise NotONNX("it ends early")
    inputs, outputs, tensors = {}, {}, {}
    for number, value in _fields(graph):
        if number == 5:
            name, shape = _tensor(value)
            tensors[name] = shape
        elif number in (11, 12):
            name, shape = _end(value)
            (inputs if number == 11 else outputs)[name] = shape
    given = {name: shape for name, shape in inputs.items() if name not in tensors}  # old files list tensors among them
    return Model(producer, given, outputs, tensors)


def _tensor(content: memoryview) -> tuple[str, Shape]:
    """Of a TensorProto, whose dimensions come one by one or packed."""
    name, shape = "", []
    for number, value in _fields(content):
        if number == 1:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif number == 8:
            name = _text(value)
    return name, tuple(shape)


def _end(content: memoryview) -> tuple[str, Shape]:
    """Of a ValueInfoProto: name, and type.tensor_type.shape.dim.dim_value."""
    name, shape = "", []
    for number, value in _fields(content):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for dim in _inside(_inside(_inside([value], 1), 2), 1):
                shape.append(next((size for field, size in _fields(dim) if field == 1 and isinstance(size, int)), 0))
    return name, tuple(shape)


def _inside(messages: list[memoryview], wanted: int) -> list[memoryview]:
    return [value for message in messages for number, value in _fields(message)
            if number == wanted and isinstance(value, memoryview)]


def _fields(content) -> Iterator[tuple[int, int | memoryview]]:
    """Each field's number and value: a whole number, or a view of the bytes of everything else."""
    if not isinstance(content, memoryview):
        raise NotONNX("a number where a message should be")
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(content, place)
        elif kind in (1, 2, 5):
            length, place = _varint(content, place) if kind == 2 else ({1: 8, 5: 4}[kind], place)
            if place + length > len(content):
                raise NotONNX("it ends early")
            value, place = content[place:place + length], place + length
        else:
            raise NotONNX(f"a field of kind {kind}")
        yield key >> 3, value


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(content) and shift < 70:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise NotONNX("a number that does not end")


def _packed(content: memoryview) -> list[int]:
    numbers, place = [], 0
    while place < len(content):
        number, place = _varint(content, place)
        numbers.append(number)
    return numbers


def _text(value) -> str:
    if not isinstance(value, memoryview):
        raise NotONNX("a number where a name should be")
    return bytes(value).decode("utf-8", "replace")
