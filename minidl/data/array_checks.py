"""Conversion of the arrays and batches that users pass as data.

>>> from minidl.data.array_checks import as_arrays
>>> as_arrays([[1, 2], [3, 4]], "x").shape
(2, 2)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.errors import DataError
from minidl.common.seeding import draw_seed

__all__ = [
    "Arrays",
    "Batch",
    "as_arrays",
    "as_batch",
    "as_floats",
    "as_parts",
    "describe_value",
    "holds_batches",
    "resolve_seed",
    "take",
]

Arrays: TypeAlias = np.ndarray | list[np.ndarray]  # a list for several inputs or outputs
Batch: TypeAlias = tuple[Any, ...]  # (x, y) or (x, y, sample_weight), each Arrays or None

NAMES = "x", "y", "sample_weight"


def as_arrays(value: object, name: str) -> Arrays:
    """Return `value` as an array of numbers, a list or tuple of arrays as a list of arrays.

    Raises
    ------
    DataError
        If `value` contains anything but numbers, or is a single number.
    """
    if isinstance(value, (list, tuple)) and value and all(_is_array(item) for item in value):
        return [_as_array(item, f"{name}[{i}]") for i, item in enumerate(value)]
    return _as_array(value, name)


def _as_array(value: object, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: cannot be converted to an array ({error})") from None
    if array.dtype.kind not in "biuf":
        received = f"{describe_value(value)} ({array.dtype})"
        raise DataError(f"{name}: expected numbers, received {received}")
    if array.ndim == 0:
        raise DataError(f"{name}: expected an array of samples, received {describe_value(value)}")
    return array


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") and np.ndim(value) > 0


def as_floats(x: Arrays) -> Arrays:
    """Return integers and float16 as float32; float32 and float64 stay."""
    return [_as_floats(part) for part in x] if isinstance(x, list) else _as_floats(x)


def _as_floats(x: np.ndarray) -> np.ndarray:
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def as_batch(item: object, where: str) -> Batch:
    """Return an item of a user's iterable as (x, y) or (x, y, sample_weight).

    Raises
    ------
    DataError
        If `item` is not ``x``, ``(x, y)`` or ``(x, y, sample_weight)``, is empty, or its parts
        differ in length.
    """
    parts = item if isinstance(item, (list, tuple)) else (item,)
    if not 1 <= len(parts) <= 3:
        raise DataError(
            f"{where}: expected x, (x, y) or (x, y, sample_weight), received {describe_value(item)}"
        )
    (x, *others), _ = as_parts(parts, f"{where}: ")
    return as_floats(x), *(others or [None])


def as_parts(values: Sequence[object], where: str = "") -> tuple[list[Any], int]:
    """Return x, y and sample_weight (or the first of them) as arrays, and their length.

    y and sample_weight may be None and stay None.

    Raises
    ------
    DataError
        If an array does not contain numbers, or the arrays differ in length or are empty.
    """
    parts: list[Any] = []
    first: dict[int, str] = {}  # length -> name of the first array of that length
    for name, value in zip(NAMES, values, strict=False):
        part = None if value is None and name != "x" else as_arrays(value, where + name)
        parts.append(part)
        if isinstance(part, list):
            for i, array in enumerate(part):
                first.setdefault(len(array), f"{name}[{i}]")
        elif part is not None:
            first.setdefault(len(part), name)
    if len(first) > 1:
        lengths = ", ".join(f"{name} has {length}" for length, name in first.items())
        hint = ". A list of arrays means several inputs or outputs: np.stack joins it to one array."
        raise DataError(
            f"{where}expected equal numbers of samples, received different lengths: {lengths}"
            f"{hint if any(isinstance(part, list) for part in parts) else ''}"
        )
    if 0 in first:
        raise DataError(f"{where or 'x: '}expected at least one sample, received none")
    return parts, min(first)


def holds_batches(x: object) -> bool:
    """Return whether `x` is an iterable of batches, not an array, numbers or a list of arrays."""
    if isinstance(x, (list, tuple)):
        return bool(x) and all(
            isinstance(item, (list, tuple)) and _starts_with_array(item) for item in x
        )
    return not hasattr(x, "__array__")


def _starts_with_array(batch: list[Any] | tuple[Any, ...]) -> bool:
    first = batch[0] if batch else None
    return _is_array(first) or (isinstance(first, (list, tuple)) and _starts_with_array(first))


def take(value: Any, rows: slice | np.ndarray) -> Any:
    """Return the `rows` of an array or of each array of a list; None stays None."""
    if isinstance(value, list):
        return [part[rows] for part in value]
    return None if value is None else value[rows]


def resolve_seed(where: str, seed: int | np.random.Generator | None) -> int:
    """Return `seed` as an int; draw one from a Generator, or from the global one for None."""
    if seed is None:
        return draw_seed()
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63 - 1))
    return check_integer(where, "seed", seed, 0, math.inf)


def describe_value(value: object) -> str:
    """Return a short description of a wrong argument."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else type(value).__name__
