"""The sections of the report's page, from its results to how it was made, as HTML.

Each function returns what stands below its heading, or nothing where there is nothing to tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from minidl.report.gallery import Photo
from minidl.report.html import counted, number, pairs, percent, plot, text

__all__ = [
    "Content", "certainty", "data", "made", "mistakes", "model", "results", "training", "uncertain",
]  # fmt: skip

MANY = 20  # findings, or files of one, that are shown at once


@dataclass
class Content:
    """All that a page shows.

    Attributes
    ----------
    title, part : str
        `part` says what the figures are of: "test" or "validation".
    figures : dict
        From :func:`minidl.report.statistics.summarize`, with what else is to be read by programs.
    counts : dict of str to list of int
        Samples of each class in each part of the data.
    curves : list of str
        SVG, as are the other plots.
    roc : str or None
    findings : list, or None where the data were not checked
        Each with ``kind``, ``severity``, ``message`` and ``files``.
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
    resumed: bool = False
    facts: dict[str, dict[str, str]] = field(default_factory=dict)


def results(content: Content) -> str:
    """The confusion matrix, and the figures of each class."""
    matrix = plot(
        content.confusion,
        "Each row is a true class, each column what the model said: what lies on the diagonal is "
        "right. The stronger the colour, the larger the share of the row.",
    )
    tables = _class_table(content) + _confusions(content)
    return f'<div class="plots top">{matrix}<div>{tables}</div></div>'


def _class_table(content: Content) -> str:
    figures = content.figures
    rows = ""
    for row in figures["per_class"]:
        cells = [number(row[name]) for name in ("precision", "recall", "f1", "auc")]
        cells.insert(0, f"{row['samples']:,}")
        rows += f'<tr><th scope="row">{text(row["name"])}</th>'
        rows += "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows += "</tr>"
    macro = [number(figures["macro"][name]) for name in ("precision", "recall", "f1")]
    macro.append(number(figures["auc"]))
    foot = "".join(
        f'<td class="number">{cell}</td>' for cell in (f"{figures['samples']:,}", *macro)
    )
    heads = "".join(
        f'<th class="number" scope="col">{name}</th>'
        for name in (content.noun, "precision", "recall", "F1", "AUC")
    )
    return (
        f'<div class="{_box(content)}"><table><thead><tr><th scope="col">class</th>'
        f"{heads}</tr></thead>"
        f'<tbody>{rows}</tbody><tfoot><tr><th scope="row">all, mean</th>{foot}</tr></tfoot></table>'
        '</div><p class="note" style="margin-top: 12px">Precision: of those taken for the class, '
        "the share that is. Recall: of those of the class, the share that was found. F1 is their "
        "harmonic mean. AUC: how likely one of the class gets a higher probability for it than one "
        "that is not. A dash: not defined here.</p>"
    )


def _box(content: Content) -> str:
    """Return the class of a box around a table of all classes; a long one scrolls within."""
    return "scroll flush tall" if len(content.figures["classes"]) > 15 else "scroll flush"


def _confusions(content: Content) -> str:
    """Return a list of who is most often taken for whom, where that is not plain to see."""
    found = content.figures["confusions"]
    if len(content.figures["classes"]) == 2 or not found:
        return ""
    items = "".join(
        f"<li>{text(c['true'])} taken for {text(c['predicted'])}: {c['samples']:,} of {c['of']:,}"
        "</li>"
        for c in found
    )
    return f'<h3>Most often confused</h3><ul class="files">{items}</ul>'


def training(content: Content) -> str:
    """The learning curves."""
    if not content.curves:
        return ""
    best = content.figures["best_epoch"]
    validated = bool(content.figures["history"].get("val_loss"))
    by = "validation loss" if validated else "training loss"
    note = f" The dotted line is the epoch with the lowest {by}, {best}." if best else ""
    loss, rest = "Lower is better.", "The metric, epoch by epoch."
    if validated:
        loss = (
            "Lower is better; where validation rises while training falls, the model begins to "
            "learn by heart."
        )
        rest = "The metric, epoch by epoch; from the validation part nothing is learned."
    loss += note
    plots = "".join(plot(svg, rest if i else loss) for i, svg in enumerate(content.curves))
    return f'<div class="plots">{plots}</div>'


def certainty(content: Content) -> str:
    """The ROC curves and the reliability diagram."""
    plots = ""
    if content.roc:
        plots += plot(
            content.roc,
            "How many of a class are found (upwards) for how many false alarms (to the right), as "
            "the threshold falls; the closer to the upper left corner, the better. The dotted "
            "line is guessing.",
        )
    plots += plot(
        content.reliability,
        "Of answers that are 80 % certain, 80 % should be right: bars that just reach the dotted "
        "line. Where they stay below it, the model is too sure of itself; red shows the gap. "
        "Bars of few answers, counted underneath, scatter.",
    )
    return f'<div class="plots">{plots}</div>'


