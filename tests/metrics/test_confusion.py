"""Confusion-matrix metrics."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference_training as reference
from support.scores import LABELS, ONE_HOT, SCORES, WEIGHTS

from minidl import metrics
from minidl.common.errors import ShapeError
from minidl.metrics import AUC, ConfusionMatrix


def test_confusion_matrix_has_true_classes_in_rows():
    matrix = ConfusionMatrix()
    matrix.update_state(LABELS[:2], SCORES[:2])
    matrix.update_state(ONE_HOT[2:], SCORES[2:])
    expected = [[1, 0, 1], [1, 1, 0], [0, 1, 1]]
    assert matrix.result().tolist() == expected
    assert matrix.result().dtype == np.int64
    matrix.reset_state()
    matrix.update_state(LABELS, SCORES, WEIGHTS / 2)
    assert matrix.result().tolist() == [[0.5, 0, 0.5], [2, 1, 0], [0, 0.5, 0.5]]
    assert ConfusionMatrix(num_classes=3).result().tolist() == np.zeros((3, 3)).tolist()
    with pytest.raises(ShapeError, match=r"predictions of 4 classes, received shape \(6, 3\)"):
        ConfusionMatrix(num_classes=4)(LABELS, SCORES)


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(2, 30),
    levels=st.integers(1, 8),
    weighted=st.booleans(),
)
def test_auc_is_exact_with_ties_and_weights(seed, size, levels, weighted):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    labels[:2] = [0, 1]
    scores = rng.integers(0, levels, size) / levels  # few levels: many ties
    weights = rng.integers(1, 4, size).astype(float) if weighted else np.ones(size)
    auc = AUC()
    for part in (slice(0, 1), slice(1, size)):
        auc.update_state(labels[part], scores[part, None], weights[part] if weighted else None)
    assert auc.result() == pytest.approx(reference.roc_auc(labels, scores, weights), abs=1e-12)
    if not weighted:
        expected = reference.average_precision(labels.tolist(), scores.tolist())
        assert AUC(curve="PR")(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_auc_of_one_class_is_not_a_number():
    assert math.isnan(AUC()([1, 1], [0.2, 0.8]))
    assert math.isnan(AUC()([0, 1], [np.nan, 0.8]))


def test_a_metric_survives_json():
    metric = metrics.Recall(0.3, class_id=1, name="found")
    config = json.loads(json.dumps({"class_name": "Recall", "config": metric.get_config()}))
    again = metrics.get(config)
    assert (again.threshold, again.class_id, again.name) == (0.3, 1, "found")
