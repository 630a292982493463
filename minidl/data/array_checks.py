"""What a user may pass as data, checked once and turned into arrays.

>>> from minidl.data.array_checks import as_arrays
>>> as_arrays([[1, 2], [3, 4]], "x").shape
(2, 2)
"""

from __future__ import annotations

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.errors import DataError
from minidl.common.seeding import draw_seed

__all__ = [
    "as_arrays",
    "as_batch",
    "as_floats",
    "common_length",
    "fixed_seed",
    "holds_batches",
    "shown",
    "take",
]


def as_arrays(value, name: str) -> np.ndarray | list[np.ndarray]:
    """Return `value` as an array of numbers, a list or tuple of arrays as a list of them."""
    if isinstance(value, (list, tuple)) and value and all(_is_array(item) for item in value):
        return [_as_array(item, f"{name}[{i}]") for i, item in enumerate(value)]
    return _as_array(value, name)


def _as_array(value, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: cannot be made an array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected numbers, received {shown(value)} ({array.dtype})")
    if array.ndim == 0:
        raise DataError(f"{name}: expected an array of samples, received {shown(value)}")
    return array


def _is_array(value) -> bool:
    return hasattr(value, "__array__") and np.ndim(value) > 0


def as_floats(x):
    """Return integers and half floats as float32, which is what layers compute with."""
    if isinstance(x, list):
        return [as_floats(part) for part in x]
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def as_batch(item, where: str) -> tuple:
    """Return an item of a user's iterable as (x, y) or (x, y, sample_weight), checked."""
    parts = tuple(item) if isinstance(item, (list, tuple)) else (item,)
    if not 1 <= len(parts) <= 3 or parts[0] is None:
        raise DataError(
            f"{where}: expected x, (x, y) or (x, y, sample_weight), received {shown(item)}"
        )
    names = ("x", "y", "sample_weight")
    arrays = [
        None if part is None else as_arrays(part, f"{where}: {name}")
        for name, part in zip(names, parts, strict=False)
    ]
    if common_length(*arrays, where=f"{where}: ") == 0:
        raise DataError(f"{where}: expected at least one sample, received none")
    arrays[0] = as_floats(arrays[0])
    return (*arrays, None) if len(arrays) == 1 else tuple(arrays)


def holds_batches(x) -> bool:
    """Tell an iterable of batches from an array, a list of numbers and a list of arrays."""
    if hasattr(x, "__array__"):
        return False
    if not isinstance(x, (list, tuple)):
        return True
    return bool(x) and all(
        isinstance(item, (list, tuple)) and _starts_with_array(item) for item in x
    )


def _starts_with_array(batch) -> bool:
    first = batch[0] if batch else None
    return _is_array(first) or (isinstance(first, (list, tuple)) and _starts_with_array(first))


def common_length(x, y=None, sample_weight=None, where: str = "") -> int:
    """Return the number of samples; raise DataError where the arrays differ in it."""
    lengths = {}
    for name, value in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        if isinstance(value, list):
            lengths.update({f"{name}[{i}]": len(part) for i, part in enumerate(value)})
        elif value is not None:
            lengths[name] = len(value)
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {n}" for name, n in list(lengths.items())[:4])
        found += ", ..." if len(lengths) > 4 else ""
        hint = "; a list of arrays means several inputs or outputs: np.stack makes it one array"
        hint = hint if isinstance(x, list) or isinstance(y, list) else ""
        raise DataError(f"{where}expected equal numbers of samples, but {found}{hint}")
    return next(iter(lengths.values()))


def take(value, rows):
    """Return the `rows` of an array, of each array of a list, or of None."""
    if value is None:
        return None
    return [part[rows] for part in value] if isinstance(value, list) else value[rows]


def fixed_seed(seed: int | np.random.Generator | None) -> int:
    """Return `seed` as an int that can be kept; draw one from a Generator or for None."""
    if seed is None:
        return draw_seed()
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63 - 1))
    return check_integer("Dataset", "seed", seed, 0)


def shown(value) -> str:
    """Return a short description of a wrong argument."""
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else type(value).__name__
