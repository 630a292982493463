"""Losses and functions as metrics."""

import numpy as np

from minidl import losses, metrics


def test_functions_and_losses_can_be_metrics():
    def largest_error(y_true, y_pred):
        return np.abs(y_true - y_pred).max(axis=-1)

    metric = metrics.get(largest_error)
    assert metric.name == "largest_error"
    assert metric(np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 0.0]])) == 2.5
    smoothed = metrics.get(losses.BinaryCrossentropy(label_smoothing=0.2))
    assert smoothed([1], [[0.9]]) == losses.BinaryCrossentropy(label_smoothing=0.2)([1], [[0.9]])


def test_a_loss_as_metric_divides_by_the_weights():
    metric = metrics.MeanSquaredError()
    assert metric([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[4, 1]) == (4 * 1 + 1 * 4) / 5

    class MeanOfErrors(losses.Loss):
        def value_and_gradient(self, y_true, y_pred, sample_weight=None):
            weights = 1.0 if sample_weight is None else np.asarray(sample_weight)
            return float((weights * (y_pred - y_true)[:, 0]).mean()), None

    own = metrics.get(MeanOfErrors())
    own.update_state(np.zeros((3, 1)), np.ones((3, 1)))
    own.update_state(np.zeros((1, 1)), np.full((1, 1), 5.0))
    assert own.result() == 2.0
