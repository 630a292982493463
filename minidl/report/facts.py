"""Facts about data, training, model and machine for a report.

>>> import numpy as np
>>> from minidl.report.facts import class_counts
>>> class_counts((np.zeros((3, 2)), np.array([0, 1, 1])), 2)
[1, 2]
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from minidl.common.environment import environment
from minidl.models.model import Model
from minidl.report.predictions import as_classes

__all__ = [
    "class_counts",
    "data_facts",
    "duration",
    "machine_facts",
    "model_facts",
    "training_facts",
]


def class_counts(data: Any, count: int) -> list[int] | None:
    """Return the number of samples per class of a data set; None if its labels are unknown."""
    labels = data[1] if isinstance(data, tuple) else getattr(data, "labels", None)
    labels = getattr(data, "y", None) if labels is None else labels
    if labels is None:
        return None
    return np.bincount(as_classes(labels, count), minlength=count).tolist()


def data_facts(data: dict[str, Any]) -> dict[str, str]:
    """Return the folders of the data, unreadable files, and the size of resized photos."""
    facts, sizes = {}, {}
    for part, dataset in data.items():
        if hasattr(dataset, "directory"):
            facts[part.capitalize()] = str(dataset.directory)
        if hasattr(dataset, "image_shape"):
            height, width, _ = dataset.image_shape
            sizes[f"{width} \N{MULTIPLICATION SIGN} {height} pixels"] = part
        if getattr(dataset, "skipped", None):
            facts[f"Unreadable in {part}"] = ", ".join(file for file, _ in dataset.skipped)
    if sizes:
        facts["Resized to"] = ", ".join(sizes)
    return facts


def training_facts(model: Model, history: Any, train_data: Any) -> dict[str, str]:
    """Return the settings and the duration of a training, as far as they are known."""
    facts = {}
    if model.epochs_seen:
        facts["Epochs"] = str(model.epochs_seen)
    if hasattr(train_data, "batch_size"):
        facts["Batch size"] = str(train_data.batch_size)
    if model.trainer is not None:
        facts["Optimizer"] = type(model.optimizer).__name__
        facts["Learning rate"] = _learning_rate(model.optimizer.learning_rate)
        facts["Loss"] = getattr(model.loss, "name", type(model.loss).__name__).replace("_", " ")
    seconds = getattr(history, "seconds", 0)
    if seconds:
        resumed = getattr(history, "params", {}).get("resume")
        facts["Time"] = duration(seconds) + (", since it was resumed" if resumed else "")
    if hasattr(train_data, "seed"):
        facts["Seed of order and split"] = str(train_data.seed)
    facts["Seed of the model"] = str(model.seed)
    return facts


def model_facts(model: Model) -> dict[str, str]:
    """Return the shapes and the number of parameters of a model, in total and frozen."""
    layers = [layer for layer in model.layers if layer.parameters]
    frozen = [layer for layer in layers if not layer.trainable]
    facts = {
        "Input": _shape(model.input_shape),
        "Output": _shape(model.output_shape),
        "Parameters": f"{model.count_params():,}",
    }
    if frozen:
        count = sum(layer.count_params() for layer in frozen)
        facts["Frozen"] = f"{count:,} parameters, in {len(frozen)} of {len(layers)} layers"
    return facts


def machine_facts() -> dict[str, str]:
    """Return versions, hardware and date."""
    known = environment()
    packages = ("Python", "NumPy", "Numba", "Pillow")
    return {
        "minidl": known["minidl"],
        "With": ", ".join(f"{name} {known[name.lower()]}" for name in packages),
        "Processor": known["processor"],
        "Threads": str(known["threads"]),
        "System": known["machine"],
        "Date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }


def duration(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> duration(7.04), duration(93), duration(7500)
    ('7.0 s', '1 min 33 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _learning_rate(rate: Any) -> str:
    if isinstance(rate, (int, float)):
        return f"{rate:g}"
    config = rate.get_config() if hasattr(rate, "get_config") else {}
    numbers = {n: v for n, v in config.items() if isinstance(v, (int, float))}
    shown = ", ".join(f"{n.replace('_', ' ')} {v:g}" for n, v in numbers.items())
    return f"{type(rate).__name__} ({shown})" if shown else type(rate).__name__


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape[1:]) + ")"
