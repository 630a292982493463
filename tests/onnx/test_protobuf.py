"""Tests of minidl.onnx.protobuf."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.common.errors import FileFormatError
from minidl.onnx import protobuf
from minidl.onnx.protobuf import (
    BYTES,
    DOUBLE,
    FLOAT,
    INT,
    STRING,
    Message,
    encode_varint,
    field,
    packed,
    read_fields,
    repeated,
)


@dataclass
class Tree(Message):
    """One field of each kind."""

    number: int | None = field(1, INT)
    name: str = field(2, STRING, "")
    single: float | None = field(3, FLOAT)
    double: float | None = field(4, DOUBLE)
    data: bytes | None = field(5, BYTES)
    numbers: list[int] = repeated(6, INT)
    children: list[Tree] = repeated(7, lambda: Tree)
    child: Tree | None = field(8, lambda: Tree)
    floats: np.ndarray = packed(9, "<f4")
    counts: np.ndarray = packed(1000, "<i8")


INT64 = st.integers(-(2**63), 2**63 - 1)
LEAVES = st.builds(
    Tree,
    number=st.none() | INT64,
    name=st.text(),
    single=st.none() | st.floats(width=32, allow_nan=False),
    double=st.none() | st.floats(allow_nan=False),
    data=st.none() | st.binary(),
    numbers=st.lists(INT64),
    floats=st.lists(st.floats(width=32, allow_nan=False)).map(lambda v: np.array(v, "<f4")),
    counts=st.lists(INT64).map(lambda v: np.array(v, "<i8")),
)
TREES = st.builds(Tree, children=st.lists(LEAVES, max_size=3), child=st.none() | LEAVES)


@pytest.mark.parametrize(
    ("value", "octets"), [(0, "00"), (1, "01"), (300, "ac02"), (-1, "ff" * 9 + "01")]
)
def test_varints_of_the_specification(value, octets):
    assert encode_varint(value).hex() == octets


@given(TREES)
def test_decoding_returns_what_was_encoded(tree):
    again = Tree.from_bytes(tree.to_bytes())
    assert again == tree
    for one, other in zip([again, *again.children], [tree, *tree.children], strict=True):
        assert np.array_equal(one.floats, other.floats)
        assert np.array_equal(one.counts, other.counts)


@given(TREES, st.data())
def test_truncated_data_are_refused_or_a_shorter_message(tree, data):
    octets = tree.to_bytes()
    size = data.draw(st.integers(0, len(octets)))
    try:
        shorter = Tree.from_bytes(octets[:size])
    except FileFormatError:
        return
    assert octets.startswith(shorter.to_bytes()) or shorter.child is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(octets):
    with contextlib.suppress(FileFormatError):
        assert isinstance(Tree.from_bytes(octets), Tree)


def test_byte_fields_are_views_of_the_data():
    octets = Tree(data=b"x" * 1000).to_bytes()
    assert Tree.from_bytes(octets).data.obj is octets


def test_large_byte_fields_are_written_without_a_copy():
    data = bytes(1000)
    assert any(chunk is data for chunk in Tree(child=Tree(data=data)).to_chunks())


def test_repeated_numbers_may_be_packed_and_packed_ones_separate():
    packed_numbers = bytes.fromhex("3203 01ac02")  # field 6, three bytes: 1, 300
    assert Tree.from_bytes(packed_numbers).numbers == [1, 300]
    separate = bytes.fromhex("c03e01 c03e02")  # field 1000 twice
    assert Tree.from_bytes(separate).counts.tolist() == [1, 2]


def test_unknown_fields_are_skipped():
    octets = bytes.fromhex("9a0603616263 0805")  # field 99 with three bytes, field 1 with 5
    assert Tree.from_bytes(octets) == Tree(number=5)


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("08", "byte 1: truncated"),
        ("12056162", "byte 0: truncated, field 2 of 5 bytes has 2"),
        ("08" + "ff" * 11, "byte 1: a number is too long"),
        ("0001", "byte 0: expected a field number, received 0"),
        ("0b", "byte 0: expected a wire type, received 3"),
        ("1202c328", ".name: expected UTF-8 text"),
        ("0d00000000", ".number: expected another wire type, received 5"),
        ("3a021201", ".children[0]: byte 0: truncated, field 2 of 1 bytes has 0"),
        ("3a00 3a043a02 0d00", ".children[1].children[0]: byte 0: truncated, field 1 of 4 bytes"),
        ("4200 4200", ".child: expected one message, received two"),
        ("4a03000000", ".floats: expected numbers of 4 bytes, received 3 bytes"),
        ("c23e0180", ".counts: truncated within a number"),
        ("c23e0c" + "80" * 11 + "01", ".counts: expected numbers of at most 10 bytes"),
    ],
)
def test_damage_is_refused_with_its_place(octets, message):
    with pytest.raises(FileFormatError) as error:
        Tree.from_bytes(bytes.fromhex(octets))
    assert message in str(error.value)


def test_depth_is_bounded():
    tree = Tree()
    for _ in range(protobuf.MAX_DEPTH):
        tree = Tree(child=tree)
    with pytest.raises(FileFormatError, match="at most 32 nested messages"):
        Tree.from_bytes(tree.to_bytes())
    assert tree.child is not None
    assert Tree.from_bytes(tree.child.to_bytes()) == tree.child


def test_the_number_of_messages_is_bounded(monkeypatch):
    monkeypatch.setattr(protobuf, "MAX_COST", 20 * 50)
    assert len(Tree.from_bytes(bytes.fromhex("3a00") * 49).children) == 49
    with pytest.raises(FileFormatError, match="at most 50 messages"):
        Tree.from_bytes(bytes.fromhex("3a00") * 50)


def test_fields_are_read_one_by_one():
    fields = list(read_fields(memoryview(bytes.fromhex("0805 12026162"))))
    assert fields == [(1, 0, 5), (2, 2, b"ab")]
