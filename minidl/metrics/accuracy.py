"""What people watch while training: accuracy and its relatives, summed over batches.

A metric collects batches with ``update_state`` and answers with ``result``:

>>> from minidl.metrics import SparseCategoricalAccuracy
>>> accuracy = SparseCategoricalAccuracy()
>>> accuracy.update_state([0, 1], [[0.9, 0.1], [0.8, 0.2]])
>>> accuracy.update_state([1], [[0.3, 0.7]])
>>> round(accuracy.result(), 4)
0.6667
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl import losses
from minidl.common.argument_checks import check_integer
from minidl.common.serialization import lookup
from minidl.losses.base import Loss, RowLoss
from minidl.losses.labels import (
    aligned,
    as_labels,
    binary_labels,
    one_hot_labels,
    sparse_labels,
)
from minidl.metrics.confusion import AUC, ConfusionMatrix, CountsMetric, Precision, Recall
from minidl.metrics.metric import Mean, MeanOfRows, Metric

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "ConfusionMatrix",
    "Mean",
    "MeanMetricWrapper",
    "MeanOfLoss",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
]


class MeanMetricWrapper(MeanOfRows):
    """The mean of a function ``f(y_true, y_pred)`` that returns a number per sample."""

    def __init__(self, fn: Callable, name: str | None = None):
        super().__init__(name or getattr(fn, "__name__", "metric"))
        self.fn = fn

    def rows(self, y_true, y_pred):
        return np.asarray(self.fn(y_true, y_pred))


class MeanOfLoss(Metric):
    """A loss as a metric: its weighted mean over all batches (divided by the weights' sum)."""

    def __init__(self, loss, name: str | None = None):
        self.loss = losses.get(loss)
        self.name = name or self.loss.name
        self.mean = Mean()

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        if isinstance(self.loss, RowLoss):
            self.mean.update_state(self.loss.per_row(y_true, y_pred), sample_weight)
        else:  # a user's loss knows only the batch's value
            weight = len(y_pred) if sample_weight is None else np.sum(sample_weight)
            value = self.loss(y_true, y_pred, sample_weight) * len(y_pred) / weight
            self.mean.update_state(value, weight)

    def result(self) -> float:
        return self.mean.result()

    def reset_state(self) -> None:
        self.mean.reset_state()


class MeanSquaredError(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(self, name: str = "mean_squared_error"):
        super().__init__(losses.MeanSquaredError(), name)


class BinaryCrossentropy(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(
        self, name: str = "binary_crossentropy", *, from_logits=False, label_smoothing=0.0
    ):
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name)


class CategoricalCrossentropy(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(
        self, name: str = "categorical_crossentropy", *, from_logits=False, label_smoothing=0.0
    ):
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing), name)


class SparseCategoricalCrossentropy(MeanOfLoss):
    """The loss of the same name as a metric."""

    def __init__(self, name: str = "sparse_categorical_crossentropy", *, from_logits=False):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name)


class Accuracy(MeanOfRows):
    """How often predictions equal labels: both are class numbers, not probabilities."""

    def __init__(self, name: str = "accuracy"):
        super().__init__(name)

    def rows(self, y_true, y_pred):
        return aligned(self, as_labels(self, y_true), y_pred) == y_pred


class BinaryAccuracy(MeanOfRows):
    """How often ``y_pred > threshold`` equals the label; use 0 as threshold for logits."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5):
        super().__init__(name)
        self.threshold = threshold

    def rows(self, y_true, y_pred):
        return binary_labels(self, y_true, y_pred) == (y_pred > self.threshold)


class SparseCategoricalAccuracy(MeanOfRows):
    """How often the largest prediction is the one of the integer label."""

    def __init__(self, name: str = "sparse_categorical_accuracy"):
        super().__init__(name)

    def rows(self, y_true, y_pred):
        return sparse_labels(self, y_true, y_pred) == y_pred.argmax(axis=-1)


class CategoricalAccuracy(MeanOfRows):
    """How often the largest prediction is the one of the one-hot label."""

    def __init__(self, name: str = "categorical_accuracy"):
        super().__init__(name)

    def rows(self, y_true, y_pred):
        return one_hot_labels(self, y_true, y_pred).argmax(axis=-1) == y_pred.argmax(axis=-1)


class SparseTopKCategoricalAccuracy(MeanOfRows):
    """How often the integer label is among the `k` largest predictions; ties are in its favour."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = check_integer(type(self).__name__, "k", k, 1)

    def rows(self, y_true, y_pred):
        return _in_top_k(sparse_labels(self, y_true, y_pred), y_pred, self.k)


