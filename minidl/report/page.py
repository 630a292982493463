"""The report's page: one HTML document that needs nothing but itself.

Whatever comes from file names, class names or options goes through :func:`text`, so that it
is shown and never obeyed. The style sheet beside this file is copied into the page; there is
no script but the figures, as JSON.

>>> from minidl.report.page import text
>>> text('<b>&"x')
'&lt;b&gt;&amp;&quot;x'
"""

from __future__ import annotations

import html
import importlib.resources
import json
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from minidl.report.gallery import Photo
from minidl.report.plots import decimals

__all__ = ["Content", "listed", "render", "text"]

text = html.escape
UNDEFINED = "\N{EN DASH}"


@dataclass
class Content:
    """All that a page shows.

    Attributes
    ----------
    title, part : str
        `part` says what the figures are of: "test" or "validation".
    figures : dict
        From :func:`minidl.report.figures.summarize`, with what else is to be read by programs.
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


def render(content: Content) -> str:
    """Return the page as text."""
    parts = [
        ("results", "Results", _results(content)),
        ("training", "Training", _training(content)),
        ("certainty", "Certainty", _certainty(content)),
        ("mistakes", "Worst mistakes", _mistakes(content)),
        ("uncertain", "Least certain", _uncertain(content)),
        ("data", "Data", _data(content)),
        ("model", "Model", _model(content)),
        ("reproduce", "How it was made", _made(content)),
    ]
    shown = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in shown)
    sections = "\n".join(
        f'<section id="{key}">\n<h2>{name}</h2>\n{body}\n</section>' for key, name, body in shown
    )
    style = importlib.resources.files("minidl.report").joinpath("page.css").read_text("utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(content.title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>{text(content.title)}</h1>
{_lead(content)}
{_key_figures(content)}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{sections}
</main>
<footer>Written by minidl. This page is one file: it loads nothing and runs no script. Its figures
can be read by programs, too, as JSON in the element with the id “figures”.</footer>
<script type="application/json" id="figures">{_json(content.figures)}</script>
</body>
</html>
"""


def listed(names: list[str], limit: int = 5) -> str:
    """Return names as a sentence has them, or how many there are.

    Examples
    --------
    >>> listed(["cats", "dogs", "owls"]), listed(["a"] * 10)
    ('cats, dogs and owls', '10 classes')
    """
    if len(names) > limit:
        return f"{len(names)} classes"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _json(value: Any) -> str:
    """Return JSON that cannot end the element it stands in."""
    raw = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return raw.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# ------------------------------------------------------------------ head


def _lead(content: Content) -> str:
    tested = _count(content.figures["samples"], content.noun)
    if content.part == "test":
        tested += " kept for the test"
    else:
        tested += f" of the {content.part} part"
    lead = f"All figures are of {tested}."
    if content.counts.get("training"):
        trained = _count(sum(content.counts["training"]), content.noun)
        lead = f"Trained on {trained}; all figures are of {tested}."
    warning = ""
    if content.part == "validation":
        warning = (
            '<p class="note" id="not-a-test">The validation part was looked at during the '
            "training, so its figures may flatter: for a fair judgement keep photos apart for a "
            "test.</p>"
        )
    return f'<p class="lead">{text(lead)}</p>{warning}'


def _key_figures(content: Content) -> str:
    figures = content.figures
    low, high = figures["accuracy_interval"]
    right = sum(row[k] for k, row in enumerate(figures["confusion_matrix"]))
    calibration = figures["calibration"]
    tiles = [
        ("Accuracy", _percent(figures["accuracy"]), f"{right:,} of {figures['samples']:,} right; "
         f"95 % interval {low:.1%} to {high:.1%}"),
        ("Loss", _number(figures["loss"]), figures["loss_name"]),
        ("AUC", _number(figures["auc"]), "area under the ROC curve"
         + ("" if len(figures["classes"]) == 2 else ", mean over the classes")),
        ("Calibration error", _percent(calibration["expected_calibration_error"]),
         f"certainty {calibration['mean_certainty']:.1%} on average, expected calibration error"),
    ]  # fmt: skip
    rows = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="sub">{text(sub)}</dd></div>'
        for name, value, sub in tiles
    )
    return f'<dl class="key">{rows}</dl>'


# ------------------------------------------------------------------ sections


def _results(content: Content) -> str:
    plot = _figure(
        content.confusion,
        "Each row is a true class, each column what the model said: what lies on the diagonal is "
        "right. The stronger the colour, the larger the share of the row.",
    )
    tables = _class_table(content) + _confusions(content)
    return f'<div class="plots top">{plot}<div>{tables}</div></div>'


def _class_table(content: Content) -> str:
    figures = content.figures
    rows = ""
    for row in figures["per_class"]:
        cells = [_number(row[name]) for name in ("precision", "recall", "f1", "auc")]
        cells.insert(0, f"{row['samples']:,}")
        rows += f'<tr><th scope="row">{text(row["name"])}</th>'
        rows += "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows += "</tr>"
    macro = [_number(figures["macro"][name]) for name in ("precision", "recall", "f1")]
    macro.append(_number(figures["auc"]))
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


