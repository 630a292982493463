"""Plots of a report: text and number of marks in the SVG."""

import re

import numpy as np
import pytest
from support.pages import Markup

from minidl.common.plotting import SERIES
from minidl.report.plots import FEW, confusion, curves, decimals, reliability, roc, shorter
from minidl.report.statistics import Predictions, summarize


def predictions(classes, count=60, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), count)
    names = [f"$class^ {k}" for k in range(classes)]
    labels = np.arange(count) % classes
    return Predictions(labels, p, p.argmax(axis=1), names, 0.5, "loss", [""] * count)


def words(svg):
    return [word.strip() for word in Markup(svg).words if word.strip()]


def test_confusion_matrix_shows_counts_and_names():
    svg = confusion([[8, 2], [0, 1234]], ["cats", "a_very_long_name_of_dogs"])
    assert Markup(svg).problems == []
    found = words(svg)
    for word in ("8", "2", "0", "1,234", "cats", "predicted", "true"):
        assert word in found
    assert any("…" in word for word in found)
    assert "1242 of 1244 correct" in svg


def test_confusion_matrix_of_many_classes_has_no_text_in_its_cells():
    few, many = (confusion(np.eye(k, dtype=int).tolist(), ["x"] * k) for k in (FEW, FEW + 1))
    assert "x" in words(few)
    assert "x" not in words(many)


@pytest.mark.parametrize("classes", [2, 3, len(SERIES), len(SERIES) + 1])
def test_one_roc_curve_per_class_but_one_for_two(classes):
    data = predictions(classes)
    areas = [row["auc"] for row in summarize(data)["per_class"]]
    svg = roc(data, areas)
    assert Markup(svg).problems == []
    legend = [word for word in words(svg) if word.startswith("$class")]
    expected = {2: 1, len(SERIES) + 1: 0}.get(classes, classes)
    assert len(legend) == expected
    if classes <= 3:
        assert all(f"AUC {area:.3f}" in svg for area in areas[-1:])


def test_roc_needs_positive_and_negative_samples():
    data = predictions(2)
    assert roc(data, [None, None]) is None


def test_reliability_diagram_has_one_mark_per_filled_bin():
    figures = summarize(predictions(3))
    svg = reliability(figures["calibration"], 3)
    filled = sum(row["samples"] > 0 for row in figures["calibration"]["bins"])
    assert Markup(svg).problems == []
    second = re.escape(f"var(--series-2, {SERIES[1]})")
    gaps = re.findall(rf"stroke: {second}; stroke-width: 1.5", svg)
    assert len(gaps) == filled
    assert "confidence: probability of the predicted class" in words(svg)


def test_learning_curves_of_loss_and_metrics_without_the_learning_rate():
    history = {"loss": [3, 2], "val_loss": [3, 4], "accuracy": [0.1, 0.25], "learning_rate": [1, 1]}
    plots = curves(history)
    assert len(plots) == 2
    assert "loss by epoch; final loss 2, val_loss 4" in plots[0]
    assert "accuracy by epoch; final accuracy 0.25" in plots[1]


def test_short_names_and_decimals():
    assert shorter("dogs") == "dogs"
    assert len(shorter("x" * 100)) == 14
    assert shorter("abcdefghij", 5) == "ab…ij"
    assert [decimals(x) for x in (0.9994, 0.9995, 1.0)] == ["0.999", "> 0.999", "1.000"]
