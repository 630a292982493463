"""What a report says of how its model came about: data, training, machine.

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
    """Return how many samples of each class a data set has; None where it does not tell."""
    if isinstance(data, tuple):
        labels = data[1]
    else:
        labels = getattr(data, "labels", None)
        labels = getattr(data, "y", None) if labels is None else labels
    if labels is None:
        return None
    return np.bincount(as_classes(labels, count), minlength=count).tolist()


def data_facts(data: dict[str, Any]) -> dict[str, str]:
    """Return the folders of the parts of the data and what their photos are resized to."""
    facts, sizes = {}, {}
    for part, d in data.items():
        if hasattr(d, "directory"):
            facts[part.capitalize()] = str(d.directory)
        if hasattr(d, "image_shape"):
            height, width, _ = d.image_shape
            sizes[f"{width} \N{MULTIPLICATION SIGN} {height} pixels"] = part
        if getattr(d, "skipped", None):
            facts[f"Unreadable in {part}"] = ", ".join(file for file, _ in d.skipped)
    if sizes:
        facts["Resized to"] = ", ".join(sizes)
    return facts


def training_facts(model, history: Any, train_data: Any) -> dict[str, str]:
    """Return how a model was trained, as far as it, its history and its data tell."""
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


def model_facts(model) -> dict[str, str]:
    """Return the size of a model and of its frozen part."""
    total = model.count_params()
    layers = [layer for layer in model.layers if layer.parameters]
    frozen = [layer for layer in layers if not layer.trainable]
    facts = {"Input": _shape(model.input_shape), "Output": _shape(model.output_shape)}
    facts["Parameters"] = f"{total:,}"
    if frozen:
        held = sum(layer.count_params() for layer in frozen)
        facts["Frozen"] = f"{held:,} of them, in {len(frozen)} of {len(layers)} layers with weights"
    return facts


def machine_facts() -> dict[str, str]:
    """Return versions, hardware and date."""
    known = environment()
    versions = ", ".join(f"{name} {known[name]}" for name in ("python", "numpy", "numba", "pillow"))
    return {
        "minidl": known["minidl"],
        "With": versions.replace("python", "Python").replace("numpy", "NumPy")
        .replace("numba", "Numba").replace("pillow", "Pillow"),
        "Processor": known["processor"],
        "Threads": str(known["threads"]),
        "System": known["machine"],
        "Date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }  # fmt: skip


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(7.04), duration(93), duration(7500)
    ('7.0 s', '1 min 33 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def _learning_rate(rate: Any) -> str:
    if isinstance(rate, (int, float)):
        return f"{rate:g}"
    config = rate.get_config() if hasattr(rate, "get_config") else {}
    numbers = {n: v for n, v in config.items() if isinstance(v, (int, float)) and n != "name"}
    shown = ", ".join(f"{n.replace('_', ' ')} {v:g}" for n, v in numbers.items())
    return f"{type(rate).__name__} ({shown})" if shown else type(rate).__name__


def _shape(shape) -> str:
    return "(" + ", ".join("any" if side is None else str(side) for side in shape[1:]) + ")"
