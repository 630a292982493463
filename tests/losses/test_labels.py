"""Checks of labels, sample weights and class weights."""

import numpy as np
import pytest

from minidl import losses
from minidl.common.errors import DataError, ShapeError
from minidl.losses import (
    BinaryCrossentropy,
)
from minidl.losses.labels import balanced_class_weight, class_weights_to_sample_weights

P1, P3 = np.full((4, 1), 0.5), np.full((4, 3), 1 / 3)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "error", "message"),
    [
        ("bce", [0, 1, 2, 1], P1, DataError,
         r"BinaryCrossentropy: expected labels 0..1, received 2. "
         r"Did you mean sparse_categorical_crossentropy with a Dense\(3\) output\?"),
        ("bce", [-1, 1, 1, -1], P1, DataError, "received -1. Use 0 and 1"),
        ("bce", [0, np.nan, 1, 1], P1, DataError, "expected finite labels, but sample 1 has NaN"),
        ("bce", ["cat", "dog", "cat", "cat"], P1, DataError, "expected labels to be numbers"),
        ("bce", [0, 1, 1], P1, ShapeError, r"expected labels of shape \(4, 1\).*received \(3,\)"),
        ("bce", [0, 1, 1, 0], P3, ShapeError, "use sparse_categorical_crossentropy"),
        ("bce", [], np.empty((0, 1)), ShapeError, "at least one prediction"),
        ("mse", np.zeros(4), P3, ShapeError,
         r"MeanSquaredError: expected labels of shape \(4, 3\)"),
        ("categorical_crossentropy", [[0], [1], [1], [0]], P1, ShapeError,
         r"CategoricalCrossentropy: expected one output per class \(at least 2\), received a "
         r"prediction of shape \(4, 1\). For one sigmoid output use binary_crossentropy"),
        ("sparse_categorical_crossentropy", [0, 1, 1, 0], P1, ShapeError,
         "use binary_crossentropy"),
        ("categorical_crossentropy", [0, 1, 2, 0], P3, ShapeError,
         r"expected labels of shape \(4, 3\) like the prediction, received \(4,\). "
         "For integer labels use sparse_categorical_crossentropy"),
        ("categorical_crossentropy", np.eye(4)[:, :2], P3, ShapeError, r"received \(4, 2\)"),
        ("categorical_crossentropy", np.ones((4, 3)), P3, DataError,
         "row 0 sums to 3. For several"),
        ("categorical_crossentropy", 2 * np.eye(3)[[0, 1, 2, 0]], P3, DataError, "received 2"),
        ("sparse_categorical_crossentropy", [0, 1, 3, 0], P3, DataError,
         r"expected labels 0..2, received 3. Did you mean a Dense\(4\) output\?"),
        ("sparse_categorical_crossentropy", [1, 2, 3, 1], P3, DataError, "start at 0: subtract 1"),
        ("sparse_categorical_crossentropy", [0, 1, -1, 0], P3, DataError, "received -1"),
        ("sparse_categorical_crossentropy", [0, 1, 0.5, 0], P3, DataError,
         "expected whole numbers as labels, received 0.5"),
        ("sparse_categorical_crossentropy", [0, 1, np.nan, 0], P3, DataError, "sample 2 has NaN"),
        ("sparse_categorical_crossentropy", np.eye(3)[[0, 1, 2, 0]], P3, ShapeError,
         "use categorical_crossentropy"),
    ],
)  # fmt: skip
def test_wrong_labels_are_refused_in_one_clear_sentence(loss, y_true, y_pred, error, message):
    with pytest.raises(error, match=message):
        losses.get(loss)(y_true, y_pred)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, 1, 1], ShapeError, r"expected sample_weight of shape \(4,\), received \(3,\)"),
        ([[1, 1]] * 4, ShapeError, "sample_weight"),
        ([1, np.nan, 1, 1], DataError, "expected finite sample_weight"),
    ],
)
def test_wrong_sample_weights_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        BinaryCrossentropy()([0, 1, 1, 0], P1, weights)


def test_class_weights_become_sample_weights():
    weight = {0: 1.0, 1: 2.5, 2: 0.0}
    expected = [2.5, 0.0, 1.0]
    for labels in ([1, 2, 0], [[1], [2], [0]], [1.0, 2.0, 0.0], np.eye(3)[[1, 2, 0]]):
        assert class_weights_to_sample_weights(labels, weight).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "weight", "classes", "error", "message"),
    [
        ([0, 1, 2], {0: 1.0, 1: 2.0}, None, DataError, r"no weight for class 2, received .*\[0"),
        ([0, 1], {0: 1.0, 1: 2.0}, 3, DataError, "no weight for class 2; give each"),
        ([0, 1], {0: 1.0, 1: 2.0, 2: 1.0}, 2, DataError, "expected classes 0..1, received .* 2"),
        ([0, 1], {"cats": 1.0, "dogs": 2.0}, None, DataError, "received a weight for 'cats'"),
        ([0, 1], {0: 1.0, 1: -2.0}, None, DataError, "weight >= 0 for class 1, received -2"),
        ([0, 1], [1.0, 2.0], None, TypeError, "expected a dict"),
        ([0.5, 1], {0: 1.0, 1: 2.0}, None, DataError, "no weight for class 0.5"),
        (np.ones((2, 3)), {0: 1.0, 1: 2.0, 2: 1.0}, None, DataError, "several labels per sample"),
    ],
)
def test_wrong_class_weights_are_refused(labels, weight, classes, error, message):
    with pytest.raises(error, match=message):
        class_weights_to_sample_weights(labels, weight, classes)


def test_balanced_class_weights_give_each_class_the_same_total():
    labels = [0] * 6 + [1] * 3 + [2]
    weights = class_weights_to_sample_weights(labels, balanced_class_weight(labels, 3), 3)
    totals = np.bincount(labels, weights)
    np.testing.assert_allclose(totals, 10 / 3)
    with pytest.raises(DataError, match="none of class 1"):
        balanced_class_weight([0, 2], 3)
