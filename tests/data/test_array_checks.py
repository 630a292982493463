"""Conversion of arrays and batches: types, lengths, seeds."""

import numpy as np
import pytest

from minidl.common.errors import DataError
from minidl.common.seeding import set_random_seed
from minidl.data.array_checks import (
    as_arrays,
    as_batch,
    as_floats,
    as_parts,
    describe_value,
    holds_batches,
    resolve_seed,
    take,
)

X, Y = np.zeros((4, 2)), np.arange(4)


def test_lists_of_numbers_are_one_array_and_lists_of_arrays_stay():
    assert as_arrays([[1, 2], [3, 4]], "x").tolist() == [[1, 2], [3, 4]]
    assert as_arrays(X, "x") is X
    parts = as_arrays((X, Y), "x")
    assert parts[0] is X
    assert parts[1] is Y


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["a"]), "x: expected numbers, received ndarray"),
        ([[1, 2], [3]], "x: cannot be converted to an array"),
        (3.5, "x: expected an array of samples, received float 3.5"),
        ([X, np.array([None])], r"x\[1\]: expected numbers"),
    ],
)
def test_values_other_than_numbers_raise_data_error(value, message):
    with pytest.raises(DataError, match=message):
        as_arrays(value, "x")


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16"])
def test_integers_and_half_floats_become_float32(dtype):
    assert as_floats(np.ones(3, dtype)).dtype == np.float32
    assert [part.dtype for part in as_floats([np.ones(3, dtype), X])] == [np.float32, np.float64]


def test_floats_are_not_copied():
    assert as_floats(X) is X


def test_batches_have_two_or_three_parts():
    assert [part is None for part in as_batch(X, "here")] == [False, True]
    assert [part is None for part in as_batch((X,), "here")] == [False, True]
    assert [part is None for part in as_batch((X, None), "here")] == [False, True]
    x, y, weight = as_batch([X.astype(int), Y, np.ones(4)], "here")
    assert x.dtype == np.float32
    assert y is Y
    assert weight.tolist() == [1] * 4


@pytest.mark.parametrize("item", [(), (X, Y, Y, Y), (None, Y), (X, Y[:3]), (X[:0], Y[:0])])
def test_wrong_batches_raise_data_error_with_their_position(item):
    with pytest.raises(DataError, match="^batch 3: (x: )?expected "):
        as_batch(item, "batch 3")


def test_different_lengths_are_listed():
    assert as_parts([X, None])[1] == 4
    assert as_parts([[X, Y], Y, Y])[1] == 4
    with pytest.raises(DataError, match="x has 4, y has 3$"):
        as_parts([X, Y[:3]])
    with pytest.raises(DataError, match=r"lengths: x\[0\] has 4, x\[2\] has 3. .*np\.stack"):
        as_parts([[X, X, X[:3]], Y])
    with pytest.raises(DataError, match="x: expected at least one sample"):
        as_parts([X[:0]])


def test_batches_differ_from_arrays_and_lists_of_arrays():
    for x in ([(X, Y)], [([X, X], Y)], iter([X]), lambda: iter([X])):
        assert holds_batches(x)
    for x in (X, [X, X], [[1.0, 2.0]], [1, 2], []):
        assert not holds_batches(x)


def test_take_selects_rows_of_each_array():
    rows = np.array([2, 0])
    assert take(None, rows) is None
    assert take(Y, rows).tolist() == [2, 0]
    assert [part.tolist() for part in take([Y, Y + 1], rows)] == [[2, 0], [3, 1]]


def test_seeds_are_integers_or_drawn():
    assert resolve_seed("here", np.int64(5)) == 5
    assert resolve_seed("here", np.random.default_rng(1)) == resolve_seed(
        "here", np.random.default_rng(1)
    )
    set_random_seed(3)
    first = resolve_seed("here", None)
    assert resolve_seed("here", None) != first
    set_random_seed(3)
    assert resolve_seed("here", None) == first
    for seed in (-1, 2.0, True, "a"):
        with pytest.raises(ValueError, match="here: expected seed to be an integer >= 0"):
            resolve_seed("here", seed)


def test_long_values_are_described_by_their_type():
    assert describe_value(3) == "int 3"
    assert describe_value("x" * 100) == "str"
