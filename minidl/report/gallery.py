"""Photos of a report: small JPEG images embedded in the page, with Grad-CAM overlays.

>>> import numpy as np
>>> from minidl.report.gallery import as_jpeg
>>> as_jpeg(np.zeros((8, 8, 3), np.uint8))[:23]
'data:image/jpeg;base64,'
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from minidl.evaluation.explain import grad_cam, overlay
from minidl.models.model import Model
from minidl.report.predictions import TestSet
from minidl.report.statistics import Predictions

__all__ = ["Photo", "as_jpeg", "photos", "shows_images"]

SIDE = 320  # pixels of the longer side: sharp on a phone, about 15 kB as JPEG


@dataclass(frozen=True)
class Photo:
    """One tile of the gallery.

    Attributes
    ----------
    name, true, predicted : str
        File, true class and predicted class.
    confidence, true_probability : float
        Probabilities of the predicted and of the true class.
    width, height : int
        Size in pixels.
    image : str
        Photo as a data URI.
    overlay : str or None
        Photo with its Grad-CAM map as a data URI; None if the model has no feature maps.
    """

    name: str
    true: str
    predicted: str
    confidence: float
    true_probability: float
    width: int
    height: int
    image: str
    overlay: str | None


def shows_images(model: Model) -> bool:
    """Return whether a model accepts grayscale or RGB images."""
    return model.single_input and len(model.input_shape) == 4 and model.input_shape[3] in (1, 3)


def photos(model: Model, test: TestSet, predictions: Predictions, rows: list[int]) -> list[Photo]:
    """Return the photos of some samples, with Grad-CAM maps of the predicted class."""
    if not rows:
        return []
    inputs = test.inputs(rows)
    heatmaps: Sequence[np.ndarray | None] = [None] * len(rows)
    with contextlib.suppress(ValueError):  # a model without feature maps, such as a dense one
        heatmaps = list(grad_cam(model, inputs, class_index=predictions.predicted[rows]))
    return [
        _photo(predictions, row, test.photo(row, image), heatmap)
        for row, image, heatmap in zip(rows, inputs, heatmaps, strict=True)
    ]


def as_jpeg(pixels: np.ndarray) -> str:
    """Return an image (H, W, 3) of uint8 as a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _photo(
    predictions: Predictions, row: int, photo: np.ndarray, heatmap: np.ndarray | None
) -> Photo:
    height, width = photo.shape[:2]
    side = max(height, width)
    scale = min(SIDE / side, max(1, SIDE // 2 / side))  # enlarge small photos to half of SIDE
    size = max(1, round(scale * width)), max(1, round(scale * height))
    pixels = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
    explained = None
    if heatmap is not None:
        resized = Image.fromarray(heatmap).resize(size, Image.Resampling.BILINEAR)
        explained = as_jpeg(overlay(pixels, np.asarray(resized).clip(0, 1)))
    true, predicted = predictions.labels[row], predictions.predicted[row]
    return Photo(
        name=predictions.names[row],
        true=predictions.class_names[true],
        predicted=predictions.class_names[predicted],
        confidence=float(predictions.probabilities[row, predicted]),
        true_probability=float(predictions.probabilities[row, true]),
        width=size[0],
        height=size[1],
        image=as_jpeg(pixels),
        overlay=explained,
    )
