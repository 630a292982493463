"""Cross-entropies: extreme predictions, arguments, saved configurations."""

import json
import math

import numpy as np
import pytest

from minidl import losses
from minidl.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_stay_finite_and_exact(dtype):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    value, gradient = SparseCategoricalCrossentropy(from_logits=True).value_and_gradient(
        [0, 0], logits
    )
    assert value == 1e4  # rows: 0 and 20000
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.5, 0.5]])
    value, gradient = BinaryCrossentropy(from_logits=True).value_and_gradient(
        [[1, 0], [1, 0]], logits
    )
    assert value == 5e3
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.25, 0.25]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_certain_but_wrong_probabilities_stay_finite(dtype):
    wrong = np.array([[0.0, 1.0]], dtype)
    most = -math.log(1e-7)
    for loss, labels in [
        (BinaryCrossentropy(), [[1, 0]]),
        (CategoricalCrossentropy(), [[1, 0]]),
        (SparseCategoricalCrossentropy(), [0]),
    ]:
        value, gradient = loss.value_and_gradient(labels, wrong)
        assert value == pytest.approx(most, rel=2e-2)  # float32 has no 1 - 1e-7 exactly
        assert not gradient.any()  # the clipped loss is flat there


def test_a_nan_prediction_is_seen_in_the_loss():
    for loss in (CategoricalCrossentropy(), CategoricalCrossentropy(from_logits=True)):
        assert math.isnan(loss([[0, 1]], np.array([[np.nan, 0.5]])))
    for loss in (BinaryCrossentropy(), BinaryCrossentropy(from_logits=True)):
        assert math.isnan(loss([0, 1], np.array([[np.nan], [0.5]])))


def test_labels_may_lack_the_last_axis_of_one():
    y_pred = np.array([[0.1], [0.8], [0.6]])
    expected = BinaryCrossentropy()([[0], [1], [0]], y_pred)
    for labels in ([0, 1, 0], [False, True, False], np.array([0.0, 1.0, 0.0], "float32")):
        assert BinaryCrossentropy()(labels, y_pred) == expected
    assert BinaryCrossentropy()([0, 1, 0], y_pred[:, 0]) == expected
    assert BinaryCrossentropy().value_and_gradient([0, 1, 0], y_pred[:, 0])[1].shape == (3,)
    sparse = SparseCategoricalCrossentropy()
    two = np.hstack([1 - y_pred, y_pred])
    assert sparse([[0], [1], [0]], two) == sparse([0, 1, 0], two)


@pytest.mark.parametrize("cls", [BinaryCrossentropy, CategoricalCrossentropy])
def test_wrong_arguments_are_refused(cls):
    with pytest.raises(
        ValueError, match=r"label_smoothing to be a number from 0 to 1, received 1.5"
    ):
        cls(label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"axis=-1"):
        cls(axis=1)


def test_a_loss_survives_json():
    loss = CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    config = json.loads(
        json.dumps({"class_name": type(loss).__name__, "config": loss.get_config()})
    )
    again = losses.get(config)
    assert type(again) is CategoricalCrossentropy
    assert (again.from_logits, again.label_smoothing) == (True, 0.1)
