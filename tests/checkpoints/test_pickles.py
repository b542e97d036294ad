"""Pickles of every protocol read as plain data; those that would run code are refused by name and run nothing."""

from __future__ import annotations

import argparse
import collections
import io
import os
import pathlib
import pickle
import pickletools

import numpy as np
import pytest

from fctfg.checkpoints import pickles
from fctfg.checkpoints.archives import RULES

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def reread(content, protocol: int):
    return pickles.thaw(pickles.read(io.BytesIO(pickle.dumps(content, protocol))), RULES)


class Calls:
    """Pickles to a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back(protocol):
    content = {"a": [1, -2.5, None, True, 2**70], "b": ("x", b"\x00\xff", {"c": {1, 2}, 3: frozenset("d")}),
               "e": 1 + 2j, "counts": collections.Counter("aab"), "order": collections.OrderedDict(z=1, y=[2]),
               "default": collections.defaultdict(list, k=[1])}
    assert reread(content, protocol) == content


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_comes_back(protocol):
    content = {"c": np.arange(6, dtype=">f4").reshape(2, 3), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
               "ints": np.array([1, 2], np.int64), "empty": np.zeros((0, 3)), "scalar": np.float32(2.5),
               "bool": np.bool_(True)}
    back = reread(content, protocol)
    for name, value in content.items():
        np.testing.assert_array_equal(back[name], value)
    assert back["c"].dtype == np.dtype("f4") and isinstance(back["scalar"], float)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_instance_stays_a_record(protocol):
    record = reread(argparse.Namespace(lr=0.1, where=pathlib.Path("a/b")), protocol)
    assert isinstance(record, pickles.Record) and record.name == "argparse.Namespace"
    assert record.state["lr"] == 0.1 and record.state["where"].endswith("a/b")


def test_what_is_shared_stays_shared_and_cycles_close():
    inner = [1]
    outer = {"a": inner, "b": inner}
    outer["self"] = outer
    back = reread(outer, 2)
    assert back["a"] is back["b"] and back["self"] is back


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("function, argument, name", [
    (os.system, "touch {}", "system"),
    (eval, "open({!r}, 'w')", "eval"),
    (exec, "open({!r}, 'w')", "exec"),
    (open, "{}", "open"),
    (os.mkdir, "{}", "mkdir"),
])
def test_a_call_is_refused_by_name_and_not_made(tmp_path, protocol, function, argument, name):
    marker = tmp_path / "ran"
    with pytest.raises(pickles.Refused, match=rf"\.{name}$"):
        reread({"state_dict": [Calls(function, argument.format(str(marker)))]}, protocol)
    assert not marker.exists()


@pytest.mark.parametrize("code, problem", [
    (b"cos\nsystem\n(S'touch {}'\ntR.", pickles.Refused),                 # call
    (b"(S'touch {}'\nios\nsystem\n.", pickles.Refused),                   # INST
    (b"(cos\nsystem\nS'touch {}'\no.", pickles.Refused),                  # OBJ
    (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x08touch {}\x85R.", None),  # STACK_GLOBAL; text of a wrong length
    (b"cfctfg.checkpoints.pickles\nRecord\n}S'name'\nS'x'\nsb.", pickles.Malformed),  # state for a class
    (b"ccollections\nOrderedDict\n}S'get'\nS'x'\nsb.", pickles.Malformed),
    (b"cbuiltins\ngetattr\n(cos\nsystem\nS'__call__'\ntR.", pickles.Refused),
    (b"cos\nsystem\n)\x81(S'touch {}'\ntR.", pickles.Malformed),          # calling an instance
    (b"\x80\x02\x82\x01.", pickles.Malformed),                            # copyreg's extension codes
    (b"\x80\x02K\x01Q.", pickles.Malformed),                              # points outside itself
    (b"cnumpy\ndtype\n(S'O'\nI0\nI1\ntR.", pickles.Malformed),            # arrays of objects
    (b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI2\ntR.", pickles.Malformed),
    (b"ccopyreg\n_reconstructor\n(I1\nI2\nNtR.", pickles.Malformed),
    (b"\x80\x02Nr\xff\xff\xff\x7f.", pickles.Malformed),                # a place that needs 16 GiB
    (b"(" * 50 + b".", pickles.Malformed),
    (b"](" + b"](" * 100_000 + b"e" * 100_000 + b"e.", None),             # deeper than any program writes
])
def test_crafted_opcodes_run_nothing(tmp_path, code, problem):
    marker = tmp_path / "ran"
    code = code.replace(b"{}", os.fsencode(marker))
    with pytest.raises((pickles.Refused, pickles.Malformed) if problem is None else problem):
        pickles.thaw(pickles.read(io.BytesIO(code)), RULES)
    assert not marker.exists()
    assert pickles.Record.name == "" and pickles.Record.called is False


def test_no_pickle_leaves_a_trace_on_the_next():
    first, second = (pickles.read(io.BytesIO(b"cos\nsystem\n.")) for _ in range(2))
    assert first is not second and issubclass(first, pickles.Record)


def test_the_end_of_the_stream_inside_a_pickle_is_told_apart():
    whole = pickle.dumps({"a": list(range(1000)), "b": "text" * 100})
    for end in range(1, len(whole) - 1, 37):
        with pytest.raises((EOFError, pickles.Malformed)):
            pickles.read(io.BytesIO(whole[:end]))
    with pytest.raises(EOFError):
        pickles.read(io.BytesIO(whole[:-50]))


def test_the_stream_is_left_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps("one", 2) + b"rest")
    assert pickles.read(stream) == "one" and stream.read() == b"rest"


def test_data_kept_elsewhere_is_asked_for():
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("stored", 7) if value == "elsewhere" else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump(["elsewhere"])
    assert any(op.name == "BINPERSID" for op, _, _ in pickletools.genops(stream.getvalue()))
    stream.seek(0)
    assert pickles.read(stream, lambda key: key) == [("stored", 7)]
