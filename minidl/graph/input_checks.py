"""What a network says of data that do not fit it.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> Sequential([Input((3,)), layers.Dense(1)]).predict(np.zeros(3))
Traceback (most recent call last):
    ...
minidl.common.errors.ShapeError: Sequential 'sequential': input 'input_layer' expected shape \
(None, 3), received (3,); for a single sample add the batch axis: x[None]
"""

from __future__ import annotations

import numpy as np

from minidl.common.errors import ShapeError
from minidl.graph.node import Node

__all__ = ["check_inputs", "check_shape", "full_shapes", "unknown_layer"]


def check_inputs(network, x) -> list[np.ndarray]:
    """Return the inputs as a list of arrays in the network's dtype, or say what is wrong."""
    xs = [x] if network.single_input else list(x)
    if len(xs) != len(network.input_tensors):
        raise ShapeError(
            f"{network.label}: expected {len(network.input_tensors)} inputs, received {len(xs)}"
        )
    arrays = []
    for item, number in zip(xs, network.input_numbers, strict=True):
        array = np.asarray(item)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{network.label}: expected numbers, received dtype {array.dtype}")
        check_shape(network, network.nodes[number], array.shape)
        arrays.append(np.ascontiguousarray(array, network.tensors[number].dtype))
    if len({len(array) for array in arrays}) > 1:
        raise ShapeError(f"{network.label}: the inputs have different numbers of samples")
    return arrays


def check_shape(network, node: Node, shape) -> None:
    """Raise ShapeError unless data of `shape` fits the model input at `node`."""
    fits = len(shape) == len(node.shape) and all(
        have == want or have is None or want is None
        for have, want in zip(shape, node.shape, strict=True)
    )
    if fits:
        return
    hint = ""
    if tuple(shape) == tuple(node.shape[1:]):
        hint = "; for a single sample add the batch axis: x[None]"
    raise ShapeError(
        f"{network.label}: input {node.layer.name!r} expected shape {node.shape}, "
        f"received {tuple(shape)}{hint}"
    )


def full_shapes(network, batch_size: int, input_shape) -> list[tuple[int, ...]]:
    """Return the inputs' shapes with no size left open."""
    given = [tensor.shape[1:] for tensor in network.input_tensors]
    if input_shape is not None:
        given = [input_shape] if network.single_input else input_shape
    shapes = [(batch_size, *shape) for shape in given]
    for number, shape in zip(network.input_numbers, shapes, strict=True):
        check_shape(network, network.nodes[number], shape)
        if None in shape:
            raise ShapeError(f"{network.label}: sizes are open; give input_shape=(H, W, C)")
    return shapes


def unknown_layer(network, name: str) -> str:
    """Say that there is no layer `name`, and which there are."""
    names = [layer.name for layer in network.layers]
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{network.label}: there is no layer {name!r}; its layers are: {shown}"
