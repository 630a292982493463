"""The command ``minidl evaluate``: loss, accuracy and confusion matrix on a folder of photos."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from minidl import data
from minidl.cli.options import AddCommand, add_json, positive
from minidl.evaluation.classifier import (
    class_names,
    color_mode,
    image_size,
    probabilities,
    threshold,
)
from minidl.metrics import ConfusionMatrix
from minidl.models.loading import load_model
from minidl.models.model import Model
from minidl.training.logits import final_activation
from minidl.training.shared_inference import shared_outputs

__all__ = ["add_evaluate_command", "evaluate", "print_evaluation"]

LOSSES = {"sigmoid": "binary_crossentropy", "softmax": "sparse_categorical_crossentropy"}


def add_evaluate_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(evaluate, "test a saved model on a folder of photos")
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument("folder", metavar="DIR", help="folder with one folder of photos per class")
    command.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="photos per batch (default: %(default)s)",
    )
    add_json(command)


def evaluate(options: argparse.Namespace) -> None:
    """Test a saved model on a folder of photos."""
    print_evaluation(load_model(options.model), options.folder, options.batch_size, options.json)


def print_evaluation(
    model: Model, folder: str, batch_size: int, as_json: bool = False
) -> dict[str, float]:
    """Print loss, metrics and confusion matrix of a model on a folder of photos.

    Parameters
    ----------
    model : Model
        An image classifier. If it is not compiled, the loss of its sigmoid or softmax is used.
    folder : str
        Folder with one folder of photos per class.
    batch_size : int
        Photos per batch.
    as_json : bool
        Whether to print JSON.

    Returns
    -------
    dict of str to float
        Loss and metrics by name.
    """
    dataset = data.ImageFolder(
        folder,
        image_size=image_size(model),
        batch_size=batch_size,
        shuffle=False,
        class_names=class_names(model) if "class_names" in model.metadata else None,
        color_mode=color_mode(model),
    )
    names = dataset.class_names
    activation = final_activation(model)
    if model.trainer is None and activation in LOSSES:  # saved without loss, as minidl's own model
        model.compile("sgd", LOSSES[activation], metrics=["accuracy"])
    results: dict[str, Any] = model.evaluate(dataset, return_dict=True, verbose=0)
    matrix = _confusion_matrix(model, dataset)
    if as_json:
        print(json.dumps({**results, "class_names": names, "confusion_matrix": matrix.tolist()}))
        return results
    print(f"{folder}: " + ", ".join(f"{name} {value:.4f}" for name, value in results.items()))
    width = max(len(name) for name in names)
    for name, row in zip(names, matrix, strict=True):
        cells = ", ".join(f"{n} as {other}" for n, other in zip(row, names, strict=True))
        print(f"  {name.ljust(width)}: {cells}")
    return results


def _confusion_matrix(model: Model, dataset: data.ImageFolder) -> np.ndarray:
    """Return the confusion matrix, with the threshold that the accuracy metric uses."""
    matrix = ConfusionMatrix(len(dataset.class_names), threshold(model))
    batches = shared_outputs(dataset.batches(0), lambda batch: model.predict_on_batch(batch[0]))
    for (_, y), outputs in batches:
        probabilities(model, outputs)  # raises for a model that is not a classifier
        matrix.update_state(y, outputs)
    return matrix.result()
