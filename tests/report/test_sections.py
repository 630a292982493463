"""Sections of the page: their content for tests, validation data, mistakes and findings."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.pages import Markup

from minidl.report import sections
from minidl.report.gallery import Photo
from minidl.report.sections import MANY, Content
from minidl.report.statistics import Predictions, summarize


def photo(true="cats", predicted="dogs", overlay=None):
    return Photo("a/b/c.jpg", true, predicted, 0.9996, 0.0004, 8, 8, "data:,", overlay)


def content(classes=2, **changes):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(classes), 30)
    names = ["cats", "dogs", "<owls>"][:classes]
    predictions = Predictions(
        np.arange(30) % classes, p, p.argmax(1), names, 0.5, "loss", [""] * 30
    )
    figures = {**summarize(predictions), "best_epoch": 2, "history": {"loss": [2, 1]}}
    options = {
        "title": "t", "part": "test", "noun": "photos", "figures": figures,
        "counts": {"training": [1] * classes, "test": [1200] * classes}, "curves": [],
        "confusion": "<svg></svg>", "roc": None, "reliability": "<svg></svg>", "mistakes": [],
        "uncertain": [], "has_photos": True, "findings": None, "layers": "", "command": None,
        "resumed": False, "facts": {"Data": {}, "Model": {}, "Training": {}, "Machine": {}},
    }  # fmt: skip
    return Content(**{**options, **changes})


def text_of(html):
    markup = Markup(html)
    assert markup.problems == []
    return " ".join(markup.words)


def test_results_list_each_class_and_the_means():
    page = content(3)
    text = text_of(sections.results(page))
    for row in page.figures["per_class"]:
        assert row["name"] in text
        assert f"{row['recall']:.3f}" in text
    assert f"{page.figures['macro']['f1']:.3f}" in text
    worst = page.figures["confusions"][0]
    assert f"{worst['true']} predicted as {worst['predicted']}: {worst['samples']} of 10" in text
    assert "Most frequent confusions" not in text_of(sections.results(content(2)))


def test_training_explains_curves_with_and_without_validation():
    assert sections.training(content()) == ""
    text = text_of(sections.training(content(curves=["<svg></svg>"] * 2)))
    assert "lowest training loss, 2" in text
    assert "overfitting" not in text
    page = content(curves=["<svg></svg>"])
    page.figures["history"]["val_loss"] = [1, 2]
    text = text_of(sections.training(page))
    assert "lowest validation loss, 2" in text
    assert "overfitting" in text


def test_confidence_omits_an_undefined_roc_curve():
    assert sections.confidence(content()).count("<figure>") == 1
    assert sections.confidence(content(roc="<svg></svg>")).count("<figure>") == 2


@pytest.mark.parametrize("shown", [0, 1, 5])
def test_mistakes_are_counted(shown):
    page = content(mistakes=[photo()] * shown)
    wrong = 30 - round(page.figures["accuracy"] * 30)
    text = text_of(sections.mistakes(page))
    assert f"The {shown} worst of {wrong} mistakes" in text
    assert text.count("true class: cats (< 0.1%)") == shown
    assert text.count("> 99.9%") == shown


def test_few_mistakes():
    page = content()
    for matrix, title in (
        ([[15, 0], [0, 15]], "None: all 30 photos were classified correctly."),
        ([[14, 1], [0, 15]], "The only mistake."),
    ):
        page.figures["confusion_matrix"] = matrix
        page.mistakes = [photo()] * sum(matrix[0][1:])
        assert title in text_of(sections.mistakes(page))
    page.has_photos = False
    assert sections.mistakes(page) == sections.uncertain(page) == ""


def test_tiles_mark_correct_predictions_and_overlays():
    page = content(uncertain=[photo(predicted="cats"), photo(overlay="data:,x")])
    html = sections.uncertain(page)
    assert html.count("✓") == html.count("✗") == 1
    assert html.count('class="overlay"') == 1
    assert 'id="uncertain-all"' in html
    assert "Grad-CAM" not in sections.uncertain(content(uncertain=[photo()]))


def test_data_are_counted_per_class_and_in_total():
    text = text_of(sections.data(content(3)))
    assert "1,200" in text
    assert "3,600" in text
    assert "Findings" not in text


def test_findings_of_the_data_check():
    assert "No findings." in sections.data(content(findings=[]))
    leak = SimpleNamespace(kind="near_leak", severity="odd", message="<m>", files=("a", "b"))
    text = text_of(sections.data(content(findings=[leak] * (MANY + 3))))
    assert text.count("near leak") == MANY + 3
    assert "3 more findings" in text
    assert "note" in text  # for an unknown severity
    leak.files = tuple(map(str, range(MANY + 7)))
    text = text_of(sections.data(content(findings=[leak])))
    assert f"{MANY + 7} files" in text
    assert "and 7 more" in text


def test_reproduction_names_the_command():
    assert "<code>" not in sections.reproduction(content())
    text = text_of(sections.reproduction(content(command="minidl train '<a>'")))
    assert "minidl train '<a>'" in text
    assert "was resumed" not in text
    assert "was resumed" in sections.reproduction(content(command="x", resumed=True))
