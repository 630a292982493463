"""Regularizers: penalties by hand, gradients, names."""

import numpy as np
import pytest

from minidl.layers import regularizers
from minidl.layers.regularizers import L1, L1L2, L2

W = np.array([[1.0, -2.0], [0.0, 3.0]])


@pytest.mark.parametrize(
    ("regularizer", "penalty", "gradient"),
    [
        (L1(0.1), 0.6, [[0.1, -0.1], [0, 0.1]]),
        (L2(0.1), 1.4, [[0.2, -0.4], [0, 0.6]]),
        (L1L2(0.1, 0.1), 2.0, [[0.3, -0.5], [0, 0.7]]),
        (L1L2(), 0, np.zeros((2, 2))),
    ],
)
def test_penalty_and_gradient_by_hand(regularizer, penalty, gradient):
    assert regularizer(W) == pytest.approx(penalty)
    np.testing.assert_allclose(regularizer.gradient(W), gradient, rtol=1e-14)


@pytest.mark.parametrize("regularizer", [L1(), L2(), L1L2(0.1, 0.2)])
def test_the_gradient_is_the_slope_of_the_penalty(regularizer):
    step = 1e-6
    for index in [(0, 0), (0, 1), (1, 1)]:  # L1 has no slope at 0
        change = np.zeros_like(W)
        change[index] = step
        slope = (regularizer(W + change) - regularizer(W - change)) / (2 * step)
        assert regularizer.gradient(W)[index] == pytest.approx(slope, rel=1e-6)


def test_the_gradient_keeps_the_dtype():
    assert L1L2(0.1, 0.1).gradient(W.astype("float32")).dtype == np.float32


@pytest.mark.parametrize(("name", "cls"), [("l1", L1), ("L2", L2), ("l1l2", L1L2), (L2, L2)])
def test_names_and_classes_are_understood(name, cls):
    assert type(regularizers.get(name)) is cls
    assert regularizers.get(None) is None


def test_defaults_are_keras():
    assert (L1().l1, L1().l2) == (0.01, 0)
    assert (L2().l1, L2().l2) == (0, 0.01)


@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.4), L1L2(0.1, 0.2)])
def test_arguments_survive_the_configuration(regularizer):
    config = {"class_name": type(regularizer).__name__, "config": regularizer.get_config()}
    copy = regularizers.get(config)
    assert (copy.l1, copy.l2) == (regularizer.l1, regularizer.l2)


def test_what_is_unknown_is_rejected():
    with pytest.raises(
        ValueError, match="regularizer: expected one of l1, l2, l1l2.*received 'l3'"
    ):
        regularizers.get("l3")
