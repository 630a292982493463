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

from minidl.common.argument_checks import check_fraction
from minidl.common.serialization import Configurable, lookup
from minidl.kernels import losses as kernels
from minidl.losses.labels import (
    aligned,
    as_labels,
    as_predictions,
    binary_labels,
    one_hot_labels,
    row_weights,
    sparse_labels,
)

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
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


class Crossentropy(RowLoss):
    """What the cross-entropies share: logits or probabilities, label smoothing."""

    activation = ""  # the one whose outputs this loss reads as probabilities

    def __init__(self, from_logits: bool, label_smoothing: float, axis: int, name: str):
        check_fraction(type(self).__name__, "label_smoothing", label_smoothing)
        if axis != -1:
            raise ValueError(
                f"{type(self).__name__}: expected axis=-1 (classes last), received {axis}"
            )
        self.from_logits = bool(from_logits)
        self.label_smoothing = label_smoothing
        self.name = name

    def gradient_before_activation(self, y_true, y_pred, sample_weight=None) -> np.ndarray:
        """Return the gradient with respect to the input of the sigmoid or softmax.

        It is ``probability - label``: never zero for a wrong answer, while the gradient with
        respect to a probability that has rounded to 0 or 1 is lost. `y_pred` are probabilities.
        """
        targets, predictions = self.prepare(y_true, y_pred)
        weights = row_weights(self, sample_weight, predictions.shape[:-1])
        scale = (weights / weights.size).astype(predictions.dtype)[..., None]
        return self.error(targets, predictions) * scale

    def error(self, targets, predictions) -> np.ndarray:
        """Return each row's gradient, unweighted."""
        raise NotImplementedError


class BinaryCrossentropy(Crossentropy):
    """Cross-entropy of yes/no labels, for ``Dense(1, activation="sigmoid")``.

    Several outputs are several independent yes/no questions; their mean is taken.

    Parameters
    ----------
    from_logits : bool
        True if the predictions are the sigmoid's input instead of probabilities. Probabilities
        are kept 1e-7 away from 0 and 1; beyond that their gradient is zero. (A model that ends
        in a sigmoid learns all the same: see ``gradient_before_activation``.)
    label_smoothing : float
        Moves the labels towards 0.5 by this fraction.

    Examples
    --------
    >>> from minidl.losses import BinaryCrossentropy
    >>> round(BinaryCrossentropy()([0, 1], [[0.5], [0.25]]), 4)
    1.0397
    """

    activation = "sigmoid"

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

    def error(self, targets, predictions):
        return (predictions - targets) / predictions.dtype.type(predictions.shape[-1])


class CategoricalCrossentropy(Crossentropy):
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

    activation = "softmax"

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

    def error(self, targets, predictions):
        return predictions * targets.sum(axis=-1, keepdims=True) - targets


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


CROSSENTROPIES = (BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy)


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


def _as_rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


_KNOWN: dict[str, Any] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "bce": BinaryCrossentropy,
}
_KNOWN.update({cls.__name__: cls for cls in list(_KNOWN.values())})
