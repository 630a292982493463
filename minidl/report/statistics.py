"""The numbers of a report: who was taken for what, how surely, and how far that can be trusted.

>>> import numpy as np
>>> from minidl.report.statistics import per_class
>>> per_class(np.array([[8, 2], [0, 10]]))[1]["recall"]
1.0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.common.finite_json import finite
from minidl.evaluation.calibration import accuracy_interval, reliability
from minidl.metrics import AUC, ConfusionMatrix
from minidl.metrics.confusion import roc_counts

__all__ = [
    "Answers",
    "confusions",
    "least_certain",
    "per_class",
    "roc_curve",
    "summarize",
    "worst_mistakes",
]


@dataclass(frozen=True)
class Answers:
    """What a model said of each test sample, and what would have been right.

    Attributes
    ----------
    labels : (N,) of int
    probabilities : (N, K)
    decided : (N,) of int
        The predicted classes.
    class_names : list of str
    loss : float
    loss_name : str
    names : list of str
        Of the samples: their files, or "sample 17".
    """

    labels: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray
    class_names: list[str]
    loss: float
    loss_name: str
    names: list[str]

    @property
    def right(self) -> np.ndarray:
        return self.decided == self.labels

    @property
    def certainty(self) -> np.ndarray:
        """The probability of each predicted class."""
        return self.probabilities[np.arange(len(self.decided)), self.decided]


def summarize(answers: Answers) -> dict[str, Any]:
    """Return all figures of a test, as JSON can hold them; what is not defined is None."""
    count = len(answers.class_names)
    matrix = ConfusionMatrix(count)
    matrix.update_state(answers.labels, np.eye(count)[answers.decided])
    counts = matrix.result()
    rows = per_class(counts)
    for k, (row, name) in enumerate(zip(rows, answers.class_names, strict=True)):
        row["name"] = name
        scored = 1 if count == 2 else k  # of two answers one curve is the other, turned by half
        row["auc"] = _area(answers.labels == scored, answers.probabilities[:, scored])
    right = int(answers.right.sum())
    figures = {
        "samples": len(answers.labels),
        "classes": answers.class_names,
        "accuracy": right / len(answers.labels),
        "accuracy_interval": accuracy_interval(right, len(answers.labels)),
        "loss": answers.loss,
        "loss_name": answers.loss_name,
        "confusion_matrix": counts.tolist(),
        "confusions": confusions(counts, answers.class_names),
        "per_class": rows,
        "macro": {
            name: _mean([row[name] for row in rows]) for name in ("precision", "recall", "f1")
        },
        "auc": _mean([row["auc"] for row in rows]),
        "calibration": reliability(answers.certainty, answers.right),
    }
    return finite(figures)


def per_class(counts: np.ndarray) -> list[dict[str, Any]]:
    """Return precision, recall and F1 of each class of a confusion matrix (K, K).

    Precision is None for a class that was never predicted, recall for one that has no sample,
    and F1 where both hold.
    """
    rows = []
    for k in range(len(counts)):
        hits, support, predicted = counts[k, k], counts[k].sum(), counts[:, k].sum()
        rows.append(
            {
                "samples": int(support),
                "predicted": int(predicted),
                "precision": _share(hits, predicted),
                "recall": _share(hits, support),
                "f1": _share(2 * hits, support + predicted),
            }
        )
    return rows


def confusions(counts: np.ndarray, names: list[str], limit: int = 5) -> list[dict[str, Any]]:
    """Return which class is most often taken for which other one.

    Examples
    --------
    >>> confusions(np.array([[8, 2], [0, 10]]), ["cats", "dogs"])
    [{'true': 'cats', 'predicted': 'dogs', 'samples': 2, 'of': 10}]
    """
    off = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-off, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [
        {
            "true": names[a], "predicted": names[b], "samples": int(off[a, b]),
            "of": int(counts[a].sum()),
        }
        for a, b in pairs
        if off[a, b]
    ]  # fmt: skip


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the false and the true positive rate as the threshold falls, from (0, 0) to (1, 1).

    Parameters
    ----------
    positive : (N,) of bool
        Both kinds have to be there.
    scores : (N,)

    Examples
    --------
    >>> fall, hit = roc_curve(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    >>> fall.tolist(), hit.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    false, true = roc_counts(scores, positive)
    return tuple(np.concatenate([[0], counts / counts[-1]]) for counts in (false, true))


def worst_mistakes(answers: Answers, limit: int) -> list[int]:
    """Return the wrong answers, those first that gave the right class the least probability."""
    own = answers.probabilities[np.arange(len(answers.labels)), answers.labels]
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.argsort(own[wrong], kind="stable")][:limit].tolist()


def least_certain(answers: Answers, limit: int) -> list[int]:
    """Return the answers, right or wrong, whose most probable class was least so."""
    return np.argsort(answers.certainty, kind="stable")[:limit].tolist()


def _area(positive: np.ndarray, scores: np.ndarray) -> float:
    auc = AUC()
    auc.update_state(positive, scores)
    return auc.result()


def _share(part, whole) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list) -> float | None:
    """Return the mean of those that are defined."""
    defined = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(defined)) if defined else None
