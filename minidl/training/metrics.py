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

from minidl.config import Configurable, lookup
from minidl.errors import ShapeError
from minidl.training import losses
from minidl.training.losses import (
    Loss,
    aligned,
    as_labels,
    as_predictions,
    binary_labels,
    one_hot_labels,
    row_weights,
    sparse_labels,
)

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


class Metric(Configurable):
    """Base class; a metric of one's own needs these three methods, and a `name` for the logs."""

    name = "metric"

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


class _MeanOfRows(Mean):
    """The mean of a number per row that a subclass computes in ``rows``."""

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        super().update_state(self.rows(y_true, as_predictions(self, y_pred)), sample_weight)

    def rows(self, y_true, y_pred: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    __call__ = Metric.__call__


class MeanMetricWrapper(_MeanOfRows):
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
        if isinstance(self.loss, losses.RowLoss):
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


class Accuracy(_MeanOfRows):
    """How often predictions equal labels: both are class numbers, not probabilities."""

    def __init__(self, name: str = "accuracy"):
        super().__init__(name)

    def rows(self, y_true, y_pred):
        return aligned(self, as_labels(self, y_true), y_pred) == y_pred


class BinaryAccuracy(_MeanOfRows):
    """How often ``y_pred > threshold`` equals the label; use 0 as threshold for logits."""

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5):
        super().__init__(name)
        self.threshold = threshold

    def rows(self, y_true, y_pred):
        return binary_labels(self, y_true, y_pred) == (y_pred > self.threshold)


class SparseCategoricalAccuracy(_MeanOfRows):
    """How often the largest prediction is the one of the integer label."""

    def __init__(self, name: str = "sparse_categorical_accuracy"):
        super().__init__(name)

    def rows(self, y_true, y_pred):
        return sparse_labels(self, y_true, y_pred) == y_pred.argmax(axis=-1)


class CategoricalAccuracy(_MeanOfRows):
    """How often the largest prediction is the one of the one-hot label."""

    def __init__(self, name: str = "categorical_accuracy"):
        super().__init__(name)

    def rows(self, y_true, y_pred):
        return one_hot_labels(self, y_true, y_pred).argmax(axis=-1) == y_pred.argmax(axis=-1)


class SparseTopKCategoricalAccuracy(_MeanOfRows):
    """How often the integer label is among the `k` largest predictions; ties are in its favour."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = _checked_k(self, k)

    def rows(self, y_true, y_pred):
        return _in_top_k(sparse_labels(self, y_true, y_pred), y_pred, self.k)


class TopKCategoricalAccuracy(_MeanOfRows):
    """How often the one-hot label is among the `k` largest predictions; ties are in its favour."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy"):
        super().__init__(name)
        self.k = _checked_k(self, k)

    def rows(self, y_true, y_pred):
        return _in_top_k(one_hot_labels(self, y_true, y_pred).argmax(axis=-1), y_pred, self.k)


class _Counts(Metric):
    """Weighted counts of true positives, and of predicted or actual positives."""

    def __init__(self, thresholds: float | None = None, class_id: int | None = None, name=None):
        threshold = 0.5 if thresholds is None else thresholds
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)):
            raise TypeError(
                f"{type(self).__name__}: expected one threshold, received {thresholds!r}"
            )
        self.threshold = float(threshold)
        self.class_id = class_id
        self.name = name or type(self).__name__.lower()
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        predictions = as_predictions(self, y_pred)
        if self.class_id is not None:
            actual, predictions = _one_class(self, y_true, predictions, self.class_id)
        else:
            actual = binary_labels(self, y_true, predictions) != 0
        predicted = predictions > self.threshold
        weights = row_weights(self, sample_weight, actual.shape[:-1])[..., None]
        self.true_positives += float((weights * (actual & predicted)).sum())
        self.positives += float((weights * self.denominator(actual, predicted)).sum())

    def denominator(self, actual, predicted) -> np.ndarray:
        raise NotImplementedError

    def result(self) -> float:
        return self.true_positives / self.positives if self.positives else 0.0

    def reset_state(self) -> None:
        self.true_positives = 0.0
        self.positives = 0.0


class Precision(_Counts):
    """Of the samples predicted positive, the share that is; 0 where none was.

    Parameters
    ----------
    thresholds : float, optional
        A prediction above it is positive; 0.5 where it is None.
    class_id : int, optional
        With several outputs: look at this one only. Without it, all outputs count as
        yes/no questions of their own.

    Examples
    --------
    >>> from minidl.metrics import Precision
    >>> Precision()([0, 1, 1], [0.9, 0.8, 0.2])
    0.5
    """

    def denominator(self, actual, predicted):
        return predicted


class Recall(_Counts):
    """Of the samples that are positive, the share predicted so; parameters as for Precision.

    Examples
    --------
    >>> from minidl.metrics import Recall
    >>> Recall(class_id=2)([2, 1], [[0.1, 0.2, 0.7], [0.0, 0.1, 0.9]])
    1.0
    """

    def denominator(self, actual, predicted):
        return actual


