"""The plots of a report, drawn by matplotlib, as SVG that follows the page's colours.

>>> import numpy as np
>>> from minidl.report import plots
>>> plots.confusion([[8, 2], [0, 10]], ["cats", "dogs"]).startswith("<svg")
True
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.plotting import SERIES, calm, history_figure, new_figure, number_logs, to_svg
from minidl.report.statistics import Answers, roc_curve

__all__ = ["confusion", "curves", "decimals", "reliability", "roc", "shorter"]

SIZE = (4.4, 3.4)  # inches: what a phone shows in full width
FEW = 12  # classes whose names and numbers fit


def curves(history: Any) -> list[str]:
    """Return one plot for the loss and each metric over the epochs, best epoch marked."""
    logs = number_logs(history)
    names = [n for n in logs if not n.startswith("val_") and n != "learning_rate"]
    plots = []
    for i, name in enumerate(names):
        figure = history_figure(history, "", *SIZE, only=name)
        last = [f"{key} {logs[key][-1]:.3g}" for key in (name, f"val_{name}") if key in logs]
        plots.append(
            to_svg(figure, f"curve{i}", f"{name} over the epochs; at the end {', '.join(last)}")
        )
    return plots


def confusion(counts: list[list[int]], names: list[str]) -> str:
    """Return the confusion matrix: rows are true, columns predicted classes."""
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    count = len(names)
    few = count <= FEW
    figure = new_figure(SIZE if few else (4.4, 4.4))
    axes = figure.subplots()
    from matplotlib.patches import Rectangle

    for true, predicted in zip(*np.nonzero(counts), strict=True):
        colour = SERIES[0] if true == predicted else SERIES[1]
        share = shares[true, predicted]
        cell = (predicted - 0.5, true - 0.5), 1, 1
        axes.add_patch(Rectangle(*cell, facecolor=colour, alpha=0.08 + 0.62 * share))
    if few:
        size = 11 if count <= 4 else 8
        for true in range(count):
            for predicted in range(count):
                n = counts[true, predicted]
                axes.text(
                    predicted, true, f"{n:,}", ha="center", va="center", fontsize=size,
                    alpha=1 if n else 0.35, weight="bold" if true == predicted else "normal",
                )  # fmt: skip
    _name_ticks(axes, names, few)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.spines[:].set_alpha(0.3)
    right = int(np.trace(counts))
    return to_svg(figure, "confusion", f"confusion matrix: {right} of {counts.sum()} right")


def roc(answers: Answers, areas: list[float | None]) -> str | None:
    """Return the ROC curve of a question with two answers, or one for each class.

    None where no class has both positive and negative samples.
    """
    count = len(answers.class_names)
    shown = [k for k in range(count) if areas[k] is not None]
    if count == 2:  # the curve of the other class is the same, turned by half
        shown = [k for k in shown if k == 1]
    if not shown:
        return None
    rows = -(-len(shown) // 3) if 3 < len(shown) <= len(SERIES) else 0
    figure = new_figure((SIZE[0], SIZE[1] + 0.3))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", alpha=0.6)
    coloured = len(shown) <= len(SERIES)
    for i, k in enumerate(shown):
        fall, hit = roc_curve(answers.labels == k, answers.probabilities[:, k])
        style = {"color": SERIES[i]} if coloured else {"color": SERIES[0], "alpha": 0.3}
        label = shorter(answers.class_names[k])
        if not rows:
            label += f": AUC {decimals(areas[k])}"
        axes.plot(fall, hit, label=label, linewidth=1.4, clip_on=False, **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    calm(axes)
    if coloured:
        place = {"loc": "outside lower center", "ncols": 3} if rows else {"loc": "center right"}
        legend = (figure if rows else axes).legend(
            frameon=False, fontsize=8 if rows else 10, **place
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return to_svg(figure, "roc", "ROC: true positive rate over false positive rate")


def reliability(calibration: dict[str, Any], classes: int) -> str:
    """Return accuracy over certainty, bin by bin, with the number of answers below."""
    figure = new_figure((SIZE[0], SIZE[1] + 0.3))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", alpha=0.6)
    for row in calibration["bins"]:
        start, width = row["from"], row["to"] - row["from"]
        if row["samples"]:
            above.bar(
                start, row["accuracy"], width, align="edge", color=SERIES[0], alpha=0.45,
                edgecolor=SERIES[0],
            )  # fmt: skip
            above.plot([row["certainty"]] * 2, [row["certainty"], row["accuracy"]], color=SERIES[1])
            above.plot(
                row["certainty"], row["accuracy"], "o", color=SERIES[1], markersize=4, clip_on=False
            )  # fmt: skip
            below.bar(start, row["samples"], width, align="edge", color=SERIES[0], alpha=0.45)
    lowest = min(row["from"] for row in calibration["bins"] if row["samples"])
    above.set_xlim(min(1 / classes, lowest), 1)
    above.set_ylim(0, 1.02)
    above.set_ylabel("accuracy")
    below.set_ylabel("answers")
    below.set_xlabel("certainty: probability of the predicted class")
    for axes in (above, below):
        calm(axes)
    error = calibration["expected_calibration_error"]
    return to_svg(figure, "reliability", f"accuracy over certainty; calibration error {error:.3f}")


def decimals(share: float) -> str:
    """Return a share of 0 to 1 with three digits; only what is whole looks whole.

    Examples
    --------
    >>> decimals(0.98765), decimals(0.9999), decimals(1)
    ('0.988', '> 0.999', '1.000')
    """
    return "> 0.999" if 0.9995 <= share < 1 else f"{share:.3f}"


def shorter(name: str, length: int = 14) -> str:
    """Return a name that is no longer than `length`, its middle left out."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[: length - 1 - half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _name_ticks(axes, names: list[str], few: bool) -> None:
    """Label both axes with the classes, or with some of their numbers where there are many."""
    if not few:
        return
    places = range(len(names))
    size = 10 if len(names) <= 4 else 8
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    short = [shorter(name) for name in names]
    flat = len(names) <= 4 and max(map(len, names)) <= 10
    axes.set_xticks(places, short, fontsize=size, **({} if flat else turned))
    axes.set_yticks(places, short, fontsize=size)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.tick_params(length=0)
