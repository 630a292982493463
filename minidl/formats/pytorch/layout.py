"""Layouts of PyTorch's tensors, translated from channels-first to minidl's channels-last.

PyTorch stores the kernel of a convolution as (out, in, height, width) and that of a dense layer as
(out, in); minidl as (height, width, in, out) and (in, out). Two cases depend on the model:

- A depthwise kernel is, for PyTorch, that of a convolution in groups: (channels * m, 1, height,
  width). minidl's DepthwiseConv2D has (height, width, channels, m).
- PyTorch flattens features in the order (channel, row, column), minidl in (row, column, channel).
  The rows of the next dense kernel move accordingly.

>>> import numpy as np
>>> from minidl.formats.pytorch.layout import to_channels_last
>>> to_channels_last(np.zeros((8, 3, 5, 5)), "kernel").shape
(5, 5, 3, 8)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.weight_file import LayerTensors
from minidl.graph.network import Network
from minidl.layers.base import Layer, Shape
from minidl.layers.convolution import DepthwiseConv2D
from minidl.layers.dense import Flatten, Reshape
from minidl.layers.parameter import Parameter

__all__ = ["fit_to_layer", "flattened_features", "shape_in_file", "to_channels_last"]

_AXES = {2: (1, 0), 4: (2, 3, 1, 0)}  # of a kernel, by rank
_UNKNOWN: Shape = ()


def to_channels_last(array: np.ndarray, role: str) -> np.ndarray:
    """Return a tensor of a state dict with the axes in minidl's order."""
    if role != "kernel":
        return array
    return np.ascontiguousarray(array.transpose(_AXES[array.ndim]))


def shape_in_file(layer: Layer, parameter: Parameter) -> Shape:
    """Return the shape of a parameter after :func:`to_channels_last` alone.

    It differs from the parameter's for the kernels of depthwise convolutions.
    """
    if isinstance(layer, DepthwiseConv2D) and parameter.name == "kernel":
        height, width, channels, multiplier = parameter.shape
        return height, width, 1, channels * multiplier
    return parameter.shape


def flattened_features(network: Network) -> dict[int, Shape]:
    """Return the shape (H, W, C) of the features that a layer receives flattened, by layer id.

    Only layers with parameters and features of more than one pixel are included. The shape is ()
    if the layer's features are a mixture of several flattened ones.
    """
    found: dict[int, Shape] = {}
    origins: dict[int, Shape] = {}  # by number of the node
    for number, node in enumerate(network.nodes):
        before = [network.nodes[i].shape for i in node.inputs]
        shapes = {origins[i] for i in node.inputs if i in origins}
        if isinstance(node.layer, (Flatten, Reshape)) and len(before[0]) == 4:
            height, width, _ = before[0][1:]
            if len(node.shape) == 2 and height * width > 1:
                origins[number] = before[0][1:]
        elif shapes:
            is_one = len(shapes) == 1 and set(before) == {node.shape}
            shape = shapes.pop() if is_one or len(before) == 1 else _UNKNOWN
            if node.layer.parameters:
                found[id(node.layer)] = shape
            if is_one or len(before) > 1:
                origins[number] = shape
    return found


def fit_to_layer(layer: Layer, entry: LayerTensors, flattened: Mapping[int, Shape]) -> LayerTensors:
    """Return the tensors of a state dict's layer in the layout of the model's `layer`.

    Parameters
    ----------
    layer : Layer
    entry : LayerTensors
        Its tensors have minidl's axes, see :func:`to_channels_last`.
    flattened : dict of int to tuple
        The result of :func:`flattened_features`.

    Raises
    ------
    FileFormatError
        If the order of flattened features is unknown.
    """
    tensors = dict(entry.tensors)
    kernel = tensors.get("kernel")
    if isinstance(layer, DepthwiseConv2D) and kernel is not None:
        (own,) = (parameter for parameter in layer.parameters if parameter.name == "kernel")
        if kernel.shape == shape_in_file(layer, own):
            tensors["kernel"] = kernel.reshape(own.shape)
    elif id(layer) in flattened:
        shape = flattened[id(layer)]
        if shape == _UNKNOWN:
            raise FileFormatError(
                f"layer {layer.name!r}: expected features flattened from one tensor, received a "
                "mixture, whose order in PyTorch is unknown"
            )
        tensors = {
            role: _unflattened(array, shape) if len(array) == math.prod(shape) else array
            for role, array in tensors.items()
        }
    return replace(entry, tensors=tensors)


def _unflattened(array: np.ndarray, shape: Shape) -> np.ndarray:
    """Reorder the first axis from (channel, row, column) to (row, column, channel)."""
    height, width, channels = shape
    planes = array.reshape(channels, height, width, *array.shape[1:])
    return np.ascontiguousarray(np.moveaxis(planes, 0, 2)).reshape(array.shape)
