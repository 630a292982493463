"""Base classes of the losses: the batch's mean error and its gradient.

>>> import numpy as np
>>> from minidl.losses import MeanSquaredError
>>> value, gradient = MeanSquaredError().value_and_gradient([[0.0], [1.0]], np.zeros((2, 1)))
>>> value, gradient.tolist()
(0.5, [[0.0], [-1.0]])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.serialization import Configurable
from minidl.losses.labels import row_weights

__all__ = ["Loss", "RowLoss"]


class Loss(Configurable):
    """Base class of all losses; a custom loss implements ``value_and_gradient``.

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

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the batch's loss; parameters as for :meth:`value_and_gradient`."""
        return self.value_and_gradient(y_true, y_pred, sample_weight)[0]

    def value_and_gradient(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, np.ndarray]:
        """Return the batch's loss and its gradient with respect to `y_pred`.

        Parameters
        ----------
        y_true : array_like
            Labels.
        y_pred : array_like, shape (batch, ..., K)
            Predictions.
        sample_weight : array_like, shape (batch,), optional
            Factors of the samples' losses. The sum is divided by the number of samples, not by
            the sum of the weights (Keras' ``sum_over_batch_size``).

        Returns
        -------
        value : float
        gradient : numpy.ndarray
            Shape and dtype of `y_pred`.
        """
        raise NotImplementedError(
            f"{type(self).__name__}: expected a method value_and_gradient(y_true, y_pred, "
            "sample_weight=None) that returns the loss and its gradient with respect to y_pred"
        )


class RowLoss(Loss):
    """Base class of the built-in losses: the mean of one loss per row of the last axis."""

    def value_and_gradient(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[float, np.ndarray]:
        """Return the batch's loss and its gradient; see :meth:`Loss.value_and_gradient`."""
        targets, predictions = self.prepare(y_true, y_pred)
        weights = row_weights(self, sample_weight, predictions.shape[:-1])
        scale = (weights / weights.size).astype(predictions.dtype)
        losses, gradient = self.compute(_as_rows(targets), _as_rows(predictions), scale.reshape(-1))
        value = float((losses.astype(np.float64) * weights.reshape(-1)).sum() / weights.size)
        return value, gradient.reshape(np.shape(y_pred))

    def per_row(self, y_true: ArrayLike, y_pred: ArrayLike) -> np.ndarray:
        """Return each row's unweighted loss, shape (batch,) or ``y_pred.shape[:-1]``."""
        targets, predictions = self.prepare(y_true, y_pred)
        scale = np.ones(predictions.size // predictions.shape[-1], predictions.dtype)
        losses, _ = self.compute(_as_rows(targets), _as_rows(predictions), scale)
        return losses.reshape(predictions.shape[:-1])

    def prepare(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return checked targets and predictions of one shape (batch, ..., K) and one dtype."""
        raise NotImplementedError(f"{type(self).__name__}.prepare")

    def compute(
        self, targets: np.ndarray, predictions: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the losses of rows (N, K) and the gradient of ``sum(scale * losses)``.

        Parameters
        ----------
        targets, predictions : numpy.ndarray, shape (N, K)
        scale : numpy.ndarray, shape (N,)

        Returns
        -------
        losses : numpy.ndarray, shape (N,)
        gradient : numpy.ndarray, shape (N, K)
        """
        raise NotImplementedError(f"{type(self).__name__}.compute")


def _as_rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])
