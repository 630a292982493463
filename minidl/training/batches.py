"""Parts of a batch: unpacking, number of samples, combined weights.

>>> from minidl.training.batches import unpack
>>> unpack(([1.0, 2.0], [0, 1]))
([1.0, 2.0], [0, 1], None)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minidl.common.errors import DataError, ShapeError
from minidl.losses.crossentropy import Crossentropy
from minidl.losses.labels import class_weights_to_sample_weights

__all__ = ["combined_weights", "limit", "sample_count", "unpack"]


def unpack(batch) -> tuple[Any, Any, Any]:
    """Return ``(x, y, sample_weight)`` of a batch; what is missing is None."""
    if isinstance(batch, tuple) and 1 <= len(batch) <= 3:
        return *batch, *[None] * (3 - len(batch))
    if isinstance(batch, np.ndarray):
        return batch, None, None
    size = f" of {len(batch)}" if isinstance(batch, tuple) else ""
    raise DataError(
        "a batch must be an array or a tuple (x, y) or (x, y, sample_weight), received a "
        f"{type(batch).__name__}{size}"
    )


def limit(batches: Iterable, steps: int | None) -> Iterator:
    """Yield at most `steps` batches, and take no more than these from the source."""
    try:
        yield from itertools.islice(batches, steps)
    finally:
        if hasattr(batches, "close"):
            batches.close()


def sample_count(x) -> int:
    """Return the number of samples of a batch."""
    return len(x[0]) if isinstance(x, (list, tuple)) else len(x)


def combined_weights(y, y_pred, loss, class_weight, sample_weight=None):
    """Return the samples' weights: their own, times those of their classes where given."""
    if class_weight is None:
        return sample_weight
    # For these losses the prediction tells which classes there are.
    classes = max(2, y_pred.shape[-1]) if isinstance(loss, Crossentropy) else None
    by_class = class_weights_to_sample_weights(y, class_weight, classes)
    if sample_weight is None:
        return by_class
    if np.shape(sample_weight) != by_class.shape:
        raise ShapeError(
            f"sample_weight: beside class_weight expected shape {by_class.shape}, received "
            f"{np.shape(sample_weight)}"
        )
    return by_class * np.asarray(sample_weight)
