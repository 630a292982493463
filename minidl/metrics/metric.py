"""What a metric is, and the mean that most metrics are.

>>> from minidl.metrics.metric import Mean
>>> mean = Mean()
>>> mean.update_state([1.0, 3.0])
>>> mean.result()
2.0
"""

from __future__ import annotations

import numpy as np

from minidl.common.serialization import Configurable
from minidl.losses.labels import as_predictions, row_weights

__all__ = ["Mean", "MeanOfRows", "Metric"]


class Metric(Configurable):
    """Base class; a metric of one's own needs these three methods, and a `name` for the logs.

    Attributes
    ----------
    each_batch : bool
        Whether training asks for the result after each batch; else only after the epoch,
        where the result is costly or no number.
    """

    name = "metric"
    each_batch = True

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Take in one batch; samples count by their weights where these are given."""
        raise NotImplementedError(f"{type(self).__name__}.update_state")

    def result(self) -> float:
        """Return the value for all batches since the last reset; 0 where there were none."""
        raise NotImplementedError(f"{type(self).__name__}.result")

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__}.reset_state")

    def __call__(self, y_true, y_pred, sample_weight=None) -> float:
        """Take in one batch and return the result."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


class Mean(Metric):
    """The weighted mean of numbers.

    Examples
    --------
    >>> from minidl.metrics import Mean
    >>> mean = Mean()
    >>> mean.update_state([1.0, 3.0], sample_weight=[3, 1])
    >>> mean.result()
    1.5
    """

    def __init__(self, name: str = "mean"):
        self.name = name
        self.reset_state()

    def update_state(self, values, sample_weight=None) -> None:
        values = np.atleast_1d(np.asarray(values, np.float64))
        per_sample = values.reshape(len(values), -1).mean(axis=1) if values.size else values
        if sample_weight is not None and np.ndim(sample_weight) == 0:
            sample_weight = np.full(len(values), sample_weight)
        if np.ndim(sample_weight) > 1 and np.shape(sample_weight) == values.shape:
            per_sample = values  # each value has its own weight
        weights = row_weights(self, sample_weight, per_sample.shape)
        self.total += float((per_sample * weights).sum())
        self.count += float(weights.sum())

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = 0.0
        self.count = 0.0


class MeanOfRows(Mean):
    """The mean of a number per row that a subclass computes in ``rows``."""

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        super().update_state(self.rows(y_true, as_predictions(self, y_pred)), sample_weight)

    def rows(self, y_true, y_pred: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    __call__ = Metric.__call__
