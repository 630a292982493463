"""Accuracy metrics: binary, categorical, sparse categorical and top-k.

>>> from minidl.metrics import SparseCategoricalAccuracy
>>> accuracy = SparseCategoricalAccuracy()
>>> accuracy.update_state([0, 1], [[0.9, 0.1], [0.8, 0.2]])
>>> accuracy.update_state([1], [[0.3, 0.7]])
>>> round(accuracy.result(), 4)
0.6667
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.argument_checks import check_integer
from minidl.losses.labels import aligned, as_labels, binary_labels, one_hot_labels, sparse_labels
from minidl.metrics.metric import MeanOfRows

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
]


class Accuracy(MeanOfRows):
    """The share of predicted class numbers that equal the labels.

    Examples
    --------
    >>> from minidl.metrics import Accuracy
    >>> Accuracy()([0, 1], [0, 2])
    0.5
    """

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return whether each prediction equals its label."""
        return aligned(self, as_labels(self, y_true), y_pred) == y_pred


class BinaryAccuracy(MeanOfRows):
    """The share of binary labels that equal ``y_pred > threshold``.

    Parameters
    ----------
    name : str
    threshold : float
        0.5 for probabilities, 0 for logits.

    Examples
    --------
    >>> from minidl.metrics import BinaryAccuracy
    >>> BinaryAccuracy()([0, 1], [0.2, 0.4])
    0.5
    """

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return whether each thresholded prediction equals its label."""
        return binary_labels(self, y_true, y_pred) == (y_pred > self.threshold)


class SparseCategoricalAccuracy(MeanOfRows):
    """The share of samples whose largest prediction is that of the integer label.

    Examples
    --------
    >>> from minidl.metrics import SparseCategoricalAccuracy
    >>> SparseCategoricalAccuracy()([0, 1], [[0.9, 0.1], [0.8, 0.2]])
    0.5
    """

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return whether the largest prediction of each row is that of its label."""
        return sparse_labels(self, y_true, y_pred) == y_pred.argmax(axis=-1)


class CategoricalAccuracy(MeanOfRows):
    """The share of samples whose largest prediction is that of the one-hot label.

    Examples
    --------
    >>> from minidl.metrics import CategoricalAccuracy
    >>> CategoricalAccuracy()([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]])
    0.5
    """

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return whether the largest prediction of each row is that of its label."""
        return one_hot_labels(self, y_true, y_pred).argmax(axis=-1) == y_pred.argmax(axis=-1)


class SparseTopKCategoricalAccuracy(MeanOfRows):
    """The share of samples whose integer label is among the `k` largest predictions.

    A label that ties with the k-th largest prediction counts as correct.

    Parameters
    ----------
    k : int
    name : str

    Examples
    --------
    >>> from minidl.metrics import SparseTopKCategoricalAccuracy
    >>> SparseTopKCategoricalAccuracy(k=2)([2, 1], [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    0.5
    """

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = check_integer(type(self).__name__, "k", k, 1)

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return whether the label of each row is among the largest predictions."""
        return _in_top_k(sparse_labels(self, y_true, y_pred), y_pred, self.k)


class TopKCategoricalAccuracy(MeanOfRows):
    """The share of samples whose one-hot label is among the `k` largest predictions.

    A label that ties with the k-th largest prediction counts as correct.

    Parameters
    ----------
    k : int
    name : str

    Examples
    --------
    >>> from minidl.metrics import TopKCategoricalAccuracy
    >>> TopKCategoricalAccuracy(k=1)([[0, 1], [1, 0]], [[0.5, 0.5], [0.2, 0.8]])
    0.5
    """

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = check_integer(type(self).__name__, "k", k, 1)

    def rows(self, y_true: ArrayLike, y_pred: np.ndarray) -> np.ndarray:
        """Return whether the label of each row is among the largest predictions."""
        return _in_top_k(one_hot_labels(self, y_true, y_pred).argmax(axis=-1), y_pred, self.k)


def _in_top_k(labels: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    own = np.take_along_axis(scores, labels[..., None], axis=-1)
    return ((scores > own).sum(axis=-1) < k) & np.isfinite(own[..., 0])
