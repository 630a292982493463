"""What training makes small: the mean error of a batch, and its gradient.

A loss is called with the true labels first, as in Keras; ``value_and_gradient`` also returns
the gradient with respect to the predictions, where backpropagation begins.

>>> import numpy as np
>>> from minidl.losses import BinaryCrossentropy
>>> loss = BinaryCrossentropy(from_logits=True)
>>> value, gradient = loss.value_and_gradient([0, 1], np.zeros((2, 1)))
>>> round(value, 4), gradient.ravel().tolist()
(0.6931, [0.25, -0.25])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.config import Configurable, lookup
from minidl.errors import DataError, ShapeError
from minidl.kernels import loss as kernels

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "class_weights_to_sample_weights",
    "get",
]


class Loss(Configurable):
    """Base class; a loss of one's own needs ``value_and_gradient``.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.losses import Loss
    >>> class MeanAbsoluteError(Loss):
    ...     def value_and_gradient(self, y_true, y_pred, sample_weight=None):
    ...         error = y_pred - y_true
    ...         return float(np.abs(error).mean()), np.sign(error) / error.size
    >>> MeanAbsoluteError()(np.zeros((2, 1)), np.ones((2, 1)))
    1.0
    """

    name = "loss"

    def __call__(self, y_true, y_pred, sample_weight=None) -> float:
        """Return the batch's loss."""
        return self.value_and_gradient(y_true, y_pred, sample_weight)[0]

    def value_and_gradient(self, y_true, y_pred, sample_weight=None) -> tuple[float, np.ndarray]:
        """Return the batch's loss and its gradient with respect to `y_pred`.

        Parameters
        ----------
        y_true : array_like
            Labels.
        y_pred : numpy.ndarray
            Predictions, the batch first.
        sample_weight : array_like of shape (batch,), optional
            Multiplies each sample's loss. The sum is divided by the number of samples, not by
            the sum of the weights (Keras' ``sum_over_batch_size``).

        Returns
        -------
        value : float
        gradient : numpy.ndarray
            Shape and dtype of `y_pred`.
        """
        raise NotImplementedError(
            f"{type(self).__name__}: write value_and_gradient(y_true, y_pred, sample_weight=None),"
            " which returns the loss and its gradient with respect to y_pred"
        )


class RowLoss(Loss):
    """What the built-in losses share: one value per row of the last axis, then the mean."""

    def value_and_gradient(self, y_true, y_pred, sample_weight=None):
        targets, predictions = self.prepare(y_true, y_pred)
        weights = row_weights(self, sample_weight, predictions.shape[:-1])
        scale = (weights / weights.size).astype(predictions.dtype)
        losses, gradient = self.compute(_as_rows(targets), _as_rows(predictions), scale.reshape(-1))
        value = float((losses.astype(np.float64) * weights.reshape(-1)).sum() / weights.size)
        return value, gradient.reshape(np.shape(y_pred))

    def per_row(self, y_true, y_pred) -> np.ndarray:
        """Return each row's loss, unweighted: shape (batch,), or ``y_pred.shape[:-1]``."""
        targets, predictions = self.prepare(y_true, y_pred)
        scale = np.ones(predictions.size // predictions.shape[-1], predictions.dtype)
        losses, _ = self.compute(_as_rows(targets), _as_rows(predictions), scale)
        return losses.reshape(predictions.shape[:-1])

    def prepare(self, y_true, y_pred) -> tuple[np.ndarray, np.ndarray]:
        """Return checked targets and predictions of one shape (batch, ..., K) and one dtype."""
        raise NotImplementedError

    def compute(self, targets, predictions, scale) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows' losses (N,) and the gradient (N, K) of ``sum(scale * losses)``."""
        raise NotImplementedError


class MeanSquaredError(RowLoss):
    """The mean of ``(y_pred - y_true) ** 2``."""

    def __init__(self, name: str = "mean_squared_error"):
        self.name = name

    def prepare(self, y_true, y_pred):
        predictions = as_predictions(self, y_pred)
        return aligned(self, as_labels(self, y_true), predictions), predictions

    def compute(self, targets, predictions, scale):
        error = predictions - targets
        gradient = error * (2 * scale / error.shape[-1])[:, None]
        return np.square(error).mean(axis=-1), gradient


class _Crossentropy(RowLoss):
    def __init__(self, from_logits: bool, label_smoothing: float, axis: int, name: str):
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"{type(self).__name__}: expected label_smoothing 0..1, received {label_smoothing}"
            )
        if axis != -1:
            raise ValueError(
                f"{type(self).__name__}: expected axis=-1 (classes last), received {axis}"
            )
        self.from_logits = bool(from_logits)
        self.label_smoothing = label_smoothing
        self.name = name


