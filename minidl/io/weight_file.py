"""What every weight file comes down to: named layers, each with tensors by role.

The dialects differ in where they keep a tensor and what they call it; readers translate them
into one :class:`WeightFile`, and only :mod:`minidl.io.matching` knows how that fits a model.

>>> from minidl.io.weight_file import role_of
>>> role_of("block1_conv1/block1_conv1_W_1:0"), role_of("bn_conv1_running_std_1:0")
('kernel', 'moving_variance')
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LayerTensors", "WeightFile", "role_of"]

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
        What kind of file it is, in words for a user: "Keras 2 weights (HDF5)".
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
    last = re.sub(r":\d+$", "", tensor_name.rsplit("/", 1)[-1])
    last = re.sub(r"_\d+$", "", last)
    for ending, role in _ROLES.items():
        if last == ending or last.endswith(f"_{ending}"):
            return role
    return None
