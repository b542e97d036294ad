"""Pickles read as plain data: nothing they name is imported, nothing they ask to call is called.

Reading has two passes. `read` rebuilds the tree of dicts, lists, numbers and strings; each class or function that the
pickle names stands in it as an inert `Record` of its name, arguments and state. `thaw` then turns the records it has
rules for into values. A record that the pickle builds without calling anything, such as an `argparse.Namespace` or a
TorchScript module, stays a record; one that the pickle would have called, such as `os.system`, is refused by name.
"""

from __future__ import annotations

import itertools
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO


class Refused(ValueError):
    """The pickle would call something that no rule knows; `str(error)` is its dotted name."""


class Malformed(ValueError):
    """The bytes are no pickle, or one that no program wrote: truncated, damaged or crafted."""


class Record:
    """What a pickle says of an object: dotted name, arguments, state, and what it put inside."""

    name = ""
    called = False
    """Whether the pickle asks to call it, rather than to make an instance and set its state."""

    def __new__(cls, *args, **keywords):
        record = super().__new__(cls)
        record.args, record.keywords, record.state, record.items = args, keywords, None, []
        return record

    def __init__(self, *args, **keywords):
        # Unpicklers run this where the pickle calls a name; instances it only makes go through __new__ alone.
        self.called = True

    def __setstate__(self, state) -> None:
        self.state = state

    def __setitem__(self, key, value) -> None:
        self.items.append((key, value))

    def append(self, value) -> None:
        self.items.append(value)

    add = append

    def extend(self, values) -> None:
        self.items.extend(values)

    def __repr__(self) -> str:
        return f"<record of {self.name}>"


Rule = Callable[[Record], Any]

PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules by the names that protocols 0 to 2 write, and today's."""


class _Reader(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, persistent: Callable[[Any], Any] | None):
        # Python 2 wrote bytes as str; latin-1 gives every byte back.
        super().__init__(stream, encoding="latin1")
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> type[Record]:
        """A new class of inert records, so that no pickle can reach one that outlives it."""
        return type(name, (Record,), {"name": f"{PYTHON_2.get(module, module)}.{name}"})

    def persistent_load(self, key):
        if self._persistent is None:
            raise pickle.UnpicklingError("it points to data outside itself")
        return self._persistent(key)


def read(stream: BinaryIO, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The tree of the next pickle in `stream`, which is left just behind it.

    `persistent` answers for data that the pickle keeps elsewhere; it gets the key as a tree. `stream` can seek.

    Raises:
        EOFError: the stream ends inside the pickle.
        Malformed: the bytes do not make a pickle.
    """
    start = stream.tell()
    _check_memo(stream)
    stream.seek(start)
    try:
        return _Reader(stream, persistent).load()
    except EOFError:
        raise
    except pickle.UnpicklingError as error:
        raise (EOFError if "truncated" in str(error) else Malformed)(str(error)) from None
    except (AttributeError, ImportError, LookupError, TypeError, ValueError, OverflowError, MemoryError,
            RecursionError) as error:
        raise Malformed(str(error) or type(error).__name__) from None


def _check_memo(stream: BinaryIO) -> None:
    """Refuse numbered places far beyond what fills them: unpicklers set aside memory for as many."""
    steps = pickletools.genops(stream)
    for count in itertools.count():
        try:
            opcode, place, _ = next(steps)
        except (StopIteration, ValueError, OverflowError, MemoryError):  # whatever else is wrong, the unpickler says
            return
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and place > 2 * count + 1000:
            raise Malformed(f"it counts to {place:,} after {count:,} steps")


def thaw(tree: Any, rules: dict[str, Rule]) -> Any:
    """`tree` with every record replaced by what `rules`, by dotted name, make of it.

    A rule gets a record whose arguments, state and items are thawed already. Whatever the pickle shares stays shared.

    Raises:
        Refused: a record that the pickle would have called has no rule.
        Malformed: a rule cannot make sense of its record.
    """
    try:
        return _Thaw({**PLAIN_RULES, **rules})(tree)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        if isinstance(error, (Refused, Malformed)):
            raise
        raise Malformed(str(error) or type(error).__name__) from None


class _Thaw:
    def __init__(self, rules: dict[str, Rule]):
        self._rules = rules
        self._done: dict[int, Any] = {}  # by identity in the frozen tree, which outlives this walk

    def __call__(self, value):
        if not isinstance(value, (dict, list, tuple, set, frozenset, Record)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = self._thaw(value)
        return self._done[id(value)]

    def _thaw(self, value):
        if isinstance(value, Record):
            return self._record(value)
        if isinstance(value, dict):
            thawed = self._done[id(value)] = {}  # known before its content, which may point back to it
            thawed.update((self(key), self(item)) for key, item in value.items())
            return thawed
        if isinstance(value, list):
            thawed = self._done[id(value)] = []
            thawed.extend(self(item) for item in value)
            return thawed
        return type(value)(self(item) for item in value)

    def _record(self, record: Record):
        rule = self._rules.get(record.name)
        if record.called and rule is None:
            raise Refused(record.name)
        thawed = type(record).__new__(type(record))
        if rule is None:
            self._done[id(record)] = thawed
        thawed.args = tuple(self(item) for item in record.args)
        thawed.state, thawed.items = self(record.state), [self(item) for item in record.items]
        return rule(thawed) if rule else thawed


def to_dict(record: Record) -> dict:
    """The content of a mapping, whatever its class."""
    content = next((arg for arg in record.args if not isinstance(arg, type)), ())
    return {**dict(content), **dict(record.items)}


def _to_bytes(record: Record) -> bytes:
    content = record.args[0] if record.args else b""
    # Not bytes(content): of a number, that is as many zeros.
    return content.encode("latin1") if isinstance(content, str) else b"".join([content])


def _reconstruct(record: Record) -> Record:
    """An instance as protocols 0 and 1 wrote it: `copyreg._reconstructor(cls, object, None)`, then its state."""
    cls = record.args[0]
    if not (isinstance(cls, type) and issubclass(cls, Record)):
        raise Malformed("it reconstructs what is no class")
    made = cls.__new__(cls)
    made.state, made.items = record.state, record.items
    return made


def _joined(record: Record) -> str:
    return "/".join(map(str, record.args))


PLAIN_RULES: dict[str, Rule] = {
    "collections.OrderedDict": to_dict,
    "collections.defaultdict": to_dict,
    "collections.Counter": to_dict,
    "_codecs.encode": _to_bytes,  # how protocol 2 writes bytes
    "copyreg._reconstructor": _reconstruct,
    "types.SimpleNamespace": lambda record: {**dict(*record.args), **(record.state or {})},
    "easydict.EasyDict": to_dict,
    "builtins.bytes": _to_bytes,
    "builtins.bytearray": _to_bytes,
    "builtins.set": lambda record: set(*record.args),
    "builtins.frozenset": lambda record: frozenset(*record.args),
    "builtins.complex": lambda record: complex(*record.args),
    "builtins.slice": lambda record: slice(*record.args),
    **{f"{module}.{name}": _joined
       for module in ("pathlib", "pathlib._local")
       for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")},
}
"""Python's own classes and a common one, turned into plain values; training options are full of them."""
