"""Mean squared error."""

import numpy as np

from minidl.losses import (
    MeanSquaredError,
)


def test_sample_weights_are_divided_by_the_number_of_samples():
    loss = MeanSquaredError()
    assert loss([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[4, 1]) == (4 * 1 + 1 * 4) / 2
    assert loss([[0.0], [0.0]], [[1.0], [2.0]], sample_weight=[[4], [1]]) == 4.0


def test_the_loss_is_the_mean_over_rows_and_outputs():
    value, gradient = MeanSquaredError().value_and_gradient([[0, 0], [1, 1]], [[1, 3], [1, 0]])
    assert value == (1 + 9 + 0 + 1) / 4
    np.testing.assert_array_equal(gradient, np.array([[2, 6], [0, -2]]) / 4)