class AUC(Metric):
    """The exact area under the ROC curve (Keras approximates it with 200 thresholds).

    It is the probability that a positive sample scores above a negative one, ties counting
    half, so probabilities and logits give the same. ``curve="PR"`` is the average precision,
    the area under the precision-recall curve without interpolation. All scores are kept until
    ``reset_state``. Without both classes the area is not defined: NaN.

    Examples
    --------
    >>> from minidl.metrics import AUC
    >>> AUC()([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """

    def __init__(self, curve: str = "ROC", name: str = "auc"):
        if curve not in ("ROC", "PR"):
            raise ValueError(f"AUC: expected curve 'ROC' or 'PR', received {curve!r}")
        self.curve = curve
        self.name = name
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        scores = as_predictions(self, y_pred)
        positive = binary_labels(self, y_true, scores) != 0
        weights = row_weights(self, sample_weight, scores.shape[:-1])[..., None]
        weights = np.broadcast_to(weights, scores.shape)
        self.batches.append((scores.ravel().copy(), positive.ravel(), weights.ravel()))

    def result(self) -> float:
        if not self.batches:
            return 0.0
        parts = zip(*self.batches, strict=True)
        scores, positive, weights = (np.concatenate(arrays) for arrays in parts)
        order = np.argsort(-scores, kind="stable")
        last_of_tie = np.append(np.diff(scores[order]) != 0, True)
        true_positives = np.cumsum((weights * positive)[order])[last_of_tie]
        false_positives = np.cumsum((weights * ~positive)[order])[last_of_tie]
        if np.isnan(scores).any() or true_positives[-1] == 0 or false_positives[-1] == 0:
            return float("nan")
        recall = true_positives / true_positives[-1]
        if self.curve == "PR":
            flagged = true_positives + false_positives
            precision = true_positives / np.where(flagged > 0, flagged, 1)
            return float((np.diff(recall, prepend=0) * precision).sum())
        fallout = false_positives / false_positives[-1]
        between = recall - np.diff(recall, prepend=0) / 2  # trapezoids
        return float((np.diff(fallout, prepend=0) * between).sum())

    def reset_state(self) -> None:
        self.batches: list[tuple[np.ndarray, ...]] = []


class ConfusionMatrix(Metric):
    """How many samples of each true class (row) were predicted as each class (column).

    Parameters
    ----------
    num_classes : int, optional
        Known from the first batch where it is not given; one output means two classes.
    threshold : float
        For one output: above it the prediction is class 1.

    Examples
    --------
    >>> from minidl.metrics import ConfusionMatrix
    >>> ConfusionMatrix()([0, 1, 1], [0.2, 0.4, 0.9])
    array([[1, 0],
           [1, 1]])
    """

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        name: str = "confusion_matrix",
    ):
        self.num_classes = num_classes
        self.threshold = threshold
        self.name = name
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        scores = as_predictions(self, y_pred)
        classes = max(2, scores.shape[-1])
        if self.num_classes not in (None, classes):
            raise ShapeError(
                f"ConfusionMatrix: expected predictions of {self.num_classes} classes,"
                f" received shape {scores.shape}"
            )
        if scores.shape[-1] == 1:
            actual = (binary_labels(self, y_true, scores) != 0)[..., 0].astype(np.int64)
            predicted = (scores > self.threshold)[..., 0]
        else:
            predicted = scores.argmax(axis=-1)
            if np.shape(y_true) == scores.shape:
                actual = one_hot_labels(self, y_true, scores).argmax(axis=-1)
            else:
                actual = sparse_labels(self, y_true, scores)
        weights = row_weights(self, sample_weight, actual.shape).ravel()
        cells = (actual * classes + predicted).ravel()
        counts = np.bincount(cells, weights, minlength=classes**2).reshape(classes, classes)
        self.counts = counts if self.counts is None else self.counts + counts
        self.weighted |= sample_weight is not None

    def result(self) -> np.ndarray:
        """Return an integer array (K, K); floats where samples had weights."""
        if self.counts is None:
            return np.zeros((self.num_classes or 0,) * 2, np.int64)
        return self.counts if self.weighted else self.counts.astype(np.int64)

    def reset_state(self) -> None:
        self.counts: np.ndarray | None = None
        self.weighted = False


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
        elif isinstance(metric, _Counts):
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


def _checked_k(metric, k) -> int:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"{type(metric).__name__}: expected an integer k >= 1, received {k!r}")
    return int(k)


def _one_class(metric, y_true, scores, class_id):
    """Return whether each row is of class `class_id`, and its score: both (..., 1)."""
    if not 0 <= class_id < scores.shape[-1]:
        raise ShapeError(
            f"{type(metric).__name__}: expected a prediction with class {class_id},"
            f" received shape {scores.shape}"
        )
    if np.shape(y_true) == scores.shape:
        actual = binary_labels(metric, y_true, scores)[..., class_id] != 0
    else:
        actual = sparse_labels(metric, y_true, scores) == class_id
    return actual[..., None], scores[..., class_id, None]


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
