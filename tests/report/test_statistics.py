"""Metrics of a report against hand-computed values and definitions."""

import numpy as np
import pytest

from minidl.report.statistics import (
    Predictions,
    least_certain,
    per_class,
    roc_curve,
    summarize,
    worst_mistakes,
)


def predictions(labels, probabilities, names=None):
    p = np.array(probabilities, float)
    return Predictions(
        np.array(labels),
        p,
        p.argmax(axis=1),
        names or [f"c{k}" for k in range(p.shape[1])],
        0.5,
        "cross-entropy",
        [f"{i}.jpg" for i in range(len(p))],
    )


def test_precision_recall_and_f1_by_hand():
    cats, dogs, birds = per_class(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]))
    assert cats["precision"] == pytest.approx(8 / 9)
    assert cats["recall"] == pytest.approx(0.8)
    assert cats["f1"] == pytest.approx(2 * (8 / 9) * 0.8 / (8 / 9 + 0.8))
    assert (dogs["samples"], dogs["predicted"]) == (10, 11)
    assert birds["precision"] is birds["recall"] is birds["f1"] is None


def test_never_predicted_class_has_recall_0_and_no_precision():
    row = per_class(np.array([[5, 0], [3, 0]]))[1]
    assert (row["precision"], row["recall"], row["f1"]) == (None, 0, 0)


def test_roc_curve_follows_its_definition():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(60) < 0.4, rng.integers(0, 12, 60) / 12
    fall, hit = roc_curve(positive, scores)
    expected = [(0.0, 0.0)]
    for threshold in sorted(set(scores), reverse=True):
        above = scores >= threshold
        expected.append(
            (
                (above & ~positive).sum() / (~positive).sum(),
                (above & positive).sum() / positive.sum(),
            )
        )
    np.testing.assert_allclose(np.stack([fall, hit], axis=1), expected)


def test_auc_is_the_share_of_correctly_ordered_pairs():
    rng = np.random.default_rng(1)
    labels, p = rng.integers(0, 3, 40), rng.dirichlet([1, 1, 1], 40)
    figures = summarize(predictions(labels, p))
    for k, row in enumerate(figures["per_class"]):
        own, others = p[labels == k, k], p[labels != k, k]
        assert row["auc"] == pytest.approx((own[:, None] > others).mean())
    assert figures["auc"] == pytest.approx(np.mean([r["auc"] for r in figures["per_class"]]))


def test_absent_class_has_no_auc_and_is_left_out_of_the_mean():
    figures = summarize(predictions([0, 1, 1], [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]))
    absent = figures["per_class"][2]
    assert absent["auc"] is absent["recall"] is absent["precision"] is None
    assert figures["auc"] == pytest.approx(1.0)
    assert figures["confusion_matrix"] == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_one_sample_has_no_auc():
    figures = summarize(predictions([1], [[0.3, 0.7]]))
    assert figures["accuracy"] == 1
    assert figures["auc"] is None


def test_worst_mistakes_come_first():
    found = predictions([0, 0, 1, 1], [[0.9, 0.1], [0.4, 0.6], [0.95, 0.05], [0.45, 0.55]])
    assert worst_mistakes(found, 5) == [2, 1]
    assert worst_mistakes(found, 1) == [2]
    assert least_certain(found, 2) == [3, 1]
