"""Checks and conversions of labels, predictions and sample weights.

>>> import numpy as np
>>> from minidl.losses.labels import sparse_labels
>>> sparse_labels("loss", [0, 3], np.zeros((2, 3)))
Traceback (most recent call last):
    ...
minidl.common.errors.DataError: loss: expected labels 0..2, received 3. Did you mean a Dense(4) \
output?
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.errors import DataError, ShapeError

__all__ = [
    "aligned",
    "as_labels",
    "as_predictions",
    "balanced_class_weight",
    "binary_labels",
    "class_weights_to_sample_weights",
    "one_hot_labels",
    "row_weights",
    "sparse_labels",
]

# In all functions `where` is the loss or metric, or its name, that error messages mention.


def as_predictions(where: object, y_pred: ArrayLike) -> np.ndarray:
    """Return `y_pred` as a contiguous float array (batch, ..., K); (batch,) becomes (batch, 1)."""
    predictions = np.asarray(y_pred)
    if predictions.dtype not in (np.float32, np.float64):
        predictions = predictions.astype(np.float32)
    if predictions.ndim == 0 or predictions.size == 0:
        raise ShapeError(
            f"{_label(where)}: expected at least one prediction, received shape {predictions.shape}"
        )
    predictions = np.ascontiguousarray(predictions)
    return predictions[:, None] if predictions.ndim == 1 else predictions


def as_labels(where: object, y_true: ArrayLike) -> np.ndarray:
    """Return `y_true` as an array of finite numbers."""
    labels = np.asarray(y_true)
    if labels.dtype.kind not in "biuf":
        raise DataError(
            f"{_label(where)}: expected labels to be numbers, received {labels.dtype} labels"
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        sample = int(np.argmin(np.isfinite(labels.reshape(len(labels), -1)).all(axis=1)))
        raise DataError(
            f"{_label(where)}: expected finite labels, but sample {sample} has NaN or inf"
        )
    return labels


def aligned(
    where: object, labels: np.ndarray, predictions: np.ndarray, hint: str = ""
) -> np.ndarray:
    """Return `labels` in the shape and dtype of `predictions`; a last axis of 1 may be missing."""
    shape = predictions.shape
    if labels.shape != shape and not (shape[-1] == 1 and labels.shape == shape[:-1]):
        raise ShapeError(
            f"{_label(where)}: expected labels of shape {shape} like the prediction,"
            f" received {labels.shape}{hint}"
        )
    return np.ascontiguousarray(labels, dtype=predictions.dtype).reshape(shape)


def binary_labels(where: object, y_true: ArrayLike, predictions: np.ndarray) -> np.ndarray:
    """Return labels within 0..1 in the shape of `predictions`."""
    labels = as_labels(where, y_true)
    classes = predictions.shape[-1]
    hint = ""
    if classes > 1 and labels.size * classes == predictions.size:
        hint = ". For one class out of several use sparse_categorical_crossentropy"
    targets = aligned(where, labels, predictions, hint)
    low, high = targets.min(), targets.max()
    if low < 0 or high > 1:
        hint = ""
        if low >= 0 and classes == 1 and high == int(high):
            hint = (
                " Did you mean sparse_categorical_crossentropy"
                f" with a Dense({int(high) + 1}) output?"
            )
        elif low == -1:
            hint = " Use 0 and 1 instead of -1 and 1."
        raise _out_of_range(where, "labels 0..1", low, high, hint)
    return targets


def sparse_labels(where: object, y_true: ArrayLike, predictions: np.ndarray) -> np.ndarray:
    """Return integer labels 0..K-1 in the shape of `predictions` without its last axis."""
    shape, classes = predictions.shape[:-1], predictions.shape[-1]
    labels = as_labels(where, y_true)
    _check_classes(where, predictions)
    if labels.shape not in (shape, (*shape, 1)):
        one_hot = labels.shape == predictions.shape
        hint = ". For one-hot labels use categorical_crossentropy" if one_hot else ""
        raise ShapeError(
            f"{_label(where)}: expected integer labels of shape {shape},"
            f" received {labels.shape}{hint}"
        )
    labels = labels.reshape(shape)
    integers = labels.astype(np.int64)
    if (integers != labels).any():
        raise DataError(
            f"{_label(where)}: expected whole numbers as labels,"
            f" received {labels[integers != labels][0]:g}"
        )
    low, high = integers.min(), integers.max()
    if low < 0 or high >= classes:
        hint = f" Did you mean a Dense({high + 1}) output?" if low >= 0 else ""
        if low >= 1 and high == classes:
            hint = " Class numbers start at 0: subtract 1."
        raise _out_of_range(where, f"labels 0..{classes - 1}", low, high, hint)
    return integers


def one_hot_labels(where: object, y_true: ArrayLike, predictions: np.ndarray) -> np.ndarray:
    """Return labels in the shape of `predictions` whose rows sum to 1."""
    labels = as_labels(where, y_true)
    _check_classes(where, predictions)
    shape = predictions.shape
    hint = ""
    if labels.shape in (shape[:-1], (*shape[:-1], 1)):
        hint = ". For integer labels use sparse_categorical_crossentropy"
    targets = aligned(where, labels, predictions, hint)
    _check_one_hot(where, targets)
    return targets


def row_weights(
    where: object, sample_weight: ArrayLike | None, shape: tuple[int, ...]
) -> np.ndarray:
    """Return float64 weights of `shape`, given one weight per sample or per row."""
    if sample_weight is None:
        return np.ones(shape)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape == (*shape, 1):
        weights = weights.reshape(shape)
    if weights.shape not in (shape, shape[:1]):
        raise ShapeError(
            f"{_label(where)}: expected sample_weight of shape {shape[:1]},"
            f" received {weights.shape}"
        )
    if not np.isfinite(weights).all():
        raise DataError(f"{_label(where)}: expected finite sample_weight, received NaN or inf")
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.ascontiguousarray(np.broadcast_to(weights, shape))


def balanced_class_weight(labels: ArrayLike, num_classes: int) -> dict[int, float]:
    """Return the class weights that give each class the same total weight.

    The mean weight of the samples is 1.

    Parameters
    ----------
    labels : array_like of int, shape (N,)
        Class numbers.
    num_classes : int

    Returns
    -------
    dict of int to float
        ``N / (num_classes * count)`` for each class: the argument `class_weight` of ``fit``.

    Raises
    ------
    DataError
        If a class has no sample.

    Examples
    --------
    >>> from minidl.losses.labels import balanced_class_weight
    >>> balanced_class_weight([0, 1, 1, 1], 2)
    {0: 2.0, 1: 0.6666666666666666}
    """
    counts = np.bincount(as_labels("class_weight", labels).astype(np.int64), minlength=num_classes)
    if not counts.all():
        raise DataError(
            f"class_weight: expected samples of each class, received none of class "
            f"{int(counts.argmin())}"
        )
    return {k: float(counts.sum() / (num_classes * n)) for k, n in enumerate(counts.tolist())}


def class_weights_to_sample_weights(
    y_true: ArrayLike, class_weight: dict[int, float], num_classes: int | None = None
) -> np.ndarray:
    """Return each sample's weight, looked up by its class.

    Parameters
    ----------
    y_true : array_like, shape (N,), (N, 1) or (N, K)
        Integer or one-hot labels.
    class_weight : dict
        Class number to weight. Every class among the labels needs one.
    num_classes : int, optional
        If given, the keys must be exactly 0..num_classes-1. One-hot labels imply it.

    Returns
    -------
    numpy.ndarray, shape (N,)

    Raises
    ------
    DataError
        For a missing or unknown class, or labels that are not class numbers.

    Examples
    --------
    >>> from minidl.losses.labels import class_weights_to_sample_weights
    >>> class_weights_to_sample_weights([0, 1, 1], {0: 3.0, 1: 0.5})
    array([3. , 0.5, 0.5])
    """
    labels = as_labels("class_weight", y_true)
    if labels.ndim == 2 and labels.shape[1] > 1:
        num_classes = labels.shape[1]
        _check_one_hot("class_weight", labels)
        labels = labels.argmax(axis=1)
    if labels.size != len(labels):
        raise ShapeError(
            f"class_weight: expected labels (N,), (N, 1) or one-hot (N, K), received {labels.shape}"
        )
    labels = labels.reshape(-1)
    weights = _checked_class_weight(class_weight, num_classes)
    if missing := sorted({float(label) for label in np.unique(labels)} - set(weights)):
        raise DataError(
            f"class_weight: no weight for class {missing[0]:g}, received weights for"
            f" {sorted(weights)}; give every class one"
        )
    return np.array([weights[label] for label in labels.tolist()], np.float64)


def _checked_class_weight(class_weight: Any, num_classes: int | None) -> dict[float, float]:
    if not isinstance(class_weight, dict) or not class_weight:
        raise TypeError(
            "class_weight: expected a dict such as {0: 1.0, 1: 2.5},"
            f" received {type(class_weight).__name__} {class_weight!r}"
        )
    known = "class numbers 0, 1, ..." if num_classes is None else f"classes 0..{num_classes - 1}"
    for key, weight in class_weight.items():
        integer = isinstance(key, (int, np.integer)) and not isinstance(key, bool)
        if not integer or key < 0 or (num_classes is not None and key >= num_classes):
            raise DataError(f"class_weight: expected {known}, received a weight for {key!r}")
        if not np.isfinite(weight) or weight < 0:
            raise DataError(
                f"class_weight: expected a weight >= 0 for class {key}, received {weight}"
            )
    if missing := sorted(set(range(num_classes or 0)) - set(class_weight)):
        raise DataError(
            f"class_weight: no weight for class {missing[0]}; give each of the {known} one"
        )
    return {float(key): float(weight) for key, weight in class_weight.items()}


def _check_classes(where: object, predictions: np.ndarray) -> None:
    if predictions.shape[-1] == 1:
        raise ShapeError(
            f"{_label(where)}: expected one output per class (at least 2), received a prediction"
            f" of shape {predictions.shape}. For one sigmoid output use binary_crossentropy"
        )


def _check_one_hot(where: object, labels: np.ndarray) -> None:
    low, high = labels.min(), labels.max()
    if low < 0 or high > 1:
        raise _out_of_range(where, "one-hot labels 0..1", low, high)
    sums = labels.reshape(-1, labels.shape[-1]).sum(axis=1)
    wrong = np.abs(sums - 1) > 1e-3
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{_label(where)}: expected each one-hot row to sum to 1, but row {row} sums to"
            f" {sums[row]:g}. For several labels per sample use binary_crossentropy"
        )


def _out_of_range(
    where: object, expected: str, low: float, high: float, hint: str = ""
) -> DataError:
    """Return the error for labels that range from `low`, if negative, or up to `high`."""
    received = low if low < 0 else high
    return DataError(f"{_label(where)}: expected {expected}, received {received:g}.{hint}")


def _label(where: object) -> str:
    return where if isinstance(where, str) else type(where).__name__
