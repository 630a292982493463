"""Mean squared error, the loss for regression.

>>> from minidl.losses import MeanSquaredError
>>> MeanSquaredError()([[0.0, 2.0]], [[1.0, 2.0]])
0.5
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl.losses.base import RowLoss
from minidl.losses.labels import aligned, as_labels, as_predictions

__all__ = ["MeanSquaredError"]


class MeanSquaredError(RowLoss):
    """The mean of ``(y_pred - y_true) ** 2``.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> from minidl.losses import MeanSquaredError
    >>> MeanSquaredError()([0.0, 1.0], [0.5, 1.0])
    0.125
    """

    def __init__(self, name: str = "mean_squared_error") -> None:
        self.name = name

    def prepare(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return targets and predictions of one shape and dtype."""
        predictions = as_predictions(self, y_pred)
        return aligned(self, as_labels(self, y_true), predictions), predictions

    def compute(
        self, targets: np.ndarray, predictions: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows' squared errors and the gradient; see :meth:`RowLoss.compute`."""
        error = predictions - targets
        gradient = error * (2 * scale / error.shape[-1])[:, None]
        return np.square(error).mean(axis=-1), gradient
