"""Metrics made of losses and of functions.

>>> from minidl.metrics import MeanSquaredError
>>> MeanSquaredError()([[0.0], [0.0]], [[1.0], [2.0]])
2.5
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl import losses
from minidl.losses.base import RowLoss
from minidl.metrics.metric import Mean, MeanOfRows, Metric

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "MeanMetricWrapper",
    "MeanOfLoss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
]


class MeanMetricWrapper(MeanOfRows):
    """The mean of a function.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred)`` returns one number per sample.
    name : str, optional
        By default the function's.

    Examples
    --------
    >>> from minidl.metrics import MeanMetricWrapper
    >>> MeanMetricWrapper(lambda y_true, y_pred: y_pred[:, 0] == y_true)([1, 1], [0.0, 1.0])
    0.5
    """

    def __init__(self, fn: Callable[..., ArrayLike], name: str | None = None) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "metric")))
        self.fn = fn

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return the function's values."""
        return np.asarray(self.fn(y_true, y_pred))


class MeanOfLoss(Mean):
    """A loss as a metric: its weighted mean over all batches.

    The sum is divided by the sum of the weights, while a loss divides by the number of samples.

    Parameters
    ----------
    loss : str or Loss
    name : str, optional
        By default the loss's.

    Examples
    --------
    >>> from minidl.metrics import MeanOfLoss
    >>> MeanOfLoss("mse")([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[4, 1])
    1.6
    """

    def __init__(self, loss: Any, name: str | None = None) -> None:
        self.loss = losses.get(loss)
        super().__init__(name or self.loss.name)

    def update_state(  # type: ignore[override]  # as in Metric, not as in Mean
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add one batch; see :meth:`Metric.update_state`."""
        if isinstance(self.loss, RowLoss):
            super().update_state(self.loss.per_row(y_true, y_pred), sample_weight)
        else:  # a custom loss returns only the batch's value
            samples = len(np.asarray(y_pred))
            weight = samples if sample_weight is None else np.sum(sample_weight)
            value = self.loss(y_true, y_pred, sample_weight) * samples / weight
            super().update_state(value, weight)

    __call__ = Metric.__call__


class MeanSquaredError(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(losses.MeanSquaredError(), name)


class BinaryCrossentropy(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        *,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name)


class CategoricalCrossentropy(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        *,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing), name)


class SparseCategoricalCrossentropy(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(
        self, name: str = "sparse_categorical_crossentropy", *, from_logits: bool = False
    ) -> None:
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name)
