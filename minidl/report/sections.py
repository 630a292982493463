"""Sections of the report's page as HTML: results, training, confidence, photos, data, model.

Each function returns the content below its heading, or an empty string if there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from minidl.report.gallery import Photo
from minidl.report.html import counted, number, pairs, percent, plot, table, text

__all__ = [
    "Content",
    "confidence",
    "data",
    "mistakes",
    "model",
    "reproduction",
    "results",
    "training",
    "uncertain",
]

MANY = 20  # findings, or files of one finding, that are shown at once


@dataclass
class Content:
    """The content of a page.

    Attributes
    ----------
    title, part, noun : str
        `part` is the data set of the metrics, "test" or "validation"; `noun` is "photos" or
        "samples".
    figures : dict
        Metrics of :func:`minidl.report.statistics.summarize` and further results, which the page
        also contains as JSON.
    counts : dict of str to list of int
        Samples per class of each data set.
    curves : list of str
        Learning curves as SVG.
    confusion, roc, reliability : str
        Plots as SVG; `roc` is None if it is not defined.
    mistakes, uncertain : list of Photo
        Photos of the worst mistakes and of the least certain predictions.
    has_photos : bool
        Whether the page shows photos.
    findings : list or None
        Findings of the data check, each with ``kind``, ``severity``, ``message`` and ``files``;
        None if the data were not checked.
    layers : str
        Table of the layers as HTML.
    command : str or None
        Command line that repeats the training.
    resumed : bool
        Whether the training was resumed.
    facts : dict of str to dict
        Names and values for the lists "Data", "Model", "Training" and "Machine".
    """

    title: str
    part: str
    noun: str
    figures: dict[str, Any]
    counts: dict[str, list[int]]
    curves: list[str]
    confusion: str
    roc: str | None
    reliability: str
    mistakes: list[Photo]
    uncertain: list[Photo]
    has_photos: bool
    findings: list[Any] | None
    layers: str
    command: str | None
    resumed: bool
    facts: dict[str, dict[str, str]]


def results(content: Content) -> str:
    """Return the confusion matrix and the metrics of each class."""
    figures = content.figures
    matrix = plot(
        content.confusion,
        "Rows are true classes, columns predicted classes; the diagonal holds the correct "
        "predictions. The stronger the color, the larger the share of the row.",
    )
    names = ("precision", "recall", "f1", "auc")
    rows = [
        [row["name"], f"{row['samples']:,}", *(number(row[name]) for name in names)]
        for row in figures["per_class"]
    ]
    means = {**figures["macro"], "auc": figures["auc"]}
    foot = ["all, mean", f"{figures['samples']:,}", *(number(means[name]) for name in names)]
    return (
        f'<div class="plots top">{matrix}<div>'
        f"{table((content.noun, 'precision', 'recall', 'F1', 'AUC'), rows, foot)}"
        '<p class="note" style="margin-top: 12px">Precision: share of the predictions of the class '
        "that are correct. Recall: share of the samples of the class that are predicted correctly. "
        "F1: their harmonic mean. AUC: probability that a sample of the class gets a higher "
        "probability for it than a sample of another class. A dash: not defined.</p>"
        f"{_confusions(figures)}</div></div>"
    )


def _confusions(figures: dict[str, Any]) -> str:
    """Return the most frequent confusions; two classes need no list."""
    if len(figures["classes"]) == 2 or not figures["confusions"]:
        return ""
    items = "".join(
        f"<li>{text(c['true'])} predicted as {text(c['predicted'])}: {c['samples']:,} of "
        f"{c['of']:,}</li>"
        for c in figures["confusions"]
    )
    return f'<h3>Most frequent confusions</h3><ul class="files">{items}</ul>'


def training(content: Content) -> str:
    """Return the learning curves."""
    if not content.curves:
        return ""
    best = content.figures["best_epoch"]
    validated = bool(content.figures["history"].get("val_loss"))
    captions = ["Lower is better.", *["Metric by epoch."] * (len(content.curves) - 1)]
    if validated:
        captions[0] += " A rising validation loss with a falling training loss means overfitting."
    if best:
        kind = "validation" if validated else "training"
        captions[0] += f" The dotted line marks the epoch with the lowest {kind} loss, {best}."
    return _plots(zip(content.curves, captions, strict=True))


def confidence(content: Content) -> str:
    """Return the ROC curves and the reliability diagram."""
    plots = [
        (
            content.roc,
            "True positive rate over false positive rate for decreasing thresholds. The closer to "
            "the upper left corner, the better. The dotted line is random guessing.",
        ),
        (
            content.reliability,
            "Accuracy by confidence; bars that end at the dotted line are calibrated. Shorter bars "
            "mean overconfidence; red shows the gap. Bars of few predictions, counted below, are "
            "uncertain.",
        ),
    ]
    return _plots((svg, caption) for svg, caption in plots if svg)


def _plots(plots: Iterable[tuple[str, str]]) -> str:
    figures = "".join(plot(svg, caption) for svg, caption in plots)
    return f'<div class="plots">{figures}</div>'


def mistakes(content: Content) -> str:
    """Return the photos of the worst mistakes."""
    if not content.has_photos:
        return ""
    figures, shown = content.figures, len(content.mistakes)
    wrong = figures["samples"] - sum(r[k] for k, r in enumerate(figures["confusion_matrix"]))
    if not wrong:
        samples = counted(figures["samples"], content.noun)
        return f'<p class="note">None: all {samples} were classified correctly.</p>'
    if wrong == 1:
        return _gallery("mistakes", content.mistakes, "The only mistake.")
    title = f"The {shown} worst of {wrong:,} mistakes" if wrong > shown else f"All {wrong} mistakes"
    return _gallery(
        "mistakes",
        content.mistakes,
        f"{title}, sorted by the probability of the true class, lowest first.",
    )


def uncertain(content: Content) -> str:
    """Return the photos of the least certain predictions."""
    if not content.has_photos:
        return ""
    sentence = "The predictions with the lowest confidence, correct or not."
    return _gallery("uncertain", content.uncertain, sentence)


def _gallery(key: str, photos: list[Photo], sentence: str) -> str:
    switch = ""
    if any(photo.overlay for photo in photos):
        sentence += (
            " A click, a tap or the space bar overlays the Grad-CAM map of the predicted class: "
            "bright regions raise its score."
        )
        switch = (
            f'<input type="checkbox" class="hidden all" id="{key}-all">'
            f'<label class="switch" for="{key}-all">Compare all</label>'
        )
    tiles = "".join(_tile(photo) for photo in photos)
    return (
        f'<p class="note">{text(sentence)}</p>'
        f'<div class="gallery">{switch}<div class="grid">{tiles}</div></div>'
    )


def _tile(photo: Photo) -> str:
    name = "/".join(PurePath(photo.name).parts[-2:])
    size = f'width="{photo.width}" height="{photo.height}"'
    alt, mark, truth = f"{name}: {photo.predicted}", '<span class="good">✓</span>', ""
    if photo.true != photo.predicted:
        alt += f", true class {photo.true}"
        mark = '<span class="bad">✗</span>'
        probability = text(percent(photo.true_probability))
        truth = f"<small>true class: {text(photo.true)} ({probability})</small>"
    images = f'<img src="{photo.image}" alt="{text(alt)}" {size}>'
    box, tag = "", "div"
    if photo.overlay:
        images += f'<img class="overlay" src="{photo.overlay}" alt="" {size}>'
        label = text(f"Grad-CAM map of {photo.predicted} in {name}")
        box, tag = f'<input type="checkbox" class="hidden" aria-label="{label}">', "label"
    return (
        f'<{tag} class="photo">{box}<span class="frame">{images}</span>'
        f"{mark} <b>{text(photo.predicted)}</b> {text(percent(photo.confidence))}"
        f'{truth}<small title="{text(photo.name)}">{text(name)}</small></{tag}>'
    )


def data(content: Content) -> str:
    """Return the samples per class, the folders, and the findings of the data check."""
    counts = content.counts.values()
    rows = [
        [name, *(f"{n[k]:,}" for n in counts)] for k, name in enumerate(content.figures["classes"])
    ]
    samples = table(content.counts, rows, ["all", *(f"{sum(n):,}" for n in counts)])
    facts = pairs("Source", content.facts["Data"]) if content.facts["Data"] else ""
    return f'<div class="pairs">{samples}{facts}</div>{_findings(content.findings)}'


def _findings(findings: list[Any] | None) -> str:
    if findings is None:
        return ""
    html = '<h3 style="margin-top: 28px">Findings of the data check</h3>'
    if not findings:
        return f'{html}<p class="note">No findings.</p>'
    items = [_finding(finding) for finding in findings]
    html += f'<ul class="findings">{"".join(items[:MANY])}</ul>'
    if len(items) > MANY:
        html += (
            f"<details><summary>{len(items) - MANY} more findings</summary>"
            f'<ul class="findings">{"".join(items[MANY:])}</ul></details>'
        )
    return html


def _finding(finding: Any) -> str:
    severity = finding.severity if finding.severity in ("error", "warning", "note") else "note"
    files = "".join(f"<li>{text(str(file))}</li>" for file in finding.files[:MANY])
    if len(finding.files) > MANY:
        files += f"<li>and {len(finding.files) - MANY:,} more</li>"
    listed = f'<ul class="files">{files}</ul>' if files else ""
    if len(finding.files) > 3:
        listed = f"<details><summary>{len(finding.files):,} files</summary>{listed}</details>"
    return (
        f'<li><span class="badge {severity}">{severity}</span>'
        f"<b>{text(finding.kind.replace('_', ' '))}</b>: {text(finding.message)}{listed}</li>"
    )


def model(content: Content) -> str:
    """Return the size of the model, its training and its layers."""
    return (
        f'<div class="pairs">{pairs("Size", content.facts["Model"])}'
        f"{pairs('Training', content.facts['Training'])}</div>"
        f'<details><summary>All layers</summary><div class="scroll tall" tabindex="0">'
        f"{content.layers}</div></details>"
    )


def reproduction(content: Content) -> str:
    """Return the machine, and the command that repeats the training."""
    html = f'<div class="pairs">{pairs("Machine", content.facts["Machine"])}</div>'
    if content.command:
        note = "This command gives the same metrics on the same machine:"
        if content.resumed:
            note = (
                "The training was resumed. This command trains without interruption. It gives the "
                "same metrics on the same machine, unless the number of epochs was raised:"
            )
        html += (
            f'<p class="note" style="margin: 20px 0 0">{note}</p>'
            f"<pre><code>{text(content.command)}</code></pre>"
        )
    return html
