"""Shared command-line options and number types for argparse.

>>> from minidl.cli.options import fraction
>>> fraction("0.2")
0.2
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "AddCommand",
    "command_adder",
    "add_json",
    "fraction",
    "option_name",
    "positive",
    "rate",
    "seed_number",
]

Number = TypeVar("Number", int, float)
# add(function, help) creates the parser of the command that `function` runs.
AddCommand = Callable[[Callable[..., Any], str], argparse.ArgumentParser]


def add_json(command: argparse.ArgumentParser, text: str = "print JSON") -> None:
    """Add ``--json`` to a command."""
    command.add_argument("--json", action="store_true", help=text)


def command_adder(commands: argparse._SubParsersAction) -> AddCommand:
    """Return a function that adds a command, named after the function that runs it."""

    def add(function: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__, help=text, description=text)
        command.set_defaults(command=function, usage_error=command.error)
        return command

    return add


def option_name(destination: str) -> str:
    """Return the option that sets an attribute of argparse's namespace.

    Examples
    --------
    >>> option_name("batch_size")
    '--batch-size'
    """
    return f"--{destination.replace('_', '-')}"


def positive(text: str) -> int:
    """Return an integer from 1."""
    return _number(text, int, "an integer from 1", lambda n: n >= 1)


def seed_number(text: str) -> int:
    """Return an integer from 0."""
    return _number(text, int, "an integer from 0", lambda n: n >= 0)


def fraction(text: str) -> float:
    """Return a number from 0 to below 1."""
    return _number(text, float, "a number from 0 to below 1", lambda x: 0 <= x < 1)


def rate(text: str) -> float:
    """Return a positive number."""
    return _number(text, float, "a positive number", lambda x: 0 < x < math.inf)


def _number(
    text: str, kind: type[Number], expected: str, is_valid: Callable[[Number], bool]
) -> Number:
    """Return `text` as a number, or raise argparse's error."""
    try:
        value = kind(text)
    except ValueError:
        value = kind("-1")  # valid for none
    if not is_valid(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, received {text!r}")
    return value
