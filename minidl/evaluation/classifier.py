"""What a classifier's outputs mean: class names, probabilities, decisions, the images it takes.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.evaluation.classifier import class_names, decisions, probabilities
>>> model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
>>> outputs = np.array([[0.25]])
>>> class_names(model), probabilities(model, outputs), decisions(model, outputs)
(['class_0', 'class_1'], array([[0.75, 0.25]]), array([0]))
"""

from __future__ import annotations

import numpy as np

from minidl import layers, losses

__all__ = ["class_names", "color_mode", "decisions", "image_size", "probabilities", "threshold"]


def class_names(model) -> list[str]:
    """Return the names that training noted in the model, or made-up ones."""
    if not model.single_output or len(model.output_shape) != 2:
        raise ValueError(f"{model.label} is no classifier: its output is {model.output_shape}")
    outputs = model.output_shape[-1]
    count = 2 if outputs == 1 else outputs
    names = model.metadata.get("class_names") or [f"class_{i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{model.label}: {len(names)} class names for {count} classes")
    return list(names)


def probabilities(model, outputs: np.ndarray) -> np.ndarray:
    """Return what a model's outputs (N, K) say of each class; one output makes two classes.

    Raises
    ------
    ValueError
        If the outputs are neither probabilities nor the logits of the model's loss.
    """
    p = outputs
    if _gives_logits(model):
        yes_or_no = isinstance(model.loss, losses.BinaryCrossentropy)
        p = (layers.Sigmoid() if yes_or_no else layers.Softmax())(outputs)
    within = p.clip(0, 1)
    if not np.abs(p - within).max() <= 1e-6:  # "not <=" holds for NaN, too
        raise ValueError(
            f"{model.label}: expected probabilities 0..1, received outputs from {p.min():.3g} to "
            f"{p.max():.3g}; end the model with sigmoid or softmax, or compile it with a loss "
            "that has from_logits=True"
        )
    return np.hstack([1 - within, within]) if within.shape[1] == 1 else within


def decisions(model, outputs: np.ndarray) -> np.ndarray:
    """Return the predicted class of each row of outputs: integers (N,), as accuracy counts."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > threshold(model)).astype(np.int64)
    return outputs.argmax(axis=1)


def threshold(model) -> float:
    """Return the output above which a model with one output says class 1: logits are cut at 0."""
    return 0.0 if _gives_logits(model) else 0.5


def image_size(model) -> tuple[int, int]:
    """Return height and width of the images that a model takes."""
    shape = model.input_shape
    if not model.single_input or len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError(f"{model.label} does not take images: its input is {shape}")
    default = model.metadata.get("image_size", (224, 224))
    return shape[1] or default[0], shape[2] or default[1]


def color_mode(model) -> str:
    """Return "grayscale" or "rgb", as ``load_image`` takes it."""
    return "grayscale" if model.input_shape[3] == 1 else "rgb"


def _gives_logits(model) -> bool:
    return model.trainer is not None and getattr(model.loss, "from_logits", False)
