"""Argument checks: accepted values, refused values, and the form of the message."""

import math
import re

import numpy as np
import pytest

from minidl.common.argument_checks import (
    check_choice,
    check_fraction,
    check_integer,
    check_number,
    check_pair,
)


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2)])
def test_integers_come_back_as_python_ints(value):
    assert type(check_integer("f", "n", value, 1, 2)) is int
    assert check_integer("f", "n", value) == 2


def test_integers_have_no_upper_bound_on_request():
    assert check_integer("f", "seed", 2**64, 0, math.inf) == 2**64


@pytest.mark.parametrize(
    "value", [True, np.True_, 2.0, np.float32(2), "2", None, [2], np.array([2])]
)
def test_other_types_are_not_integers(value):
    with pytest.raises(ValueError, match=r"^f: expected n to be an integer, received "):
        check_integer("f", "n", value)


@pytest.mark.parametrize(
    ("minimum", "maximum", "value", "message"),
    [
        (1, None, 0, "f: expected n to be an integer >= 1, received 0"),
        (None, 3, 4, "f: expected n to be an integer <= 3, received 4"),
        (1, 3, 4, "f: expected n to be an integer from 1 to 3, received 4"),
        (
            1,
            None,
            2**31,
            "f: expected n to be an integer from 1 to 2147483647, received 2147483648",
        ),
    ],
)
def test_integers_outside_the_bounds_are_refused(minimum, maximum, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_integer("f", "n", value, minimum, maximum)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float16(0.5)])
def test_numbers_come_back_as_python_floats(value):
    number = check_number("f", "x", value)
    assert type(number) is float
    assert number == 0.5


@pytest.mark.parametrize("value", [True, np.True_, math.nan, math.inf, "0.5", None, 1j, np.ones(2)])
def test_numbers_must_be_real_and_finite(value):
    with pytest.raises(ValueError, match=r"^f: expected x to be a number, received "):
        check_number("f", "x", value)


@pytest.mark.parametrize(
    ("exclusive", "accepted", "refused"),
    [
        ("", (0, 1), (-0.1, 1.1)),
        ("minimum", (0.1, 1), (0, 1.1)),
        ("maximum", (0, 0.9), (-0.1, 1)),
        ("both", (0.1, 0.9), (0, 1)),
    ],
)
def test_exclusive_bounds_of_fractions(exclusive, accepted, refused):
    for value in accepted:
        assert check_fraction("f", "x", value, exclusive) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"received {value}$"):
            check_fraction("f", "x", value, exclusive)


def test_messages_show_exclusive_bounds():
    with pytest.raises(ValueError, match=r"^f: expected x to be a number > 0 and < 1, received 2$"):
        check_fraction("f", "x", 2, "both")


@pytest.mark.parametrize("value", ["c", "", 0, True, None, np.array(["a", "b"]), ["a"]])
def test_a_choice_is_one_of_those_listed(value):
    assert check_choice("f", "mode", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"^f: expected mode to be 'a' or 'b', received "):
        check_choice("f", "mode", value, ("a", "b"))


def test_a_choice_may_be_none_or_a_number():
    for value in (None, 0, 1):
        assert check_choice("f", "mode", value, (None, 0, 1)) == value
    with pytest.raises(ValueError, match=r"^f: expected mode to be None, 0 or 1, received 2$"):
        check_choice("f", "mode", 2, (None, 0, 1))


@pytest.mark.parametrize("value", [2, (2, 2), [2, 2], np.array([2, 2]), np.int32(2)])
def test_pairs_come_back_as_tuples_of_python_ints(value):
    pair = check_pair("f", "size", value)
    assert pair == (2, 2)
    assert [type(side) for side in pair] == [int, int]


@pytest.mark.parametrize("value", [0, (1, 0), (1,), (1, 2, 3), 1.5, "12", None, True])
def test_other_values_are_not_pairs(value):
    message = f"f: expected size to be an integer >= 1 or a pair of them, received {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_pair("f", "size", value)
