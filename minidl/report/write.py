"""Puts a report together: asks the model, computes the figures, draws, writes one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.errors import DataError
from minidl.common.finite_json import finite
from minidl.common.output_paths import require_writable
from minidl.common.plotting import best_epoch, images_figure, number_logs, require_matplotlib
from minidl.graph.summary import summary_html
from minidl.report import facts, gallery, plots
from minidl.report.html import listed
from minidl.report.page import render
from minidl.report.predictions import TestSet, ask
from minidl.report.sections import Content
from minidl.report.statistics import Answers, least_certain, summarize, worst_mistakes
from minidl.training.batches import unpack

__all__ = ["show_batch", "write"]


def write(
    path: str | Path, model, test_data, *, history: Any = None, train_data: Any = None,
    validation_data: Any = None, findings: Any = None, command: str | None = None,
    title: str | None = None, part: str = "test", photos: int = 12,
) -> dict[str, Any]:  # fmt: skip
    """Write a report on a classifier: one HTML file that needs no network and no other file.

    Parameters
    ----------
    path : str or Path
        Where it goes; an older file is replaced.
    model : Model
        A classifier with one output: a sigmoid, a softmax, or the logits of its loss.
    test_data : ImageFolder, Dataset or (x, y)
        What all figures are of, in a form that can be read twice.
    history : History or dict of str to list, optional
        What ``fit`` returned, for the learning curves.
    train_data, validation_data : ImageFolder, Dataset or (x, y), optional
        To tell what the model was trained on; nothing is computed with them.
    findings : CheckReport, optional
        From ``minidl.data.check``: anything with ``findings``, each of which has ``kind``,
        ``severity``, ``message`` and ``files``.
    command : str, optional
        A line that makes all this anew.
    title : str, optional
    part : str
        What `test_data` are: "test", or "validation" where there is no better.
    photos : int
        How many of the worst mistakes and of the least certain answers are shown; with 12 a
        report stays below 2 MB.

    Returns
    -------
    dict
        The figures, which the page also holds as JSON in the element with the id "figures":
        ``accuracy``, ``loss``, ``confusion_matrix``, ``per_class``, ``auc``, ``calibration``
        and others; what is not defined is None.

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    OSError
        If the file cannot be written; it is tried before anything is computed.
    ValueError
        If the model is no classifier, or `photos` is no number from 0.
    DataError
        If the test data have no labels, other classes, or can be read only once.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from minidl import Input, Sequential, layers, report
    >>> model = Sequential([
    ...     Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(),
    ...     layers.Dense(1, activation="sigmoid"),
    ... ])
    >>> x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3))
    >>> path = tempfile.mkdtemp() + "/report.html"
    >>> figures = report.write(path, model, (x, np.array([0, 1, 0, 1, 0, 1])))
    >>> figures["samples"], open(path).readline()
    (6, '<!DOCTYPE html>\\n')
    """
    require_matplotlib()
    require_writable(path)
    check_integer("report", "photos", photos, 0)
    test = TestSet(test_data)
    answers = ask(model, test)
    shown = {"mistakes": worst_mistakes(answers, photos)}
    shown["least_certain"] = least_certain(answers, photos)
    data = {"training": train_data, "validation": validation_data, part: test.data}
    figures = _figures(answers, part, history, shown, data)
    has_photos = gallery.shows_images(model) and photos > 0
    pictures = {
        name: gallery.photos(model, test, answers, rows) if has_photos else []
        for name, rows in shown.items()
    }
    content = Content(
        title=title or f"Classifier of {listed(answers.class_names)}",
        part=part,
        noun="photos" if gallery.shows_images(model) else "samples",
        figures=figures,
        counts=figures["counts"],
        mistakes=pictures["mistakes"],
        uncertain=pictures["least_certain"],
        has_photos=has_photos,
        findings=None if findings is None else list(findings.findings),
        layers=summary_html(model),
        command=command,
        resumed=bool(getattr(history, "params", {}).get("resume")),
        facts=_facts(model, history, data),
        **_plots(answers, figures, history),
    )
    Path(path).write_text(render(content), encoding="utf-8")
    return figures


def _figures(answers: Answers, part: str, history, shown: dict, data: dict) -> dict[str, Any]:
    """Return all numbers of the report."""
    figures = {"part": part, **summarize(answers)}
    if history is not None:
        figures |= {"history": finite(number_logs(history)), "best_epoch": best_epoch(history)}
    for name, rows in shown.items():
        figures[name] = [_told(answers, row) for row in rows]
    figures["counts"] = _counts(data, len(answers.class_names), answers, part)
    return figures


def _plots(answers: Answers, figures: dict[str, Any], history) -> dict[str, Any]:
    areas = [row["auc"] for row in figures["per_class"]]
    return {
        "curves": plots.curves(history) if history is not None else [],
        "confusion": plots.confusion(figures["confusion_matrix"], answers.class_names),
        "roc": plots.roc(answers, areas),
        "reliability": plots.reliability(figures["calibration"], len(answers.class_names)),
    }


def _facts(model, history, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "Data": facts.data_facts(data),
        "Model": facts.model_facts(model),
        "Training": facts.training_facts(model, history, data["training"]),
        "Machine": facts.machine_facts(),
    }


def show_batch(dataset, count: int = 12, columns: int = 6, epoch: int = 0):
    """Return a figure of a data set's first photos with the names of their classes.

    Parameters
    ----------
    dataset : ImageFolder or Dataset of images
        Values 0-255, or 0-1.
    count : int
    columns : int
    epoch : int
        Whose order is shown.

    Returns
    -------
    matplotlib.figure.Figure
        Notebooks show it; ``figure.savefig("batch.png")`` writes it.

    Raises
    ------
    DataError
        If the data set has no images.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl import report
    >>> from minidl.data import ArrayDataset
    >>> data = ArrayDataset(np.zeros((3, 8, 8, 3)), np.array([0, 1, 0]))
    >>> len(report.show_batch(data, columns=3).axes)
    3
    """
    images: list[np.ndarray] = []
    titles: list[str] = []
    names: Sequence[str] = getattr(dataset, "class_names", None) or []
    for batch in dataset.batches(epoch):
        x, y, _ = unpack(batch)
        if np.ndim(x) != 4 or x.shape[3] not in (1, 3):
            raise DataError(
                f"show_batch: expected images (N, H, W, 1 or 3), received {np.shape(x)}"
            )
        classes = [None] * len(x) if y is None else _classes(y, len(names))
        for image, label in zip(x, classes, strict=True):
            images.append(image * 255 if image.min() >= 0 and image.max() <= 1 else image)
            known = label is not None and 0 <= label < len(names)
            titles.append(plots.shorter(names[label], 20) if known else str(label or ""))
        if len(images) >= count:
            break
    if not images:
        raise DataError("show_batch: the data set has no images")
    return images_figure(images[:count], titles[:count], min(columns, len(images[:count])))


def _classes(y: np.ndarray, count: int) -> list[int]:
    one_hot = np.ndim(y) == 2 and np.shape(y)[1] == count > 1
    return (np.argmax(y, axis=1) if one_hot else np.reshape(y, -1).astype(int)).tolist()


def _told(answers: Answers, row: int) -> dict[str, Any]:
    """Return one answer as JSON can hold it."""
    return {
        "file": answers.names[row],
        "true": answers.class_names[answers.labels[row]],
        "predicted": answers.class_names[answers.decided[row]],
        "certainty": float(answers.certainty[row]),
    }


def _counts(data: dict[str, Any], classes: int, answers: Answers, part: str) -> dict[str, Any]:
    """Return the samples of each class in each part, those of the tested part as counted."""
    counts = {name: facts.class_counts(d, classes) for name, d in data.items() if d is not None}
    counts[part] = np.bincount(answers.labels, minlength=classes).tolist()
    return {name: numbers for name, numbers in counts.items() if numbers is not None}
