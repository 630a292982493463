"""Calibration error by hand, temperature scaling against known temperatures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import blobs, classifier, refused

from minidl import Input, Model, Sequential, layers
from minidl.common.errors import DataError, ShapeError
from minidl.evaluation.calibration import (
    accuracy_interval,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def sample_labels(logits, seed=0):
    """Sample labels with the probabilities of the logits (N, K)."""
    p = softmax(logits)
    uniform = np.random.default_rng(seed).random((len(p), 1))
    return (p.cumsum(axis=1) < uniform).sum(axis=1)


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def cross_entropy(p, y):
    return -np.log(p[np.arange(len(y)), y]).mean()


def test_calibration_error_by_hand():
    p = np.array([0.95, 0.85, 0.65, 0.05])  # of class 1: confidence 0.95, 0.85, 0.65, 0.95
    y = np.array([1, 0, 1, 0])
    # Bins of width 0.1: {0.95, 0.95} both correct, 0.85 wrong, 0.65 correct.
    by_hand = (2 * abs(0.95 - 1) + abs(0.85 - 0) + abs(0.65 - 1)) / 4
    assert expected_calibration_error(p, y, bins=10) == pytest.approx(by_hand)
    assert expected_calibration_error(p[:, None], y, bins=10) == pytest.approx(by_hand)
    assert expected_calibration_error(np.stack([1 - p, p], 1), y, bins=10) == pytest.approx(by_hand)


def test_confident_and_correct_classifier_has_no_calibration_error():
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0
    assert expected_calibration_error(np.eye(3), [1, 2, 0]) == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fitted_temperature_is_that_of_the_sampled_labels(classes, temperature):
    logits = np.random.default_rng(1).normal(size=(20000, classes)) * 2
    found = fit_temperature(softmax(logits), sample_labels(logits / temperature))
    assert found == pytest.approx(temperature, rel=0.06)  # 20,000 samples: standard error 2 %


def test_fitted_temperature_minimizes_the_cross_entropy():
    logits = np.random.default_rng(2).normal(size=(300, 3)) * 3
    y = sample_labels(logits / 2)
    best = fit_temperature(softmax(logits), y)
    minimum = cross_entropy(softmax(logits / best), y)
    for other in (best * 0.98, best * 1.02, 1.0):
        assert minimum < cross_entropy(softmax(logits / other), y)


@pytest.mark.parametrize(("labels", "limit"), [([0, 1, 1], 1 / 20), ([1, 0, 0], 20)])
def test_temperature_stays_finite_without_errors_or_without_hits(labels, limit):
    assert fit_temperature(np.array([0.2, 0.8, 0.9]), labels) == pytest.approx(limit)


@pytest.mark.parametrize("outputs", [1, 3])
def test_apply_temperature_scales_the_logits_of_the_last_layer(outputs):
    model = classifier(outputs=outputs)
    x = blobs(classes=max(2, outputs))[0] / 10  # in float32, 1 - p is coarse where p is near 1
    before = model.predict(x, verbose=0).astype(float)
    apply_temperature(model, 2.5)
    after = model.predict(x, verbose=0)
    p = np.hstack([1 - before, before]) if outputs == 1 else before
    expected = p ** (1 / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after, expected[:, -after.shape[1] :], atol=1e-6)
    assert (after.argmax(1) == before.argmax(1)).all()


def test_interval_covers_the_true_accuracy_with_its_confidence():
    correct = np.random.default_rng(0).binomial(118, 0.95, 4000)
    intervals = [accuracy_interval(int(n), 118) for n in correct]
    assert np.mean([low <= 0.95 <= high for low, high in intervals]) == pytest.approx(
        0.95, abs=0.03
    )


def test_reliability_by_hand():
    confidence = np.array([0.55, 0.6, 0.95, 0.85])
    found = reliability(confidence, np.array([True, False, True, True]))
    filled = {round(row["to"], 1): row for row in found["bins"] if row["samples"]}
    assert sorted(filled) == [0.6, 0.9, 1.0]  # 0.6 belongs to the bin that ends there
    assert filled[0.6]["accuracy"] == 0.5
    assert filled[0.6]["certainty"] == pytest.approx(0.575)
    error = 2 / 4 * 0.075 + 1 / 4 * 0.05 + 1 / 4 * 0.15
    assert found["expected_calibration_error"] == pytest.approx(error)
    assert found["mean_certainty"] == pytest.approx(confidence.mean())


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_every_prediction_is_in_one_bin(pairs):
    confidence, correct = (np.array(column) for column in zip(*pairs, strict=True))
    bins = reliability(confidence, correct)["bins"]
    assert sum(row["samples"] for row in bins) == len(pairs)
    for row in bins:
        assert row["samples"] == 0 or row["from"] - 1e-9 <= row["certainty"] <= row["to"] + 1e-9


def test_interval_of_accuracy_is_wilsons():
    """The observed accuracy lies 1.96 standard errors from each limit."""
    for correct, count in ((112, 118), (0, 5), (5, 5), (1, 1)):
        for limit in accuracy_interval(correct, count):
            assert 0 <= limit <= 1
            if 0 < limit < 1:
                distance = abs(correct / count - limit) / np.sqrt(limit * (1 - limit) / count)
                assert distance == pytest.approx(1.96, rel=1e-6)


def test_invalid_arguments_are_refused():
    with refused(ValueError, "correct", "from 0 to 4", "received 5"):
        accuracy_interval(5, 4)
    for wrong in (("a", 3), (1.5, 3), (1, np.inf), (None, 3), (True, 1)):
        with refused(ValueError, "an integer"):
            accuracy_interval(*wrong)
    for z in (-1, float("nan"), "a"):
        with refused(ValueError, "z to be a number > 0", repr(z)):
            accuracy_interval(1, 2, z)
    for bins in (0, -1, 2.5, "a"):
        with refused(ValueError, "bins", repr(bins)):
            expected_calibration_error([0.5], [1], bins)
    for labels in ([0.5, 1], [np.nan, 1], ["0", "1"]):
        with refused(DataError, "labels"):
            expected_calibration_error([0.5, 0.5], labels)
    with refused(DataError, "sum to 1", "1.5"):
        expected_calibration_error([[0.5, 0.5], [0.5, 1.0]], [0, 1])
    with refused(ShapeError, "(2,)", "(3,)"):
        expected_calibration_error(np.eye(2), [0, 1, 0])
    with refused(DataError, "0..1", "2"):
        fit_temperature(np.array([0.1, 0.9]), [0, 2])
    with refused(DataError, "from 0 to 1"):
        fit_temperature(np.array([0.1, np.nan]), [0, 1])
    with refused(ValueError, "> 0", "'warm'"):
        apply_temperature(classifier(), "warm")
    with refused(ValueError, "> 0", "-1"):
        apply_temperature(classifier(), -1)
    model = classifier()
    before = model.get_weights()
    with refused(ValueError, "no finite weights"), np.errstate(over="ignore"):
        apply_temperature(model, 1e-45)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    x, last = Input((3,)), layers.Dense(3, activation="softmax")
    with refused(ValueError, "once"):
        apply_temperature(Model(x, last(last(x))), 2.0)
    with refused(ValueError, "one output"):
        apply_temperature(Model(x, [last(x), layers.Dense(1)(x)]), 2.0)
    with refused(ValueError, "Dense"):
        apply_temperature(Sequential([Input((3,)), layers.Dense(2)]), 2.0)
