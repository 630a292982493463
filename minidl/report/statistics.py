"""Classification metrics of a report: confusion matrix, precision, recall, ROC, calibration.

>>> import numpy as np
>>> from minidl.report.statistics import per_class
>>> per_class(np.array([[8, 2], [0, 10]]))[1]["recall"]
1.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.common.finite_json import finite
from minidl.evaluation.calibration import accuracy_interval, reliability
from minidl.metrics import AUC, ConfusionMatrix
from minidl.metrics.confusion import roc_counts

__all__ = [
    "Predictions",
    "confusions",
    "least_certain",
    "per_class",
    "roc_curve",
    "summarize",
    "worst_mistakes",
]


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions of all samples of a test set.

    Attributes
    ----------
    labels : ndarray of int, shape (N,)
        True classes.
    probabilities : ndarray, shape (N, K)
        Probability of each class.
    predicted : ndarray of int, shape (N,)
        Predicted classes.
    class_names : list of str
        Names of the K classes.
    loss : float
        Mean loss, with regularization penalties.
    loss_name : str
        Name of the loss for the report.
    names : list of str
        Names of the samples: their files, or "sample 17".
    """

    labels: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    class_names: list[str]
    loss: float
    loss_name: str
    names: list[str]

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is correct."""
        return self.predicted == self.labels

    @property
    def confidence(self) -> np.ndarray:
        """The probability of each predicted class."""
        return self.probability_of(self.predicted)

    def probability_of(self, classes: np.ndarray) -> np.ndarray:
        """Return each sample's probability of one class."""
        return self.probabilities[np.arange(len(classes)), classes]


def summarize(predictions: Predictions) -> dict[str, Any]:
    """Compute all metrics of a test set.

    Parameters
    ----------
    predictions : Predictions

    Returns
    -------
    dict
        JSON-compatible; undefined metrics are None.
    """
    labels, names = predictions.labels, predictions.class_names
    matrix = ConfusionMatrix(len(names))
    matrix.update_state(labels, np.eye(len(names))[predictions.predicted])
    counts = matrix.result()
    rows = per_class(counts)
    for k, (row, name) in enumerate(zip(rows, names, strict=True)):
        positive = 1 if len(names) == 2 else k  # two classes: one curve is the other's mirror image
        auc = AUC()
        auc.update_state(labels == positive, predictions.probabilities[:, positive])
        row |= {"name": name, "auc": finite(auc.result())}
    correct = int(predictions.correct.sum())
    return finite(
        {
            "samples": len(labels),
            "classes": names,
            "accuracy": correct / len(labels),
            "accuracy_interval": accuracy_interval(correct, len(labels)),
            "loss": predictions.loss,
            "loss_name": predictions.loss_name,
            "confusion_matrix": counts.tolist(),
            "confusions": confusions(counts, names),
            "per_class": rows,
            "macro": {name: _mean(rows, name) for name in ("precision", "recall", "f1")},
            "auc": _mean(rows, "auc"),
            "calibration": reliability(predictions.confidence, predictions.correct),
        }
    )


def per_class(counts: np.ndarray) -> list[dict[str, Any]]:
    """Compute precision, recall and F1 of each class of a confusion matrix.

    Parameters
    ----------
    counts : ndarray of int, shape (K, K)
        Samples by true class (row) and predicted class (column).

    Returns
    -------
    list of dict
        Precision is None for a class without predictions, recall for one without samples, F1 for
        one without both.
    """
    rows = []
    for hits, support, predicted in zip(
        np.diag(counts), counts.sum(axis=1), counts.sum(axis=0), strict=True
    ):
        rows.append(
            {
                "samples": int(support),
                "predicted": int(predicted),
                "precision": _ratio(hits, predicted),
                "recall": _ratio(hits, support),
                "f1": _ratio(2 * hits, support + predicted),
            }
        )
    return rows


def confusions(counts: np.ndarray, names: list[str], limit: int = 5) -> list[dict[str, Any]]:
    """Return the most frequent pairs of true and wrongly predicted class.

    Examples
    --------
    >>> confusions(np.array([[8, 2], [0, 10]]), ["cats", "dogs"])
    [{'true': 'cats', 'predicted': 'dogs', 'samples': 2, 'of': 10}]
    """
    errors = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-errors, axis=None, kind="stable")[:limit]
    return [
        {
            "true": names[i],
            "predicted": names[j],
            "samples": int(errors[i, j]),
            "of": int(counts[i].sum()),
        }
        for i, j in zip(*np.unravel_index(order, errors.shape), strict=True)
        if errors[i, j]
    ]


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the ROC curve for decreasing thresholds, from (0, 0) to (1, 1).

    Parameters
    ----------
    positive : ndarray of bool, shape (N,)
        True classes; both must occur.
    scores : ndarray, shape (N,)
        Probability of the positive class.

    Returns
    -------
    false_positive_rate, true_positive_rate : ndarray

    Examples
    --------
    >>> fpr, tpr = roc_curve(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    >>> fpr.tolist(), tpr.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    false, true = (np.concatenate([[0], c / c[-1]]) for c in roc_counts(scores, positive))
    return false, true


def worst_mistakes(predictions: Predictions, limit: int) -> list[int]:
    """Return the wrongly predicted samples, lowest probability of the true class first."""
    wrong = np.flatnonzero(~predictions.correct)
    order = np.argsort(predictions.probability_of(predictions.labels)[wrong], kind="stable")
    return wrong[order][:limit].tolist()


def least_certain(predictions: Predictions, limit: int) -> list[int]:
    """Return the samples with the lowest confidence, correct or not."""
    return np.argsort(predictions.confidence, kind="stable")[:limit].tolist()


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    """Return the mean of a metric over the classes where it is defined."""
    defined = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(defined)) if defined else None
