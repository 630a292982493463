"""Number types of the command line."""

import argparse

import pytest

from minidl.cli.options import fraction, option_name, positive, rate, seed_number


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (positive, "1", 1),
        (seed_number, "0", 0),
        (fraction, "0", 0.0),
        (fraction, "0.999", 0.999),
        (rate, "1e-3", 1e-3),
    ],
)
def test_valid_numbers(kind, text, value):
    assert kind(text) == value
    assert type(kind(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (positive, ["0", "-1", "1.5", "many", ""]),
        (seed_number, ["-1", "0.5", "x"]),
        (fraction, ["1", "-0.1", "nan", "x"]),
        (rate, ["0", "-1", "nan", "inf", "x"]),
    ],
)
def test_invalid_numbers_are_refused(kind, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=f"received {text!r}"):
            kind(text)


def test_option_names():
    assert option_name("validation_split") == "--validation-split"
