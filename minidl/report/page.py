"""The report's page: one HTML document that needs nothing but itself.

The style sheet beside this file is copied into the page; there is no script but the figures, as
JSON, which no text in them can leave:

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


def render(content: Content) -> str:
    """Return the page as text."""
    parts = [
        ("results", "Results", sections.results(content)),
        ("training", "Training", sections.training(content)),
        ("certainty", "Certainty", sections.certainty(content)),
        ("mistakes", "Worst mistakes", sections.mistakes(content)),
        ("uncertain", "Least certain", sections.uncertain(content)),
        ("data", "Data", sections.data(content)),
        ("model", "Model", sections.model(content)),
        ("reproduce", "How it was made", sections.made(content)),
    ]
    shown = [part for part in parts if part[2]]
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in shown)
    body = "\n".join(
        f'<section id="{key}">\n<h2>{name}</h2>\n{inner}\n</section>' for key, name, inner in shown
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
{body}
</main>
<footer>Written by minidl. This page is one file: it loads nothing and runs no script. Its figures
can be read by programs, too, as JSON in the element with the id “figures”.</footer>
<script type="application/json" id="figures">{as_json(content.figures)}</script>
</body>
</html>
"""


def as_json(value: Any) -> str:
    """Return JSON that cannot end the element it stands in."""
    raw = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return raw.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _lead(content: Content) -> str:
    tested = counted(content.figures["samples"], content.noun)
    if content.part == "test":
        tested += " kept for the test"
    else:
        tested += f" of the {content.part} part"
    lead = f"All figures are of {tested}."
    if content.counts.get("training"):
        trained = counted(sum(content.counts["training"]), content.noun)
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
    calibration, loss = figures["calibration"], figures["loss"]
    tiles = [
        ("Accuracy", percent(figures["accuracy"]), f"{right:,} of {figures['samples']:,} right; "
         f"95 % interval {low:.1%} to {high:.1%}"),
        ("Loss", UNDEFINED if loss is None else f"{loss:.3f}", figures["loss_name"]),
        ("AUC", number(figures["auc"]), "area under the ROC curve"
         + ("" if len(figures["classes"]) == 2 else ", mean over the classes")),
        ("Calibration error", percent(calibration["expected_calibration_error"]),
         f"certainty {calibration['mean_certainty']:.1%} on average, expected calibration error"),
    ]  # fmt: skip
    rows = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="sub">{text(sub)}</dd></div>'
        for name, value, sub in tiles
    )
    return f'<dl class="key">{rows}</dl>'
