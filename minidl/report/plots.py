"""Plots of a report, drawn by matplotlib, as SVG in the page's colors.

>>> import numpy as np
>>> from minidl.report import plots
>>> plots.confusion([[8, 2], [0, 10]], ["cats", "dogs"]).startswith("<svg")
True
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.plotting import (
    SERIES,
    history_figure,
    new_figure,
    number_logs,
    style_axes,
    to_svg,
)
from minidl.report.statistics import Predictions, roc_curve

__all__ = ["confusion", "curves", "decimals", "reliability", "roc", "shorter"]

SIZE = (4.4, 3.4)  # inches: the full width of a phone
TALL = (4.4, 3.7)
FEW = 12  # classes whose names and counts fit
DIAGONAL: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": ":", "alpha": 0.6}


def curves(history: Any) -> list[str]:
    """Return one plot for the loss and each metric by epoch, with the best epoch marked."""
    logs = number_logs(history)
    names = [n for n in logs if not n.startswith("val_") and n != "learning_rate"]
    plots = []
    for i, name in enumerate(names):
        figure = history_figure(history, "", *SIZE, only=name)
        last = [f"{key} {logs[key][-1]:.3g}" for key in (name, f"val_{name}") if key in logs]
        plots.append(to_svg(figure, f"curve{i}", f"{name} by epoch; final {', '.join(last)}"))
    return plots


def confusion(counts: list[list[int]], names: list[str]) -> str:
    """Return the confusion matrix; rows are true classes, columns predicted classes."""
    from matplotlib.patches import Rectangle

    matrix, count = np.asarray(counts), len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    few = count <= FEW
    figure = new_figure(SIZE if few else (4.4, 4.4))
    axes = figure.subplots()
    for (true, predicted), n in np.ndenumerate(matrix):
        correct = true == predicted
        if n:
            color = SERIES[0] if correct else SERIES[1]
            alpha = 0.08 + 0.62 * shares[true, predicted]
            corner = (predicted - 0.5, true - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, alpha=alpha))
        if few:
            style: dict[str, Any] = {"ha": "center", "va": "center"}
            style |= {"fontsize": 11 if count <= 4 else 8, "alpha": 1 if n else 0.35}
            weight = "bold" if correct else "normal"
            axes.text(predicted, true, f"{n:,}", weight=weight, **style)
    if few:
        _label_classes(axes, names)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xlabel="predicted", ylabel="true")
    axes.spines[:].set_alpha(0.3)
    label = f"confusion matrix: {np.trace(matrix)} of {matrix.sum()} correct"
    return to_svg(figure, "confusion", label)


def roc(predictions: Predictions, areas: list[float | None]) -> str | None:
    """Return the ROC curves: one for two classes, else one per class.

    Parameters
    ----------
    predictions : Predictions
    areas : list of float or None
        AUC of each class; None if it is not defined.

    Returns
    -------
    str or None
        SVG; None if no class has both positive and negative samples.
    """
    shown = [(k, area) for k, area in enumerate(areas) if area is not None]
    if len(areas) == 2:  # the two curves are mirror images
        shown = shown[1:]
    if not shown:
        return None
    in_rows = 3 < len(shown) <= len(SERIES)  # the legend, below the plot
    colored = len(shown) <= len(SERIES)
    figure = new_figure(TALL)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], **DIAGONAL)
    for i, (k, area) in enumerate(shown):
        rates = roc_curve(predictions.labels == k, predictions.probabilities[:, k])
        label = shorter(predictions.class_names[k])
        if not in_rows:
            label += f": AUC {decimals(area)}"
        color, alpha = (SERIES[i], 1.0) if colored else (SERIES[0], 0.3)
        axes.plot(*rates, label=label, linewidth=1.4, clip_on=False, color=color, alpha=alpha)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    style_axes(axes)
    if in_rows:
        legend = figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    elif colored:
        legend = axes.legend(frameon=False, fontsize=10, loc="center right")
    for entry in legend.get_texts() if colored else ():
        entry.set_parse_math(False)
    return to_svg(figure, "roc", "ROC: true positive rate over false positive rate")


def reliability(calibration: dict[str, Any], classes: int) -> str:
    """Return the reliability diagram: accuracy by confidence, and the predictions per bin."""
    figure = new_figure(TALL)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], **DIAGONAL)
    rows = [row for row in calibration["bins"] if row["samples"]]
    bars = {"align": "edge", "color": SERIES[0], "alpha": 0.45}
    for row in rows:
        start, confidence, accuracy = row["from"], row["certainty"], row["accuracy"]
        width = row["to"] - start
        above.bar(start, accuracy, width, edgecolor=SERIES[0], **bars)
        above.plot([confidence, confidence], [confidence, accuracy], color=SERIES[1])
        above.plot(confidence, accuracy, "o", color=SERIES[1], markersize=4, clip_on=False)
        below.bar(start, row["samples"], width, **bars)
    above.set(xlim=(min(1 / classes, rows[0]["from"]), 1), ylim=(0, 1.02), ylabel="accuracy")
    below.set(ylabel="predictions", xlabel="confidence: probability of the predicted class")
    for axes in (above, below):
        style_axes(axes)
    error = calibration["expected_calibration_error"]
    label = f"accuracy by confidence; expected calibration error {error:.3f}"
    return to_svg(figure, "reliability", label)


def decimals(share: float) -> str:
    """Return a share of 0 to 1 with three digits; 1.000 is exact.

    Examples
    --------
    >>> decimals(0.98765), decimals(0.9999), decimals(1)
    ('0.988', '> 0.999', '1.000')
    """
    return "> 0.999" if 0.9995 <= share < 1 else f"{share:.3f}"


def shorter(name: str, length: int = 14) -> str:
    """Return a name of at most `length` characters, shortened in the middle.

    Examples
    --------
    >>> shorter("averylongclassname", 9)
    'aver…name'
    """
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[: length - 1 - half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _label_classes(axes: Any, names: list[str]) -> None:
    """Label both axes with the class names, rotated where they would overlap."""
    few = len(names) <= 4
    short = [shorter(name) for name in names]
    rotated = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    style = {} if few and max(map(len, names)) <= 10 else rotated
    axes.set_xticks(range(len(names)), short, fontsize=10 if few else 8, **style)
    axes.set_yticks(range(len(names)), short, fontsize=10 if few else 8)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.tick_params(length=0)
