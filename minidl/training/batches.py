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
from numpy.typing import ArrayLike

from minidl.common.errors import DataError, ShapeError
from minidl.losses.base import Loss
from minidl.losses.crossentropy import Crossentropy
from minidl.losses.labels import class_weights_to_sample_weights

__all__ = ["combined_weights", "limit", "sample_count", "unpack"]


def unpack(batch: Any) -> tuple[Any, Any, Any]:
    """Return ``(x, y, sample_weight)`` of a batch; missing parts are None."""
    if isinstance(batch, tuple) and 1 <= len(batch) <= 3:
        return *batch, *[None] * (3 - len(batch))
    if isinstance(batch, np.ndarray):
        return batch, None, None
    size = f" of {len(batch)}" if isinstance(batch, tuple) else ""
    raise DataError(
        "batch: expected an array or a tuple (x, y) or (x, y, sample_weight), received a "
        f"{type(batch).__name__}{size}"
    )


def limit(batches: Iterable[Any], steps: int | None) -> Iterator[Any]:
    """Yield at most `steps` batches, take no more from the source, and close it."""
    try:
        yield from itertools.islice(batches, steps)
    finally:
        if hasattr(batches, "close"):
            batches.close()


def sample_count(x: Any) -> int:
    """Return the number of samples of a batch."""
    return len(x[0]) if isinstance(x, (list, tuple)) else len(x)


def combined_weights(
    y: Any,
    y_pred: Any,
    loss: Loss,
    class_weight: dict[int, float] | None,
    sample_weight: ArrayLike | None = None,
) -> ArrayLike | None:
    """Return the sample weights, multiplied by the weights of the samples' classes if given.

    Parameters
    ----------
    y : array_like
        Labels.
    y_pred : numpy.ndarray
        Predictions or logits; their shape gives the number of classes.
    loss : Loss
    class_weight : dict or None
        Class number to weight.
    sample_weight : array_like, shape (batch,), optional
    """
    if class_weight is None:
        return sample_weight
    # With cross-entropy, the last axis of the predictions has one entry per class.
    classes = max(2, y_pred.shape[-1]) if isinstance(loss, Crossentropy) else None
    by_class = class_weights_to_sample_weights(y, class_weight, classes)
    if sample_weight is None:
        return by_class
    if np.shape(sample_weight) != by_class.shape:
        raise ShapeError(
            f"sample_weight: expected shape {by_class.shape} with class_weight, received "
            f"{np.shape(sample_weight)}"
        )
    return by_class * np.asarray(sample_weight)
