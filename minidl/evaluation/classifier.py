"""Class names, probabilities and predicted classes from the outputs of a classifier.

A classifier has one output of shape (N, K). One column stands for two classes: it holds the
probability, or the logit, of class 1. All modules that name a predicted class use this one rule.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.evaluation.classifier import class_names, predicted_classes, probabilities
>>> model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
>>> outputs = np.array([[0.25]])
>>> class_names(model), probabilities(model, outputs), predicted_classes(model, outputs)
(['class_0', 'class_1'], array([[0.75, 0.25]]), array([0]))
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from minidl import layers, losses
from minidl.models.model import Model

__all__ = [
    "class_count",
    "class_names",
    "color_mode",
    "image_size",
    "missing_activation",
    "predicted_classes",
    "probabilities",
    "threshold",
]


def class_count(model: Model) -> int:
    """Return the number of classes that a classifier distinguishes.

    Raises
    ------
    ValueError
        If the model is not a classifier.
    """
    if not model.single_output or len(model.output_shape) != 2:
        raise ValueError(
            f"{model.label} is not a classifier: expected one output (N, classes), received "
            f"{model.output_shape}"
        )
    return max(2, model.output_shape[1])


def class_names(model: Model) -> list[str]:
    """Return the class names stored in the model's metadata, or generic names.

    Raises
    ------
    ValueError
        If the model is not a classifier, or stores another number of names.
    """
    count = class_count(model)
    names = model.metadata.get("class_names") or [f"class_{i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{model.label}: {len(names)} class names for {count} classes")
    return list(names)


def probabilities(model: Model, outputs: np.ndarray) -> np.ndarray:
    """Return the probability of each class.

    Parameters
    ----------
    model : Model
        A classifier.
    outputs : ndarray, shape (N, K)
        Its outputs: probabilities, or logits (see :func:`threshold`).

    Returns
    -------
    ndarray, shape (N, K), or (N, 2) for one output column

    Raises
    ------
    ValueError
        If the outputs are neither probabilities nor logits.
    """
    activation = missing_activation(model)
    p = outputs if activation is None else activation(outputs)
    clipped = p.clip(0, 1)
    if not np.abs(p - clipped).max(initial=0) <= 1e-6:  # "not <=" also rejects NaN
        raise ValueError(
            f"{model.label}: expected probabilities 0..1, received outputs from {p.min():.3g} to "
            f"{p.max():.3g}. End the model with sigmoid or softmax, or compile it with a loss "
            "that has from_logits=True."
        )
    return np.hstack([1 - clipped, clipped]) if clipped.shape[1] == 1 else clipped


def missing_activation(model: Model) -> layers.Sigmoid | layers.Softmax | None:
    """Return the activation that turns a classifier's logits into probabilities.

    Returns
    -------
    Sigmoid, Softmax or None
        None if the outputs are probabilities already (see :func:`threshold`).
    """
    if not _outputs_logits(model):
        return None
    binary = isinstance(model.trainer and model.loss, losses.BinaryCrossentropy)
    return layers.Sigmoid() if binary or model.output_shape[1] == 1 else layers.Softmax()


def predicted_classes(model: Model, outputs: np.ndarray) -> np.ndarray:
    """Return the predicted class of each sample, as the accuracy metric counts it.

    Parameters
    ----------
    model : Model
        A classifier.
    outputs : ndarray, shape (N, K)

    Returns
    -------
    ndarray of int64, shape (N,)
    """
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > threshold(model)).astype(np.int64)
    return outputs.argmax(axis=1)


def threshold(model: Model) -> float:
    """Return the value above which a single output means class 1: 0 for logits, else 0.5.

    Outputs are logits if the loss has ``from_logits=True``, or if a model that was not compiled
    ends in a layer without activation.
    """
    return 0.0 if _outputs_logits(model) else 0.5


def image_size(model: Model) -> tuple[int, int]:
    """Return height and width, in pixels, of the images that a model accepts.

    Raises
    ------
    ValueError
        If the model does not accept images.
    """
    shape = model.input_shape
    if not model.single_input or len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError(
            f"{model.label} does not take images: expected an input (N, H, W, 1 or 3), received "
            f"{shape}"
        )
    default = model.metadata.get("image_size", (224, 224))
    return shape[1] or default[0], shape[2] or default[1]


def color_mode(model: Model) -> Literal["grayscale", "rgb"]:
    """Return the color mode of the images that a model accepts."""
    return "grayscale" if model.input_shape[3] == 1 else "rgb"


def _outputs_logits(model: Model) -> bool:
    if model.trainer is not None:
        return getattr(model.loss, "from_logits", False)
    last = model.output_tensors[0].layer
    return isinstance(last, layers.Dense) and last.activation is None
