"""Lookup of metrics by name."""

import numpy as np
import pytest

from minidl import losses, metrics


@pytest.mark.parametrize(
    ("output_shape", "loss", "y_true", "expected"),
    [
        ((4, 1), None, np.zeros(4), "BinaryAccuracy"),
        ((4, 1), "mse", np.zeros((4, 1)), "BinaryAccuracy"),
        ((4, 3), None, np.zeros(4, int), "SparseCategoricalAccuracy"),
        ((4, 3), None, np.zeros((4, 1)), "SparseCategoricalAccuracy"),
        ((4, 3), None, np.zeros((4, 3)), "CategoricalAccuracy"),
        ((None, 3), "sparse_categorical_crossentropy", None, "SparseCategoricalAccuracy"),
        ((None, 3), "categorical_crossentropy", None, "CategoricalAccuracy"),
        (None, "sparse_categorical_crossentropy", None, "SparseCategoricalAccuracy"),
    ],
)
def test_accuracy_is_chosen_as_keras_does(output_shape, loss, y_true, expected):
    metric = metrics.get("accuracy", output_shape, loss, y_true)
    assert type(metric).__name__ == expected
    assert metric.name == "accuracy"
    assert metrics.get("acc", output_shape, loss, y_true).name == "acc"


def test_names_cut_logits_at_zero():
    loss = losses.BinaryCrossentropy(from_logits=True)
    for name, value in [("accuracy", 1.0), ("binary_accuracy", 1.0), ("recall", 1.0)]:
        metric = metrics.get(name, (None, 1), loss)
        assert metric([0, 1, 1], [[-0.1], [0.1], [0.4]]) == value, name
        assert metric.name == name


@pytest.mark.parametrize(
    "name",
    ["auc", "AUC", "precision", "Recall", "mse", "confusion_matrix", "binary_crossentropy"],
)
def test_metrics_are_found_by_name(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert np.ndim(metric([0, 1, 1], [[0.1], [0.6], [0.9]])) in (0, 2)
