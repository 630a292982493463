"""The page of a report: one self-contained HTML document.

The style sheet ``page.css`` is copied into the page. The page runs no script; it contains the
metrics as JSON, escaped so that no text can end the element:

>>> from minidl.report.page import as_json
>>> as_json({"class": "</script>"})
'{"class": "\\\\u003c/script\\\\u003e"}'
"""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from minidl.report import sections
from minidl.report.html import UNDEFINED, counted, number, percent, text
from minidl.report.sections import Content

__all__ = ["as_json", "render"]

SECTIONS = (
    ("results", "Results", sections.results),
    ("training", "Training", sections.training),
    ("confidence", "Confidence", sections.confidence),
    ("mistakes", "Worst mistakes", sections.mistakes),
    ("uncertain", "Least certain", sections.uncertain),
    ("data", "Data", sections.data),
    ("model", "Model", sections.model),
    ("reproduce", "Reproduction", sections.reproduction),
)


def render(content: Content) -> str:
    """Return the page as text."""
    links = body = ""
    for key, name, section in SECTIONS:
        inner = section(content)
        if inner:
            links += f'<a href="#{key}">{name}</a>'
            body += f'<section id="{key}">\n<h2>{name}</h2>\n{inner}\n</section>\n'
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
{_key_figures(content.figures)}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{body}</main>
<footer>Written by minidl. This page is one file: it loads nothing and runs no script. Programs can
read its metrics as JSON, in the element with the id “figures”.</footer>
<script type="application/json" id="figures">{as_json(content.figures)}</script>
</body>
</html>
"""


def as_json(value: Any) -> str:
    """Return JSON that cannot end the HTML element that contains it."""
    raw = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return raw.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _lead(content: Content) -> str:
    tested = f"{counted(content.figures['samples'], content.noun)} of the {content.part} set"
    lead = f"All metrics are computed on {tested}."
    if content.counts.get("training"):
        trained = counted(sum(content.counts["training"]), content.noun)
        lead = f"Trained on {trained}; all metrics are computed on {tested}."
    warning = ""
    if content.part == "validation":
        warning = (
            '<p class="note" id="not-a-test">The validation set was used during the training, so '
            "its metrics may be overestimated. An unbiased estimate needs a separate test set.</p>"
        )
    return f'<p class="lead">{text(lead)}</p>{warning}'


def _key_figures(figures: dict[str, Any]) -> str:
    low, high = figures["accuracy_interval"]
    correct = sum(row[k] for k, row in enumerate(figures["confusion_matrix"]))
    calibration, loss = figures["calibration"], figures["loss"]
    tiles = (
        (
            "Accuracy",
            percent(figures["accuracy"]),
            f"{correct:,} of {figures['samples']:,} correct; 95 % interval {low:.1%} to {high:.1%}",
        ),
        ("Loss", UNDEFINED if loss is None else f"{loss:.3f}", figures["loss_name"]),
        (
            "AUC",
            number(figures["auc"]),
            "area under the ROC curve"
            + ("" if len(figures["classes"]) == 2 else ", mean over the classes"),
        ),
        (
            "Calibration error",
            percent(calibration["expected_calibration_error"]),
            f"expected calibration error; mean confidence {calibration['mean_certainty']:.1%}",
        ),
    )
    rows = "".join(
        f'<div><dt>{name}</dt><dd>{text(value)}</dd><dd class="sub">{text(note)}</dd></div>'
        for name, value, note in tiles
    )
    return f'<dl class="key">{rows}</dl>'