class TopKCategoricalAccuracy(MeanOfRows):
    """How often the one-hot label is among the `k` largest predictions; ties are in its favour."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = check_integer(type(self).__name__, "k", k, 1)

    def rows(self, y_true, y_pred):
        return _in_top_k(one_hot_labels(self, y_true, y_pred).argmax(axis=-1), y_pred, self.k)


def get(identifier, output_shape=None, loss=None, y_true=None) -> Metric:
    """Return the metric for a name, a dict, a class, an object, a loss or a function.

    "accuracy" (or "acc") becomes the binary, sparse or categorical accuracy as in Keras: one
    output is binary, labels without the axis of classes are sparse. Where `loss` reads logits,
    the names "accuracy", "binary_accuracy", "precision" and "recall" cut at 0 instead of 0.5.

    Parameters
    ----------
    identifier : str, dict, type, Metric, Loss or callable
        A function ``f(y_true, y_pred)`` returns one number per sample, and its mean is taken.
    output_shape : tuple, optional
        The predictions' shape, batch first.
    loss : Loss or str, optional
    y_true : array_like, optional
        Labels; without them the loss tells what they look like.

    Examples
    --------
    >>> from minidl import metrics
    >>> type(metrics.get("accuracy", output_shape=(None, 1))).__name__
    'BinaryAccuracy'
    """
    if isinstance(identifier, Loss):
        return MeanOfLoss(identifier)
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return MeanMetricWrapper(identifier)
    if not isinstance(identifier, str):
        return lookup("metric", identifier, _KNOWN, Metric)
    loss = loss if loss is None else losses.get(loss)
    known = {**_KNOWN, "accuracy": _accuracy_for(output_shape, loss, y_true)}
    known["acc"] = known["accuracy"]
    metric = lookup("metric", identifier, known, Metric)
    if isinstance(loss, losses.BinaryCrossentropy) and loss.from_logits:
        if isinstance(metric, BinaryAccuracy):
            metric = BinaryAccuracy(threshold=0.0)
        elif isinstance(metric, CountsMetric):
            metric = type(metric)(thresholds=0.0)
    metric.name = identifier
    return metric


def _accuracy_for(output_shape, loss, y_true) -> type[Metric]:
    """Choose as Keras does: by the shapes, or by the loss where there are no labels yet."""
    if output_shape is None:
        by_loss = {
            losses.CategoricalCrossentropy: CategoricalAccuracy,
            losses.SparseCategoricalCrossentropy: SparseCategoricalAccuracy,
        }
        return by_loss.get(type(loss), BinaryAccuracy)
    if output_shape[-1] == 1:
        return BinaryAccuracy
    if y_true is None:
        sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
    else:
        sparse = np.ndim(y_true) < len(output_shape) or np.shape(y_true)[-1] == 1
    return SparseCategoricalAccuracy if sparse else CategoricalAccuracy


def _in_top_k(labels: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    own = np.take_along_axis(scores, labels[..., None], axis=-1)
    return ((scores > own).sum(axis=-1) < k) & np.isfinite(own[..., 0])


_KNOWN = {
    "mse": MeanSquaredError,
    "bce": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "auc": AUC,
    "confusion_matrix": ConfusionMatrix,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
_KNOWN.update({cls.__name__: cls for cls in list(_KNOWN.values())})
