"""Base classes of the metrics: the interface, and the weighted mean.

>>> from minidl.metrics.metric import Mean
>>> mean = Mean()
>>> mean.update_state([1.0, 3.0])
>>> mean.result()
2.0
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.serialization import Configurable
from minidl.losses.labels import as_predictions, row_weights

__all__ = ["Mean", "MeanOfRows", "Metric"]


class Metric(Configurable):
    """Base class; a custom metric implements the three methods and sets `name`.

    Attributes
    ----------
    name : str
        Name in the logs.
    each_batch : bool
        Whether training shows the result after each batch. False for results that are costly
        to compute or not numbers; these are shown after the epoch.

    Examples
    --------
    >>> from minidl.metrics import Metric
    >>> class Largest(Metric):
    ...     name = "largest"
    ...     value = 0.0
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.value = max(self.value, float(y_pred.max()))
    ...     def result(self):
    ...         return self.value
    ...     def reset_state(self):
    ...         self.value = 0.0
    """

    name = "metric"
    each_batch = True

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add one batch.

        Parameters
        ----------
        y_true : array_like
            Labels.
        y_pred : array_like, shape (batch, ..., K)
            Predictions.
        sample_weight : array_like, shape (batch,), optional
        """
        raise NotImplementedError(f"{type(self).__name__}.update_state")

    def result(self) -> Any:
        """Return the value for all batches since the last reset; 0 if there were none."""
        raise NotImplementedError(f"{type(self).__name__}.result")

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__}.reset_state")

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Add one batch and return the result; parameters as for :meth:`update_state`."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class Mean(Metric):
    """The weighted mean of numbers.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> from minidl.metrics import Mean
    >>> mean = Mean()
    >>> mean.update_state([1.0, 3.0], sample_weight=[3, 1])
    >>> mean.result()
    1.5
    """

    def __init__(self, name: str = "mean") -> None:
        self.name = name
        self.reset_state()

    def update_state(  # type: ignore[override]  # values instead of labels and predictions
        self, values: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add numbers.

        Parameters
        ----------
        values : array_like, shape () or (N, ...)
        sample_weight : array_like, shape (), (N,) or that of `values`, optional
        """
        values = np.atleast_1d(np.asarray(values, np.float64))
        per_sample = values.reshape(len(values), -1).mean(axis=1) if values.size else values
        if sample_weight is not None and np.ndim(sample_weight) == 0:
            sample_weight = np.full(len(values), sample_weight)
        if np.ndim(sample_weight) > 1 and np.shape(sample_weight) == values.shape:  # type: ignore[arg-type]
            per_sample = values  # one weight per value
        weights = row_weights(self, sample_weight, per_sample.shape)
        self.total += float((per_sample * weights).sum())
        self.count += float(weights.sum())

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0


class MeanOfRows(Mean):
    """Base class of means of one number per row, which subclasses compute in ``rows``."""

    def update_state(  # type: ignore[override]  # as in Metric, not as in Mean
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add one batch; see :meth:`Metric.update_state`."""
        super().update_state(self.rows(y_true, as_predictions(self, y_pred)), sample_weight)

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return one number for each row of the predictions (batch, ..., K)."""
        raise NotImplementedError(f"{type(self).__name__}.rows")

    __call__ = Metric.__call__
