"""Damaged files drawn at random: each is read, or refused in one line; never anything else."""

import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.pytorch_files import BFloat16, WithMetadata, torch_bytes

from minidl.common.errors import FileFormatError
from minidl.formats.reading import read_weight_file

CONTENT = WithMetadata(
    {
        "module.conv.weight": np.arange(54, dtype="f4").reshape(2, 3, 3, 3),
        "module.bn.weight": BFloat16(np.ones(2)),
        "module.bn.running_var": np.ones(2, "f2"),
        "module.bn.num_batches_tracked": np.array(3, "i8"),
        "module.fc.weight": np.arange(8.0).reshape(2, 4).T,
    }
)
WRAPPED = {"epoch": 3, "lr": 0.1, "model": CONTENT, "optimizer": {"state": {0: [np.ones(2)]}}}
FILES = [torch_bytes(content, legacy) for content in (CONTENT, WRAPPED) for legacy in (False, True)]

# Opcodes and names that an attacker would put in; the numbers that break arithmetic.
GADGETS = [b"cos\nsystem\n", b"\x93", b"R", b"b", b"\x81", b"o", b"(ios\nsystem\n", b"Q", b"q\x00"]
GADGETS += [b"h\x00", b"h\x01", b")", b"t", b"(", b"}", b"]", b"N", b"a", b"e", b"u", b"s", b"."]
GADGETS += [b"\x8a\xff" + b"\x7f" * 255, b"J\xff\xff\xff\xff", struct.pack("<q", -1), b"PK\x05\x06"]
GADGETS += [struct.pack("<q", 2**62), b"../", b"\x00" * 8, b"X\xff\xff\xff\x7f", b"PK\x01\x02"]

edits = st.one_of(
    st.tuples(st.just("set"), st.floats(0, 1), st.integers(0, 255)),
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.sampled_from(GADGETS)),
    st.tuples(st.just("overwrite"), st.floats(0, 1), st.sampled_from(GADGETS)),
    st.tuples(st.just("delete"), st.floats(0, 1), st.integers(1, 40)),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.integers(1, 200)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.none()),
)


def edited(data, edit):
    kind, where, value = edit
    at = int(where * (len(data) - 1)) if data else 0
    if kind == "insert":
        return data[:at] + value + data[at:]
    if kind == "overwrite":
        return data[:at] + value + data[at + len(value) :]
    if kind == "delete":
        return data[:at] + data[at + value :]
    if kind == "repeat":
        return data[:at] + data[at : at + value] + data[at:]
    if kind == "cut":
        return data[:at]
    new = value if kind == "set" else (data[at] if data else 0) ^ (1 << value)
    return data[:at] + bytes([new]) + data[at + 1 :]


@pytest.fixture(autouse=True)
def _no_unpickler(monkeypatch):
    """Python's unpickler must not run, whatever a file holds."""

    def fail(*arguments, **options):
        raise SystemExit("the unpickler of Python ran")  # no reader catches it

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, fail)


def read_or_refuse(path):
    """Return the tensors of a file with an empty message, or an empty tensor with the message."""
    try:
        file = read_weight_file(path)
    except FileFormatError as error:
        return [(np.empty(0), str(error))]
    return [(array, "") for layer in file.layers for array in layer.tensors.values()]


@thorough
@given(file=st.sampled_from(FILES), changes=st.lists(edits, min_size=1, max_size=4))
def test_damaged_files_are_read_or_refused(tmp_path_factory, file, changes):
    for change in changes:
        file = edited(file, change)
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(file)
    for array, problem in read_or_refuse(path):
        assert "\n" not in problem
        assert len(problem) < 500 + len(str(path))
        assert array.dtype.kind == "f"
        assert array.size <= len(file)
