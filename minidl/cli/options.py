"""Checks of the command line's numbers, for argparse.

>>> from minidl.cli.options import fraction
>>> fraction("0.2")
0.2
"""

from __future__ import annotations

import argparse
import math

__all__ = ["fraction", "positive", "rate", "seed_number"]


def positive(text: str) -> int:
    """Return a whole number from 1."""
    return _number(text, int, "a whole number from 1", lambda n: n >= 1)


def seed_number(text: str) -> int:
    """Return a whole number from 0."""
    return _number(text, int, "a whole number from 0", lambda n: n >= 0)


def fraction(text: str) -> float:
    """Return a number from 0 to below 1."""
    return _number(text, float, "a number from 0 to below 1", lambda x: 0 <= x < 1)


def rate(text: str) -> float:
    """Return a positive number."""
    return _number(text, float, "a positive number", lambda x: 0 < x < math.inf)


def _number(text: str, kind: type, expected: str, good):
    """Return `text` as a number, or tell argparse what was expected."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not good(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, received {text!r}")
    return value