def _training(content: Content) -> str:
    if not content.curves:
        return ""
    best = content.figures["best_epoch"]
    by = "validation loss" if content.figures["history"].get("val_loss") else "training loss"
    note = f" The dotted line is the epoch with the lowest {by}, {best}." if best else ""
    rest = "Over the epochs; from the validation photos nothing is learned."
    loss = (
        "Lower is better; where validation rises while training falls, the model begins to learn "
        f"by heart.{note}"
    )
    plots = "".join(_figure(svg, rest if i else loss) for i, svg in enumerate(content.curves))
    return f'<div class="plots">{plots}</div>'


def _certainty(content: Content) -> str:
    plots = ""
    if content.roc:
        plots += _figure(
            content.roc,
            "How many of a class are found (upwards) for how many false alarms (to the right), as "
            "the threshold falls; the closer to the upper left corner, the better. The dotted "
            "line is guessing.",
        )
    plots += _figure(
        content.reliability,
        "Of answers that are 80 % certain, 80 % should be right: bars that just reach the dotted "
        "line. Where they stay below it, the model is too sure of itself; red shows the gap. "
        "Bars of few answers, counted underneath, scatter.",
    )
    return f'<div class="plots">{plots}</div>'


def _mistakes(content: Content) -> str:
    if not content.has_photos:
        return ""
    wrong = content.figures["samples"] - sum(
        row[k] for k, row in enumerate(content.figures["confusion_matrix"])
    )
    if not wrong:
        samples = _count(content.figures["samples"], content.noun)
        return f'<p class="note">None: all {samples} were recognized.</p>'
    shown = len(content.mistakes)
    many = f"The {shown} worst of {wrong:,} mistakes" if wrong > shown else f"All {wrong} mistakes"
    if wrong == 1:
        many = "The only mistake"
    order = ", those first where the right class got the least probability" if wrong > 1 else ""
    return _gallery("mistakes", content.mistakes, f"{many}{order}.")


def _uncertain(content: Content) -> str:
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
    said = f"{photo.predicted} {photo.certainty:.1%}"
    alt = f"{name}: {said}" + ("" if photo.right else f", in truth {photo.true}")
    images = f'<img src="{photo.image}" alt="{text(alt)}" {size}>'
    box, tag = "", "div"
    if photo.overlay:
        images += f'<img class="overlay" src="{photo.overlay}" alt="" {size}>'
        label = text(f"What spoke for {photo.predicted} in {name}")
        box, tag = f'<input type="checkbox" class="hidden" aria-label="{label}">', "label"
    truth = ""
    if not photo.right:
        truth = f"<small>truth: {text(photo.true)} ({photo.own:.1%})</small>"
    return (
        f'<{tag} class="photo">{box}<span class="frame">{images}</span>'
        f'<span class="{kind}">{mark}</span> <b>{text(photo.predicted)}</b> {photo.certainty:.1%}'
        f'{truth}<small title="{text(photo.name)}">{text(name)}</small></{tag}>'
    )


def _data(content: Content) -> str:
    heads = "".join(f'<th class="number" scope="col">{name}</th>' for name in content.counts)
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
    facts = _pairs("Where they are from", content.facts["Data"]) if content.facts["Data"] else ""
    return f'<div class="pairs">{table}{facts}</div>{_findings(content.findings)}'


def _findings(findings: list[Any] | None) -> str:
    if findings is None:
        return ""
    title = '<h3 style="margin-top: 28px">Findings of the data doctor</h3>'
    if not findings:
        return f'{title}<p class="note">It found nothing to complain of.</p>'
    items = ""
    for finding in findings:
        severity = finding.severity if finding.severity in ("error", "warning", "note") else "note"
        files = "".join(f"<li>{text(str(file))}</li>" for file in finding.files)
        listed = f'<ul class="files">{files}</ul>' if files else ""
        if len(finding.files) > 3:
            listed = f"<details><summary>{len(finding.files)} files</summary>{listed}</details>"
        items += (
            f'<li><span class="badge {severity}">{severity}</span>'
            f"<b>{text(finding.kind.replace('_', ' '))}</b>: {text(finding.message)}{listed}</li>"
        )
    return f'{title}<ul class="findings">{items}</ul>'


def _model(content: Content) -> str:
    return (
        f'<div class="pairs">{_pairs("Size", content.facts["Model"])}'
        f"{_pairs('Training', content.facts['Training'])}</div>"
        f'<details><summary>All layers</summary><div class="scroll tall" tabindex="0">'
        f"{content.layers}</div></details>"
    )


def _made(content: Content) -> str:
    made = f'<div class="pairs">{_pairs("Machine", content.facts["Machine"])}</div>'
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


# ------------------------------------------------------------------ pieces


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def _pairs(title: str, facts: dict[str, str]) -> str:
    rows = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts.items())
    return f"<div><h3>{text(title)}</h3><dl>{rows}</dl></div>"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun if n != 1 else noun.removesuffix('s')}"


def _percent(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return UNDEFINED if value is None else decimals(value)
