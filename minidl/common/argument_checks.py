"""Argument checks with one form of error message: ``<where>: expected <name> ..., received ...``.

Each check returns the value in its plain Python type. NumPy numbers are accepted, booleans are not.

>>> from minidl.common.argument_checks import check_integer
>>> check_integer("RandomCrop 'crop'", "height", 0, minimum=1)
Traceback (most recent call last):
    ...
ValueError: RandomCrop 'crop': expected height to be an integer >= 1, received 0
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Literal, TypeVar

import numpy as np

__all__ = ["check_choice", "check_fraction", "check_integer", "check_number", "check_pair"]

LARGEST = 2**31 - 1  # sizes and counts above it would overflow in the kernels

COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}

Exclusive = Literal["", "minimum", "maximum", "both"]
T = TypeVar("T")


def check_integer(
    where: str, name: str, value: object, minimum: int | None = None, maximum: float | None = None
) -> int:
    """Return `value` as an int, or raise ValueError.

    Parameters
    ----------
    where : str
        The layer or function that received the argument.
    name : str
        The argument's name.
    value : object
        The argument.
    minimum : int, optional
        The smallest allowed value.
    maximum : int, optional
        The largest allowed value; 2**31 - 1 by default, ``math.inf`` for none.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If `value` is not an integer, is a bool, or lies outside the bounds.

    Examples
    --------
    >>> check_integer("Dense 'head'", "units", 3, minimum=1)
    3
    """
    bounds = _bounds(minimum, maximum)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        number = int(value)
        if maximum is None and abs(number) > LARGEST:
            bounds = _bounds(minimum, LARGEST)
        if _is_within(number, bounds):
            return number
    raise _error(where, name, _words("an integer", bounds), value)


def check_number(
    where: str,
    name: str,
    value: object,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: Exclusive = "",
) -> float:
    """Return `value` as a finite float, or raise ValueError.

    Parameters
    ----------
    where, name, value
        See :func:`check_integer`.
    minimum, maximum : float, optional
        The bounds.
    exclusive : {"", "minimum", "maximum", "both"}
        The bounds that `value` must not be equal to.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `value` is not a number, is a bool, NaN or infinite, or lies outside the bounds.

    Examples
    --------
    >>> check_number("Adam", "epsilon", 0, minimum=0, exclusive="minimum")
    Traceback (most recent call last):
        ...
    ValueError: Adam: expected epsilon to be a number > 0, received 0
    """
    bounds = _bounds(minimum, maximum, exclusive)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and _is_within(number, bounds):
            return number
    raise _error(where, name, _words("a number", bounds), value)


def check_fraction(where: str, name: str, value: object, exclusive: Exclusive = "") -> float:
    """Return `value` as a float from 0 to 1, or raise ValueError; see :func:`check_number`.

    Examples
    --------
    >>> check_fraction("Dropout 'dropout'", "rate", 1, exclusive="maximum")
    Traceback (most recent call last):
        ...
    ValueError: Dropout 'dropout': expected rate to be a number >= 0 and < 1, received 1
    """
    return check_number(where, name, value, 0, 1, exclusive)


def check_choice(where: str, name: str, value: T, choices: Iterable[T]) -> T:
    """Return `value` if it is one of `choices`, or raise ValueError.

    Examples
    --------
    >>> check_choice("ResNet50", "pooling", "sum", (None, "avg", "max"))
    Traceback (most recent call last):
        ...
    ValueError: ResNet50: expected pooling to be None, 'avg' or 'max', received 'sum'
    """
    choices = list(choices)
    for choice in choices:
        if isinstance(value, type(choice)) and value == choice:  # an array has no truth value
            return value
    *others, last = map(repr, choices)
    raise _error(where, name, f"{', '.join(others)} or {last}" if others else last, value)


def check_pair(where: str, name: str, value: object, minimum: int = 1) -> tuple[int, int]:
    """Return a pair of integers; a single integer stands for two equal ones.

    Raises
    ------
    ValueError
        If `value` is neither, or an integer is below `minimum`.

    Examples
    --------
    >>> check_pair("Conv2D 'stem'", "kernel_size", 3)
    (3, 3)
    >>> check_pair("Conv2D 'stem'", "strides", [1, 2])
    (1, 2)
    """
    pair = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value, value)
    try:
        first, second = (check_integer(where, name, side, minimum) for side in pair)
    except ValueError:
        huge = any(isinstance(side, (int, np.integer)) and side > LARGEST for side in pair)
        limits = f"from {minimum} to {LARGEST}" if huge else f">= {minimum}"
        expected = f"an integer {limits} or a pair of them"
        raise _error(where, name, expected, value) from None
    return first, second


def _bounds(
    minimum: float | None, maximum: float | None, exclusive: Exclusive = ""
) -> list[tuple[str, float]]:
    """Return the bounds as pairs such as (">=", 0)."""
    above = ">" if exclusive in ("minimum", "both") else ">="
    below = "<" if exclusive in ("maximum", "both") else "<="
    return [
        (sign, limit)
        for sign, limit in ((above, minimum), (below, maximum))
        if limit is not None and limit != math.inf
    ]


def _is_within(number: float, bounds: list[tuple[str, float]]) -> bool:
    return all(COMPARISONS[sign](number, limit) for sign, limit in bounds)


def _words(kind: str, bounds: list[tuple[str, float]]) -> str:
    """Return what is expected, such as "a number > 0" or "an integer from 1 to 3"."""
    signs = [sign for sign, _ in bounds]
    if signs == [">=", "<="]:
        return f"{kind} from {bounds[0][1]} to {bounds[1][1]}"
    limits = " and ".join(f"{sign} {limit}" for sign, limit in bounds)
    return f"{kind} {limits}".rstrip()


def _error(where: str, name: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{where}: expected {name} to be {expected}, received {value!r}")