def mistakes(content: Content) -> str:
    """The photos that were taken for another class most certainly."""
    if not content.has_photos:
        return ""
    wrong = content.figures["samples"] - sum(
        row[k] for k, row in enumerate(content.figures["confusion_matrix"])
    )
    if not wrong:
        samples = counted(content.figures["samples"], content.noun)
        return f'<p class="note">None: all {samples} were recognized.</p>'
    shown = len(content.mistakes)
    many = f"The {shown} worst of {wrong:,} mistakes" if wrong > shown else f"All {wrong} mistakes"
    if wrong == 1:
        many = "The only mistake"
    order = ", those first where the right class got the least probability" if wrong > 1 else ""
    return _gallery("mistakes", content.mistakes, f"{many}{order}.")


def uncertain(content: Content) -> str:
    """The photos whose answers were least certain."""
    if not content.has_photos:
        return ""
    return _gallery(
        "uncertain", content.uncertain, "Right or wrong, whose answer was least certain."
    )


def _gallery(key: str, photos: list[Photo], sentence: str) -> str:
    overlays = any(photo.overlay for photo in photos)
    how = ""
    switch = ""
    if overlays:
        how = (
            " A click, a tap or the space bar lays what spoke for the predicted class over a "
            "photo (Grad-CAM): bright did, dark did not."
        )
        switch = (
            f'<input type="checkbox" class="hidden all" id="{key}-all">'
            f'<label class="switch" for="{key}-all">Compare all</label>'
        )
    tiles = "".join(_tile(photo) for photo in photos)
    return (
        f'<p class="note">{text(sentence)}{how}</p>'
        f'<div class="gallery">{switch}<div class="grid">{tiles}</div></div>'
    )


def _tile(photo: Photo) -> str:
    mark, kind = ("✓", "good") if photo.right else ("✗", "bad")
    size = f'width="{photo.width}" height="{photo.height}"'
    name = "/".join(PurePath(photo.name).parts[-2:])
    certainty = percent(photo.certainty)
    alt = f"{name}: {photo.predicted}" + ("" if photo.right else f", in truth {photo.true}")
    images = f'<img src="{photo.image}" alt="{text(alt)}" {size}>'
    box, tag = "", "div"
    if photo.overlay:
        images += f'<img class="overlay" src="{photo.overlay}" alt="" {size}>'
        label = text(f"What spoke for {photo.predicted} in {name}")
        box, tag = f'<input type="checkbox" class="hidden" aria-label="{label}">', "label"
    truth = ""
    if not photo.right:
        truth = f"<small>truth: {text(photo.true)} ({percent(photo.own)})</small>"
    return (
        f'<{tag} class="photo">{box}<span class="frame">{images}</span>'
        f'<span class="{kind}">{mark}</span> <b>{text(photo.predicted)}</b> {certainty}'
        f'{truth}<small title="{text(photo.name)}">{text(name)}</small></{tag}>'
    )


def data(content: Content) -> str:
    """How many samples of each class there are, from where, and what the doctor found."""
    heads = "".join(f'<th class="number" scope="col">{text(name)}</th>' for name in content.counts)
    rows = ""
    for k, name in enumerate(content.figures["classes"]):
        cells = "".join(f'<td class="number">{n[k]:,}</td>' for n in content.counts.values())
        rows += f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'
    total = "".join(f'<td class="number">{sum(n):,}</td>' for n in content.counts.values())
    table = (
        f'<div class="{_box(content)}"><table><thead><tr><th scope="col">class</th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody>"
        f'<tfoot><tr><th scope="row">all</th>{total}</tr></tfoot></table></div>'
    )
    facts = pairs("Where they are from", content.facts["Data"]) if content.facts["Data"] else ""
    return f'<div class="pairs">{table}{facts}</div>{_findings(content.findings)}'


def _findings(findings: list[Any] | None) -> str:
    if findings is None:
        return ""
    title = '<h3 style="margin-top: 28px">Findings of the data doctor</h3>'
    if not findings:
        return f'{title}<p class="note">It found nothing to complain of.</p>'
    items = [_finding(finding) for finding in findings]
    shown = f'{title}<ul class="findings">{"".join(items[:MANY])}</ul>'
    if len(items) > MANY:
        rest = "".join(items[MANY:])
        shown += (
            f"<details><summary>{len(items) - MANY} more findings</summary>"
            f'<ul class="findings">{rest}</ul></details>'
        )
    return shown


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
    """The size of the model, how it was trained, and its layers."""
    return (
        f'<div class="pairs">{pairs("Size", content.facts["Model"])}'
        f"{pairs('Training', content.facts['Training'])}</div>"
        f'<details><summary>All layers</summary><div class="scroll tall" tabindex="0">'
        f"{content.layers}</div></details>"
    )


def made(content: Content) -> str:
    """The machine, and the command that makes all this again."""
    made = f'<div class="pairs">{pairs("Machine", content.facts["Machine"])}</div>'
    if content.command:
        again = "The same again, to the same figures on the same machine:"
        if content.resumed:
            again = (
                "The training was resumed. In one go, and to the same figures on the same machine "
                "unless more epochs were asked for in between:"
            )
        made += (
            f'<p class="note" style="margin: 20px 0 0">{again}</p>'
            f"<pre><code>{text(content.command)}</code></pre>"
        )
    return made
