"""What labels, predictions and weights have to look like, said in one clear sentence.

>>> import numpy as np
>>> from minidl.losses.labels import sparse_labels
>>> sparse_labels("loss", [0, 3], np.zeros((2, 3)))
Traceback (most recent call last):
    ...
minidl.common.errors.DataError: loss: labels must be 0..2, received 3; did you mean a Dense(4) \
output?
"""

from __future__ import annotations

import numpy as np

from minidl.common.errors import DataError, ShapeError

__all__ = [
    "aligned",
    "as_labels",
    "as_predictions",
    "binary_labels",
    "class_weights_to_sample_weights",
    "one_hot_labels",
    "row_weights",
    "sparse_labels",
]


def class_weights_to_sample_weights(
    y_true, class_weight: dict[int, float], num_classes: int | None = None
) -> np.ndarray:
    """Return each sample's weight (N,), looked up by its class.

    Parameters
    ----------
    y_true : array_like
        Integer labels (N,) or (N, 1), or one-hot labels (N, K).
    class_weight : dict
        Class number -> weight. Every class that occurs needs one.
    num_classes : int, optional
        With it, a weight for a class that cannot occur is refused, and one is required for
        each class, even where this batch lacks it. One-hot labels imply it.

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


def as_predictions(who, y_pred) -> np.ndarray:
    """Return `y_pred` as a contiguous float array (batch, ..., K); (batch,) becomes (batch, 1)."""
    predictions = np.asarray(y_pred)
    if predictions.dtype not in (np.float32, np.float64):
        predictions = predictions.astype(np.float32)
    if predictions.ndim == 0 or predictions.size == 0:
        raise ShapeError(
            f"{_name(who)}: expected at least one prediction, received shape {predictions.shape}"
        )
    predictions = np.ascontiguousarray(predictions)
    return predictions[:, None] if predictions.ndim == 1 else predictions


def as_labels(who, y_true) -> np.ndarray:
    """Return `y_true` as an array of numbers without NaN, or raise DataError."""
    labels = np.asarray(y_true)
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{_name(who)}: labels must be numbers, received {labels.dtype} labels")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        where = int(np.argmin(np.isfinite(labels.reshape(len(labels), -1)).all(axis=1)))
        raise DataError(f"{_name(who)}: labels must be finite, but sample {where} has NaN or inf")
    return labels


def aligned(who, labels, predictions, hint: str = "") -> np.ndarray:
    """Return `labels` in the shape and dtype of `predictions`; a last axis of 1 may be absent."""
    shape = predictions.shape
    if labels.shape != shape and not (shape[-1] == 1 and labels.shape == shape[:-1]):
        raise ShapeError(
            f"{_name(who)}: expected labels of shape {shape} like the prediction,"
            f" received {labels.shape}{hint}"
        )
    return np.ascontiguousarray(labels, dtype=predictions.dtype).reshape(shape)


def binary_labels(who, y_true, predictions) -> np.ndarray:
    """Return labels within 0..1 in the shape of `predictions`."""
    labels = as_labels(who, y_true)
    hint = ""
    if predictions.shape[-1] > 1 and labels.size * predictions.shape[-1] == predictions.size:
        hint = "; for one class out of several use sparse_categorical_crossentropy"
    targets = aligned(who, labels, predictions, hint)
    low, high = labels.min(), labels.max()
    if low < 0 or high > 1:
        received = low if low < 0 else high
        hint = ""
        if low >= 0 and predictions.shape[-1] == 1 and high == int(high):
            hint = (
                "; did you mean sparse_categorical_crossentropy"
                f" with a Dense({int(high) + 1}) output?"
            )
        elif low == -1:
            hint = "; use 0 and 1 instead of -1 and 1"
        raise DataError(f"{_name(who)}: labels must be 0..1, received {received:g}{hint}")
    return targets


def sparse_labels(who, y_true, predictions) -> np.ndarray:
    """Return integer labels 0..K-1 in the shape of `predictions` without its last axis."""
    shape, classes = predictions.shape[:-1], predictions.shape[-1]
    labels = as_labels(who, y_true)
    _check_classes(who, predictions)
    if labels.shape not in (shape, (*shape, 1)):
        one_hot = labels.shape == predictions.shape
        hint = "; for one-hot labels use categorical_crossentropy" if one_hot else ""
        raise ShapeError(
            f"{_name(who)}: expected integer labels of shape {shape}, received {labels.shape}{hint}"
        )
    integers = labels.astype(np.int64).reshape(shape)
    if labels.dtype.kind == "f" and (integers != labels.reshape(shape)).any():
        bad = labels.reshape(shape)[integers != labels.reshape(shape)][0]
        raise DataError(f"{_name(who)}: labels must be whole numbers, received {bad:g}")
    low, high = integers.min(), integers.max()
    if low < 0 or high >= classes:
        received = low if low < 0 else high
        hint = f"; did you mean a Dense({high + 1}) output?" if low >= 0 else ""
        if low >= 1 and high == classes:
            hint = "; class numbers start at 0: subtract 1"
        raise DataError(f"{_name(who)}: labels must be 0..{classes - 1}, received {received}{hint}")
    return integers


def one_hot_labels(who, y_true, predictions) -> np.ndarray:
    """Return labels in the shape of `predictions`, each row of which sums to 1."""
    labels = as_labels(who, y_true)
    _check_classes(who, predictions)
    shape = predictions.shape
    hint = ""
    if labels.shape in (shape[:-1], (*shape[:-1], 1)):
        hint = "; for integer labels use sparse_categorical_crossentropy"
    targets = aligned(who, labels, predictions, hint)
    _check_one_hot(who, targets)
    return targets


def row_weights(who, sample_weight, shape) -> np.ndarray:
    """Return float64 weights of `shape`: one per sample, or per row where it has more axes."""
    if sample_weight is None:
        return np.ones(shape)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape == (*shape, 1):
        weights = weights.reshape(shape)
    if weights.shape not in (shape, shape[:1]):
        raise ShapeError(
            f"{_name(who)}: expected sample_weight of shape {shape[:1]}, received {weights.shape}"
        )
    if not np.isfinite(weights).all():
        raise DataError(f"{_name(who)}: sample_weight must be finite, received NaN or inf")
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.ascontiguousarray(np.broadcast_to(weights, shape))


def _check_classes(who, predictions) -> None:
    if predictions.shape[-1] == 1:
        raise ShapeError(
            f"{_name(who)}: expected one output per class (at least 2), received a prediction of"
            f" shape {predictions.shape}; for one sigmoid output use binary_crossentropy"
        )


def _check_one_hot(who, labels) -> None:
    if labels.min() < 0 or labels.max() > 1:
        bad = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"{_name(who)}: one-hot labels must be 0..1, received {bad:g}")
    sums = labels.reshape(-1, labels.shape[-1]).sum(axis=1)
    if (np.abs(sums - 1) > 1e-3).any():
        row = int(np.argmax(np.abs(sums - 1) > 1e-3))
        raise DataError(
            f"{_name(who)}: each one-hot row must sum to 1, but row {row} sums to {sums[row]:g};"
            " for several labels per sample use binary_crossentropy"
        )


def _checked_class_weight(class_weight, num_classes) -> dict[float, float]:
    if not isinstance(class_weight, dict) or not class_weight:
        raise TypeError(
            "class_weight: expected a dict such as {0: 1.0, 1: 2.5},"
            f" received {type(class_weight).__name__} {class_weight!r}"
        )
    known = "class numbers 0, 1, ..." if num_classes is None else f"classes 0..{num_classes - 1}"
    for key, weight in class_weight.items():
        whole = isinstance(key, (int, np.integer)) and not isinstance(key, bool)
        if not whole or key < 0 or (num_classes is not None and key >= num_classes):
            raise DataError(f"class_weight: expected {known}, received a weight for {key!r}")
        if not np.isfinite(weight) or weight < 0:
            raise DataError(f"class_weight: class {key} needs a weight >= 0, received {weight}")
    if missing := sorted(set(range(num_classes or 0)) - set(class_weight)):
        raise DataError(
            f"class_weight: no weight for class {missing[0]}; give each of the {known} one"
        )
    return {float(key): float(weight) for key, weight in class_weight.items()}


def _name(who) -> str:
    return who if isinstance(who, str) else type(who).__name__
