"""The photos of a report: small JPEGs within the page, each with its Grad-CAM overlay.

>>> import numpy as np
>>> from minidl.report.gallery import as_jpeg
>>> as_jpeg(np.zeros((8, 8, 3), np.uint8))[:23]
'data:image/jpeg;base64,'
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from minidl.evaluation.explain import grad_cam, overlay
from minidl.report.predictions import TestSet
from minidl.report.statistics import Answers

__all__ = ["Photo", "as_jpeg", "photos", "shows_images"]

SIDE = 320  # pixels of the longer side: sharp on a phone, some 15 kB as JPEG


@dataclass(frozen=True)
class Photo:
    """One tile of the gallery.

    Attributes
    ----------
    row : int
        Of the test set.
    name, true, predicted : str
    certainty, own : float
        The probabilities of the predicted and of the right class.
    width, height : int
    image : str
        A data URI.
    overlay : str or None
        A data URI; None where the model has no map of features to look at.
    """

    row: int
    name: str
    true: str
    predicted: str
    certainty: float
    own: float
    width: int
    height: int
    image: str
    overlay: str | None

    @property
    def right(self) -> bool:
        return self.true == self.predicted


def shows_images(model) -> bool:
    """Whether a model takes grey or RGB images, which people can look at."""
    return model.single_input and len(model.input_shape) == 4 and model.input_shape[3] in (1, 3)


def photos(model, test: TestSet, answers: Answers, rows: list[int]) -> list[Photo]:
    """Return the photos of some rows of the test set, with what spoke for the predicted class."""
    if not rows:
        return []
    inputs = test.inputs(rows)
    maps = _maps(model, inputs, answers.decided[rows])
    return [
        _photo(test, answers, row, image, heatmap)
        for row, image, heatmap in zip(rows, inputs, maps, strict=True)
    ]


def as_jpeg(pixels: np.ndarray) -> str:
    """Return an image (H, W, 3) of uint8 as a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _maps(model, inputs: np.ndarray, classes: np.ndarray) -> list:
    try:
        return list(grad_cam(model, inputs, class_index=classes))
    except ValueError:  # a model without maps of features, such as a dense one
        return [None] * len(inputs)


def _photo(test: TestSet, answers: Answers, row: int, image, heatmap) -> Photo:
    picture = Image.fromarray(test.photo(row, image))
    scale = min(SIDE / max(picture.size), max(1, SIDE // 2 / max(picture.size)))
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    pixels = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
    covered = None
    if heatmap is not None:
        stretched = Image.fromarray(heatmap).resize(size, Image.Resampling.BILINEAR)
        covered = as_jpeg(overlay(pixels, np.asarray(stretched).clip(0, 1)))
    probabilities = answers.probabilities[row]
    true, predicted = answers.labels[row], answers.decided[row]
    return Photo(
        row=row,
        name=answers.names[row],
        true=answers.class_names[true],
        predicted=answers.class_names[predicted],
        certainty=float(probabilities[predicted]),
        own=float(probabilities[true]),
        width=size[0],
        height=size[1],
        image=as_jpeg(pixels),
        overlay=covered,
    )
