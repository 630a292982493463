"""The common form of all weight files: named layers with tensors by role.

The dialects differ in where they store a tensor and how they name it. Readers translate them into
one :class:`WeightFile`; :mod:`minidl.formats.matching` assigns its tensors to a model.

>>> from minidl.formats.weight_file import role_of
>>> role_of("block1_conv1/block1_conv1_W_1:0"), role_of("bn_conv1_running_std_1:0")
('kernel', 'moving_variance')
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.renaming import known_difference, minidl_names

__all__ = [
    "LayerTable",
    "LayerTensors",
    "WeightFile",
    "clean_name",
    "guess_network",
    "kind_and_number",
    "modern_names",
    "role_of",
]

# Roles by the end of a tensor's name. Keras 1 called the moving variance "running_std": it holds
# the variance all the same (fchollet, Keras commit of July 2016).
_ROLES = {
    "depthwise_kernel": "kernel",
    "kernel": "kernel",
    "W": "kernel",
    "bias": "bias",
    "b": "bias",
    "alpha": "alpha",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "running_mean": "moving_mean",
    "moving_variance": "moving_variance",
    "running_std": "moving_variance",
    # Normalization
    "mean": "mean",
    "variance": "variance",
    "count": "count",
}
# Second kernels of layers that minidl does not have.
_UNSUPPORTED = ("pointwise_kernel", "recurrent_kernel")

# Keras 1 wrote class names without underscores; TensorFlow 1.13 numbered some classes.
_FORMER_KINDS = {
    "convolution2d": "conv2d",
    "batchnormalization": "batch_normalization",
    "batch_normalization_v1": "batch_normalization",
    "batch_normalization_v2": "batch_normalization",
    "depthwiseconv2d": "depthwise_conv2d",
}
_RESNET_LAYER = re.compile(r"(res|bn)(\d)([a-z])_branch(1|2a|2b|2c)")
_RESNET_BRANCHES = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
_RESNET_ENDS = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
_KNOWN_NETWORKS = {
    "block3_conv4": "VGG19",
    "block1_conv1": "VGG16",
    "res2a_branch2a": "ResNet50 of 2016",
    "conv2_block1_1_conv": "a ResNet",
    "layer1.0.conv1": "a ResNet of torchvision",
    "_blocks.0._depthwise_conv": "an EfficientNet",
    "block1_conv1_bn": "Xception",
}


@dataclass
class LayerTensors:
    """The tensors of one layer of a file.

    Attributes
    ----------
    name : str
        The layer's own name, without the names of enclosing models.
    tensors : dict of str to array
        Tensors by role. A role is the name of minidl's parameter: "kernel", "bias", "gamma",
        "beta", "moving_mean", "moving_variance".
    places : dict of str to str
        The path of each tensor inside the file by role, for messages.
    scope : str
        The names of the enclosing models, joined by "/"; "" without any.
    """

    name: str
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    scope: str = ""


class LayerTable:
    """The layers of a file while it is read, in the file's order."""

    def __init__(self) -> None:
        self._layers: dict[tuple[str, str], LayerTensors] = {}

    @property
    def layers(self) -> list[LayerTensors]:
        """The layers that have tensors."""
        return list(self._layers.values())

    def add(self, scope: str, name: str, role: str, tensor: np.ndarray, place: str) -> None:
        """Add one tensor to the layer `name`; refuse a second one of the same role."""
        layer = self._layers.setdefault((scope, name), LayerTensors(name, scope=scope))
        if role in layer.tensors:
            raise FileFormatError(
                f"layer {name!r}: expected one tensor {role!r}, received two: "
                f"{layer.places[role]!r} and {place!r}"
            )
        layer.tensors[role], layer.places[role] = tensor, place


@dataclass
class WeightFile:
    """The content of a weight file.

    Attributes
    ----------
    path : Path
    dialect : str
        The kind of file as shown to users: "Keras 2 weights".
    layers : list of LayerTensors
        The layers that have tensors, in the file's order.
    architecture : dict or None
        The model's configuration as Keras writes it, where the file has one.
    ignored : tuple of str
        Entries of the file that are not weights, such as the counters of PyTorch's
        normalizations.
    channels_first : bool
        Whether the network that wrote the file has its channels before rows and columns, as
        PyTorch's; it flattens features in that order.
    """

    path: Path
    dialect: str
    layers: list[LayerTensors]
    architecture: Mapping[str, Any] | None = None
    ignored: tuple[str, ...] = ()
    channels_first: bool = False

    @property
    def label(self) -> str:
        """The path with the dialect, for messages."""
        return f"{self.path} ({self.dialect})"


def role_of(tensor_name: str) -> str | None:
    """Return the role of a tensor by its name, or None for an unknown name.

    Only the last component of a path counts, without Keras' suffixes ``:0`` and ``_1``.
    """
    name = clean_name(tensor_name)
    if name.endswith(_UNSUPPORTED):
        return None
    for ending, role in _ROLES.items():
        if name == ending or name.endswith(f"_{ending}"):
            return role
    return None


def clean_name(tensor_name: str) -> str:
    """Return the last component of a tensor's path without Keras' suffixes.

    >>> clean_name("dense/kernel_1:0")
    'kernel'
    """
    last = re.sub(r":\d+$", "", tensor_name.rsplit("/", 1)[-1])
    return re.sub(r"_\d+$", "", last)


def kind_and_number(name: str) -> tuple[str, int]:
    """Split a name such as ``conv2d_17``; a name without a number has number 0."""
    kind, _, number = name.rpartition("_")
    if not kind or not number.isdecimal() or len(number) > 9:
        kind, number = name, "0"
    return _FORMER_KINDS.get(kind, kind), int(number)


def modern_names(entries: list[LayerTensors]) -> Iterator[str]:
    """Yield for each layer its name in minidl's networks, or its own name.

    PyTorch's networks have other names, see :mod:`minidl.formats.pytorch.renaming`. The ResNet50
    file of 2016 has other names in another order. Loading it by position would silently exchange
    kernels of equal shape. In MobileNetV3, "expanded_conv/depthwise/BatchNorm" of Keras 2 became
    "expanded_conv_depthwise_bn".
    """
    known = minidl_names(entry.name for entry in entries)
    is_mobilenet_v3 = any(entry.name == "expanded_conv_depthwise_BatchNorm" for entry in entries)
    is_former = any(_RESNET_LAYER.fullmatch(entry.name) for entry in entries)
    for entry in entries:
        found = _RESNET_LAYER.fullmatch(entry.name)
        if entry.name in known:
            yield known[entry.name]
        elif found:
            kind, stage, block, branch = found.groups()
            number = ord(block) - ord("a") + 1
            part = {"res": "conv", "bn": "bn"}[kind]
            yield f"conv{stage}_block{number}_{_RESNET_BRANCHES[branch]}_{part}"
        elif is_mobilenet_v3:
            yield entry.name.replace("_BatchNorm", "_bn").lower()
        elif entry.name == "probs":
            yield "predictions"
        else:
            yield _RESNET_ENDS.get(entry.name, entry.name) if is_former else entry.name


def guess_network(entries: list[LayerTensors]) -> str:
    """Return the well-known network that a file seems to hold by its names; "" for others."""
    names = {entry.name for entry in entries}
    kinds = Counter(kind_and_number(name)[0] for name in names)
    different = known_difference(names)
    if different:
        return different
    for name, network in _KNOWN_NETWORKS.items():
        if name in names:
            return network
    is_inception = kinds["conv2d"] == kinds["batch_normalization"] == 94
    return "InceptionV3" if is_inception else ""
