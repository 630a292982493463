"""What every weight file comes down to: named layers, each with tensors by role.

The dialects differ in where they keep a tensor and what they call it; readers translate them
into one :class:`WeightFile`, and only :mod:`minidl.formats.matching` knows how that fits a model.

>>> from minidl.formats.weight_file import role_of
>>> role_of("block1_conv1/block1_conv1_W_1:0"), role_of("bn_conv1_running_std_1:0")
('kernel', 'moving_variance')
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "LayerTensors",
    "WeightFile",
    "clean_name",
    "guess_network",
    "kind_and_number",
    "modern_names",
    "role_of",
]

# A tensor's last name, without numbers, ends in one of these. Keras 1 called the moving
# variance "running_std": it holds the variance all the same (fchollet, Keras commit of July 2016).
_ROLES = {
    "depthwise_kernel": "kernel",
    "kernel": "kernel",
    "W": "kernel",
    "bias": "bias",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "running_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "running_std": "moving_variance",
}
# Second kernels, of layers that minidl does not have.
_OTHERS = ("pointwise_kernel", "recurrent_kernel")

# Keras 1 wrote the names of classes without underscores; TensorFlow 1.13 numbered some classes.
_OLD_KINDS = {
    "convolution2d": "conv2d",
    "batchnormalization": "batch_normalization",
    "batch_normalization_v1": "batch_normalization",
    "batch_normalization_v2": "batch_normalization",
    "depthwiseconv2d": "depthwise_conv2d",
}
_RESNET_LAYER = re.compile(r"(res|bn)(\d)([a-z])_branch(1|2a|2b|2c)")
_RESNET_PARTS = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
_RESNET_ENDS = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
_KNOWN_NETWORKS = {
    "block3_conv4": "VGG19",
    "block1_conv1": "VGG16",
    "res2a_branch2a": "ResNet50 of 2016",
    "conv2_block1_1_conv": "a ResNet",
    "block1_conv1_bn": "Xception",
}


@dataclass
class LayerTensors:
    """The tensors of one layer of a file.

    Attributes
    ----------
    name : str
        The layer's own name, without the names of models around it.
    tensors : dict of str to array
        By role, which is the name of minidl's parameter: "kernel", "bias", "gamma", "beta",
        "moving_mean", "moving_variance".
    places : dict of str to str
        For each role, where in the file the tensor lies: for messages.
    scope : str
        The names of the models around the layer, joined by "/"; "" where there is none.
    """

    name: str
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    scope: str = ""


@dataclass
class WeightFile:
    """All that a file holds.

    Attributes
    ----------
    path : Path
    dialect : str
        What kind of file it is, in words for a user: "Keras 2 weights".
    layers : list of LayerTensors
        Those with tensors, in the file's order.
    architecture : dict or None
        The model's configuration as Keras writes it, where the file has one.
    """

    path: Path
    dialect: str
    layers: list[LayerTensors]
    architecture: dict[str, Any] | None = None


def role_of(tensor_name: str) -> str | None:
    """Return the role of a tensor by its name, or None where the name says nothing.

    Only the last part of a path counts; ``:0`` and a trailing number are Keras' bookkeeping.
    """
    name = clean_name(tensor_name)
    if name.endswith(_OTHERS):
        return None
    for ending, role in _ROLES.items():
        if name == ending or name.endswith(f"_{ending}"):
            return role
    return None


def clean_name(tensor_name: str) -> str:
    """Return the last part of a tensor's path without Keras' bookkeeping.

    >>> clean_name("dense/kernel_1:0")
    'kernel'
    """
    last = re.sub(r":\d+$", "", tensor_name.rsplit("/", 1)[-1])
    return re.sub(r"_\d+$", "", last)


def kind_and_number(name: str) -> tuple[str, int]:
    """Take a name such as ``conv2d_17`` apart; the first of a kind may have no number."""
    kind, _, number = name.rpartition("_")
    if not kind or not number.isdecimal() or len(number) > 9:
        kind, number = name, "0"
    return _OLD_KINDS.get(kind, kind), int(number)


def modern_names(entries: list[LayerTensors]) -> Iterator[str]:
    """Yield for each layer its name in today's ResNet50, or its own name.

    The file of 2016 has other names, in another order: going by the order would exchange
    kernels of equal shape without a word.
    """
    old = any(_RESNET_LAYER.fullmatch(entry.name) for entry in entries)
    for entry in entries:
        found = _RESNET_LAYER.fullmatch(entry.name)
        if found:
            kind, stage, block, branch = found.groups()
            number = ord(block) - ord("a") + 1
            part = {"res": "conv", "bn": "bn"}[kind]
            yield f"conv{stage}_block{number}_{_RESNET_PARTS[branch]}_{part}"
        elif entry.name == "probs":
            yield "predictions"
        else:
            yield _RESNET_ENDS.get(entry.name, entry.name) if old else entry.name


def guess_network(entries: list[LayerTensors]) -> str:
    """Return which well-known network a file holds, by its names; "" for others."""
    names = {entry.name for entry in entries}
    found = [network for name, network in _KNOWN_NETWORKS.items() if name in names]
    kinds = Counter(kind_and_number(name)[0] for name in names)
    if not found and kinds["conv2d"] == kinds["batch_normalization"] == 94:
        found = ["InceptionV3"]
    return found[0] if found else ""
