"""Accuracies, and what all metrics share."""

import numpy as np
import pytest
from support.scores import LABELS, ONE_HOT, SCORES, WEIGHTS

from minidl import metrics
from minidl.common.errors import DataError, ShapeError
from minidl.metrics import AUC, Precision, Recall


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "plain", "weighted"),
    [
        (metrics.SparseCategoricalAccuracy(), LABELS, SCORES, 3 / 6, 4 / 10),
        (metrics.SparseCategoricalAccuracy(), LABELS[:, None], SCORES, 3 / 6, 4 / 10),
        (metrics.CategoricalAccuracy(), ONE_HOT, SCORES, 3 / 6, 4 / 10),
        (metrics.SparseTopKCategoricalAccuracy(k=2), LABELS, SCORES, 6 / 6, 10 / 10),
        (metrics.TopKCategoricalAccuracy(k=1), ONE_HOT, SCORES, 3 / 6, 4 / 10),
        (metrics.Accuracy(), LABELS, SCORES.argmax(axis=1), 3 / 6, 4 / 10),
        (metrics.BinaryAccuracy(), LABELS == 0, SCORES[:, 0], 5 / 6, 9 / 10),
        (metrics.BinaryAccuracy(threshold=0.25), LABELS == 0, SCORES[:, :1], 5 / 6, 6 / 10),
        (Precision(), LABELS == 2, SCORES[:, 2], 1 / 2, 1 / 2),
        (Recall(), LABELS == 2, SCORES[:, 2:], 1 / 2, 1 / 2),
        (Precision(0.25, class_id=1), LABELS, SCORES, 2 / 3, 6 / 7),
        (Recall(0.25, class_id=1), ONE_HOT, SCORES, 2 / 2, 6 / 6),
        (metrics.MeanSquaredError(), np.zeros(6), LABELS[:, None], 10 / 6, 14 / 10),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_metrics_count_what_they_say(metric, y_true, y_pred, plain, weighted):
    assert metric.result() == 0.0
    metric.update_state(y_true, y_pred)
    assert metric.result() == pytest.approx(plain, rel=1e-12)
    metric.reset_state()
    for half in (slice(0, 2), slice(2, 6)):  # batches of different sizes
        metric.update_state(y_true[half], y_pred[half], WEIGHTS[half])
    assert metric.result() == pytest.approx(weighted, rel=1e-12)
    metric.reset_state()
    assert metric.result() == 0.0


def test_top_k_gives_ties_the_benefit_and_nan_none():
    top = metrics.SparseTopKCategoricalAccuracy(k=1)
    assert top([1], [[0.5, 0.5, 0.0]]) == 1.0
    top.reset_state()
    assert top([1], [[0.5, np.nan, 0.0]]) == 0.0


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "error", "message"),
    [
        ("binary_accuracy", [0, 2], [[0.1], [0.2]], DataError, "BinaryAccuracy: expected labels 0"),
        ("auc", [0, 1], SCORES[:2], ShapeError, r"AUC: expected labels of shape \(2, 3\)"),
        ("categorical_accuracy", [0, 1], SCORES[:2], ShapeError, "CategoricalAccuracy: expected"),
        ("sparse_categorical_accuracy", [0, 3], SCORES[:2], DataError, "expected labels 0..2"),
        (Precision(class_id=3), [0, 1], SCORES[:2], ShapeError, "Precision: .* class 3"),
    ],
)
def test_wrong_labels_are_refused(metric, y_true, y_pred, error, message):
    with pytest.raises(error, match=message):
        metrics.get(metric).update_state(y_true, y_pred)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("f1"), "metric: expected one of mse.*received 'f1'"),
        (lambda: AUC(curve="DET"), "AUC: expected curve to be 'ROC' or 'PR', received 'DET'"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k to be an integer >= 1, received 0"),
        (lambda: Precision(thresholds=[0.2, 0.5]), "Precision: expected thresholds to be a number"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
