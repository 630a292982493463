"""Confusion-matrix metrics: precision, recall, ROC AUC, the confusion matrix.

>>> from minidl.metrics.confusion import ConfusionMatrix
>>> matrix = ConfusionMatrix(num_classes=2)
>>> matrix.update_state([0, 1, 1], [[0.2], [0.9], [0.4]])
>>> matrix.result().tolist()
[[1, 0], [1, 1]]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.argument_checks import check_choice, check_number
from minidl.common.errors import ShapeError
from minidl.losses.labels import (
    as_predictions,
    binary_labels,
    one_hot_labels,
    row_weights,
    sparse_labels,
)
from minidl.metrics.metric import Metric

__all__ = ["AUC", "ConfusionMatrix", "CountsMetric", "Precision", "Recall", "roc_counts"]


class CountsMetric(Metric):
    """Base class of precision and recall: true positives divided by another count.

    Parameters
    ----------
    thresholds : float, optional
        Predictions above it are positive; by default 0.5.
    class_id : int, optional
        The class, of several outputs, to evaluate. By default each output counts as a binary
        prediction of its own.
    name : str, optional
    """

    def __init__(
        self,
        thresholds: float | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        threshold = 0.5 if thresholds is None else thresholds
        self.threshold = check_number(type(self).__name__, "thresholds", threshold)
        self.class_id = class_id
        self.name = name or type(self).__name__.lower()
        self.reset_state()

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add one batch; see :meth:`Metric.update_state`."""
        predictions = as_predictions(self, y_pred)
        if self.class_id is not None:
            actual, predictions = _one_class(self, y_true, predictions, self.class_id)
        else:
            actual = binary_labels(self, y_true, predictions) != 0
        predicted = predictions > self.threshold
        weights = row_weights(self, sample_weight, actual.shape[:-1])[..., None]
        self.true_positives += float((weights * (actual & predicted)).sum())
        self.positives += float((weights * self.denominator(actual, predicted)).sum())

    def denominator(self, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return which samples the true positives are divided by."""
        raise NotImplementedError(f"{type(self).__name__}.denominator")

    def result(self) -> float:
        return self.true_positives / self.positives if self.positives else 0.0

    def reset_state(self) -> None:
        self.true_positives = 0.0
        self.positives = 0.0


class Precision(CountsMetric):
    """The share of predicted positives that are positive; 0 without predicted positives.

    Parameters
    ----------
    thresholds : float, optional
        Predictions above it are positive; by default 0.5.
    class_id : int, optional
        The class, of several outputs, to evaluate. By default each output counts as a binary
        prediction of its own.
    name : str, optional

    Examples
    --------
    >>> from minidl.metrics import Precision
    >>> Precision()([0, 1, 1], [0.9, 0.8, 0.2])
    0.5
    """

    def denominator(self, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        return predicted


class Recall(CountsMetric):
    """The share of positives that are predicted positive; parameters as for Precision.

    Examples
    --------
    >>> from minidl.metrics import Recall
    >>> Recall(class_id=2)([2, 1], [[0.1, 0.2, 0.7], [0.0, 0.1, 0.9]])
    1.0
    """

    def denominator(self, actual: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        return actual


class AUC(Metric):
    """The exact area under the ROC curve (Keras approximates it with 200 thresholds).

    It is the probability that a positive sample scores above a negative one; ties count half.
    Therefore probabilities and logits have the same area. All scores are stored until
    ``reset_state``. The area is NaN if one of the classes is missing.

    Parameters
    ----------
    curve : {"ROC", "PR"}
        "PR": the average precision, the area under the precision-recall curve without
        interpolation.
    name : str

    Examples
    --------
    >>> from minidl.metrics import AUC
    >>> AUC()([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """

    each_batch = False  # sorts all scores

    def __init__(self, curve: str = "ROC", name: str = "auc") -> None:
        self.curve = check_choice("AUC", "curve", curve, ("ROC", "PR"))
        self.name = name
        self.reset_state()

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add one batch; see :meth:`Metric.update_state`."""
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
        false_positives, true_positives = roc_counts(scores, positive, weights)
        if np.isnan(scores).any() or true_positives[-1] == 0 or false_positives[-1] == 0:
            return float("nan")
        recall = true_positives / true_positives[-1]
        if self.curve == "PR":
            flagged = true_positives + false_positives
            precision = true_positives / np.where(flagged > 0, flagged, 1)
            return float((np.diff(recall, prepend=0) * precision).sum())
        fall_out = false_positives / false_positives[-1]
        heights = recall - np.diff(recall, prepend=0) / 2  # of the trapezoids
        return float((np.diff(fall_out, prepend=0) * heights).sum())

    def reset_state(self) -> None:
        self.batches: list[tuple[np.ndarray, ...]] = []


class ConfusionMatrix(Metric):
    """How many samples of each true class (row) were predicted as each class (column).

    Parameters
    ----------
    num_classes : int, optional
        By default taken from the first batch; one output means two classes.
    threshold : float
        For one output: predictions above it are class 1.
    name : str

    Examples
    --------
    >>> from minidl.metrics import ConfusionMatrix
    >>> ConfusionMatrix()([0, 1, 1], [0.2, 0.4, 0.9])
    array([[1, 0],
           [1, 1]])
    """

    each_batch = False  # not a number

    def __init__(
        self,
        num_classes: int | None = None,
        threshold: float = 0.5,
        name: str = "confusion_matrix",
    ) -> None:
        self.num_classes = num_classes
        self.threshold = threshold
        self.name = name
        self.counts: np.ndarray | None = None
        self.weighted = False

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Add one batch; see :meth:`Metric.update_state`."""
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
        """Return the counts (K, K): integers, or floats if samples had weights."""
        if self.counts is None:
            return np.zeros((self.num_classes or 0,) * 2, np.int64)
        return self.counts if self.weighted else self.counts.astype(np.int64)

    def reset_state(self) -> None:
        self.counts = None
        self.weighted = False


def roc_counts(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts of false and true positives for each score as threshold.

    Parameters
    ----------
    scores : numpy.ndarray, shape (N,)
    positive : numpy.ndarray of bool, shape (N,)
    weights : numpy.ndarray, shape (N,), optional

    Returns
    -------
    false_positives, true_positives : numpy.ndarray, shape (thresholds,)
        One count for each distinct score, the highest score first.

    Examples
    --------
    >>> false, true = roc_counts(np.array([0.9, 0.8, 0.8]), np.array([True, False, True]))
    >>> false.tolist(), true.tolist()
    ([0, 1], [1, 2])
    """
    weights = np.ones(len(scores), np.int64) if weights is None else weights
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    false_positives, true_positives = (
        np.cumsum((weights * kind)[order])[last_of_tie] for kind in (~positive, positive)
    )
    return false_positives, true_positives


def _one_class(
    metric: Metric, y_true: ArrayLike, scores: np.ndarray, class_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each row is of class `class_id`, and its score; both have shape (..., 1)."""
    if not 0 <= class_id < scores.shape[-1]:
        raise ShapeError(
            f"{type(metric).__name__}: expected predictions with class {class_id},"
            f" received shape {scores.shape}"
        )
    if np.shape(y_true) == scores.shape:
        actual = binary_labels(metric, y_true, scores)[..., class_id] != 0
    else:
        actual = sparse_labels(metric, y_true, scores) == class_id
    return actual[..., None], scores[..., class_id, None]