class BinaryCrossentropy(_Crossentropy):
    """Cross-entropy of yes/no labels, for ``Dense(1, activation="sigmoid")``.

    Several outputs are several independent yes/no questions; their mean is taken.

    Parameters
    ----------
    from_logits : bool
        True if the predictions are the sigmoid's input instead of probabilities. Probabilities
        are kept 1e-7 away from 0 and 1; beyond that their gradient is zero, as in Keras.
    label_smoothing : float
        Moves the labels towards 0.5 by this fraction.

    Examples
    --------
    >>> from minidl.losses import BinaryCrossentropy
    >>> round(BinaryCrossentropy()([0, 1], [[0.5], [0.25]]), 4)
    1.0397
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        name: str = "binary_crossentropy",
    ):
        super().__init__(from_logits, label_smoothing, axis, name)

    def prepare(self, y_true, y_pred):
        predictions = as_predictions(self, y_pred)
        targets = binary_labels(self, y_true, predictions)
        smoothing = self.label_smoothing
        return targets * (1 - smoothing) + 0.5 * smoothing if smoothing else targets, predictions

    def compute(self, targets, predictions, scale):
        if self.from_logits:
            return kernels.sigmoid_crossentropy(predictions, targets, scale)
        return kernels.binary_crossentropy(predictions, targets, scale)


class CategoricalCrossentropy(_Crossentropy):
    """Cross-entropy of one-hot labels (N, K), for ``Dense(K, activation="softmax")``.

    Parameters
    ----------
    from_logits : bool
        True if the predictions are the softmax's input instead of probabilities. Probabilities
        are divided by their sum, then kept 1e-7 away from 0 and 1, as in Keras.
    label_smoothing : float
        Spreads this fraction of each label evenly over the K classes.

    Examples
    --------
    >>> from minidl.losses import CategoricalCrossentropy
    >>> round(CategoricalCrossentropy()([[0, 1, 0]], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        name: str = "categorical_crossentropy",
    ):
        super().__init__(from_logits, label_smoothing, axis, name)

    def prepare(self, y_true, y_pred):
        predictions = as_predictions(self, y_pred)
        targets = one_hot_labels(self, y_true, predictions)
        smoothing = self.label_smoothing
        if smoothing:
            targets = targets * (1 - smoothing) + smoothing / targets.shape[-1]
        return targets, predictions

    def compute(self, targets, predictions, scale):
        if self.from_logits:
            return kernels.softmax_crossentropy(predictions, targets, scale)
        return kernels.categorical_crossentropy(predictions, targets, scale)


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """Cross-entropy of integer labels (N,), for ``Dense(K, activation="softmax")``.

    Parameters
    ----------
    from_logits : bool
        As for :class:`CategoricalCrossentropy`.

    Examples
    --------
    >>> from minidl.losses import SparseCategoricalCrossentropy
    >>> round(SparseCategoricalCrossentropy()([1], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    def __init__(
        self, from_logits: bool = False, axis: int = -1, name="sparse_categorical_crossentropy"
    ):
        super().__init__(from_logits, 0.0, axis, name)

    def prepare(self, y_true, y_pred):
        predictions = as_predictions(self, y_pred)
        labels = sparse_labels(self, y_true, predictions)
        targets = np.zeros(predictions.shape, predictions.dtype)
        np.put_along_axis(targets, labels[..., None], 1, axis=-1)
        return targets, predictions


def get(identifier) -> Loss:
    """Return the loss for a name ("mse", "binary_crossentropy"), a dict, a class or an object.

    Raises
    ------
    TypeError
        For a plain function, whose gradient minidl cannot know.
    """
    if callable(identifier) and not isinstance(identifier, (Loss, type)):
        name = getattr(identifier, "__name__", repr(identifier))
        raise TypeError(
            f"loss {name!r}: minidl cannot differentiate a plain function; subclass"
            " minidl.losses.Loss and write value_and_gradient(y_true, y_pred, sample_weight=None)"
        )
    return lookup("loss", identifier, _KNOWN, Loss)


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
    >>> from minidl.losses import class_weights_to_sample_weights
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


def _as_rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def _name(who) -> str:
    return who if isinstance(who, str) else type(who).__name__


_KNOWN: dict[str, Any] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "bce": BinaryCrossentropy,
}
_KNOWN.update({cls.__name__: cls for cls in list(_KNOWN.values())})
