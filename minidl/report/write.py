"""Writing of a report: predictions, metrics and plots in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.atomic_files import write_file
from minidl.common.errors import DataError
from minidl.common.finite_json import finite
from minidl.common.output_paths import require_writable
from minidl.common.plotting import best_epoch, images_figure, number_logs, require_matplotlib
from minidl.data import Dataset
from minidl.graph.summary import summary_html
from minidl.models.model import Model
from minidl.report import facts, gallery, plots
from minidl.report.html import listed
from minidl.report.page import render
from minidl.report.predictions import TestSet, predict_all
from minidl.report.sections import Content
from minidl.report.statistics import Predictions, least_certain, summarize, worst_mistakes
from minidl.training.batches import unpack

__all__ = ["show_batch", "write"]


def write(
    path: str | Path,
    model: Model,
    test_data: Dataset | tuple,
    *,
    history: Any = None,
    train_data: Any = None,
    validation_data: Any = None,
    findings: Any = None,
    command: str | None = None,
    title: str | None = None,
    part: str = "test",
    photos: int = 12,
) -> dict[str, Any]:
    """Write a report on a classifier: one HTML file that loads no other file.

    Parameters
    ----------
    path : str or Path
        File to write; an existing file is replaced.
    model : Model
        A classifier with one output: a sigmoid, a softmax, or the logits of its loss.
    test_data : ImageFolder, Dataset or (x, y)
        Data for all metrics, in a form that can be read twice.
    history : History or dict of str to list, optional
        Result of ``fit``, for the learning curves.
    train_data, validation_data : ImageFolder, Dataset or (x, y), optional
        Data that the model was trained on, for their number and source only.
    findings : CheckReport, optional
        Result of ``minidl.data.check``: any object with ``findings``, each of which has ``kind``,
        ``severity``, ``message`` and ``files``.
    command : str, optional
        Command line that repeats the training.
    title : str, optional
        Title of the page.
    part : str
        Name of `test_data`: "test", or "validation" if there is no test set.
    photos : int
        Number of photos of the worst mistakes and of the least certain predictions. With 12 of
        each, a report is smaller than 2 MB.

    Returns
    -------
    dict
        The metrics, which the page also contains as JSON in the element with the id "figures":
        ``accuracy``, ``loss``, ``confusion_matrix``, ``per_class``, ``auc``, ``calibration``
        and others. Undefined metrics are None.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    OSError
        If the file cannot be written; this is checked first.
    ValueError
        If the model is not a classifier, or `photos` is not a nonnegative integer.
    DataError
        If the test data have no labels or other classes, or can be read only once.

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
    predictions = predict_all(model, test)
    data = {"training": train_data, "validation": validation_data, part: test.data}
    rows = {
        "mistakes": worst_mistakes(predictions, photos),
        "least_certain": least_certain(predictions, photos),
    }
    figures = _figures(predictions, part, history, rows, data)
    shows_images = gallery.shows_images(model)
    tiles = {
        name: gallery.photos(model, test, predictions, samples if shows_images else [])
        for name, samples in rows.items()
    }
    content = Content(
        title=title or f"Classifier of {listed(predictions.class_names)}",
        part=part,
        noun="photos" if shows_images else "samples",
        figures=figures,
        counts=figures["counts"],
        curves=plots.curves(history) if history is not None else [],
        confusion=plots.confusion(figures["confusion_matrix"], predictions.class_names),
        roc=plots.roc(predictions, [row["auc"] for row in figures["per_class"]]),
        reliability=plots.reliability(figures["calibration"], len(predictions.class_names)),
        mistakes=tiles["mistakes"],
        uncertain=tiles["least_certain"],
        has_photos=shows_images and photos > 0,
        findings=None if findings is None else list(findings.findings),
        layers=summary_html(model),
        command=command,
        resumed=bool(getattr(history, "params", {}).get("resume")),
        facts={
            "Data": facts.data_facts(data),
            "Model": facts.model_facts(model),
            "Training": facts.training_facts(model, history, train_data),
            "Machine": facts.machine_facts(),
        },
    )
    write_file(path, render(content))
    return figures


def _figures(
    predictions: Predictions,
    part: str,
    history: Any,
    rows: dict[str, list[int]],
    data: dict[str, Any],
) -> dict[str, Any]:
    """Return the metrics and further results that the page contains as JSON."""
    names = predictions.class_names
    figures = {"part": part, **summarize(predictions)}
    if history is not None:
        figures |= {"history": finite(number_logs(history)), "best_epoch": best_epoch(history)}
    for key, samples in rows.items():
        figures[key] = [
            {
                "file": predictions.names[i],
                "true": names[predictions.labels[i]],
                "predicted": names[predictions.predicted[i]],
                "certainty": float(predictions.confidence[i]),
            }
            for i in samples
        ]
    counts = {name: facts.class_counts(d, len(names)) for name, d in data.items() if d is not None}
    counts[part] = np.bincount(predictions.labels, minlength=len(names)).tolist()
    figures["counts"] = {name: numbers for name, numbers in counts.items() if numbers is not None}
    return figures


def show_batch(dataset: Dataset, count: int = 12, columns: int = 6, epoch: int = 0) -> Any:
    """Plot the first photos of a data set with the names of their classes.

    Parameters
    ----------
    dataset : ImageFolder or Dataset of images
        Values 0-255, or 0-1.
    count : int
        Number of photos.
    columns : int
        Photos per row.
    epoch : int
        Epoch whose order is used.

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
        images += [image * 255 if image.min() >= 0 and image.max() <= 1 else image for image in x]
        titles += [""] * len(x) if y is None else _titles(y, names)
        if len(images) >= count:
            break
    if not images:
        raise DataError("show_batch: expected a data set with images, received none")
    return images_figure(images[:count], titles[:count], min(columns, len(images[:count])))


def _titles(y: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return class names, or numbers where the names are unknown."""
    one_hot = np.ndim(y) == 2 and np.shape(y)[1] == len(names) > 1
    classes = np.argmax(y, axis=1) if one_hot else np.reshape(y, -1).astype(int)
    return [plots.shorter(names[k], 20) if 0 <= k < len(names) else str(k) for k in classes]
