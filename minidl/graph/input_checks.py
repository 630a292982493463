"""Input validation: number of inputs, shapes, dtypes, batch sizes and finite values.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> Sequential([Input((3,)), layers.Dense(1)]).predict(np.zeros(3))
Traceback (most recent call last):
    ...
minidl.common.errors.ShapeError: Sequential 'sequential': input 'input_layer' expected shape \
(None, 3), received (3,). For a single sample add the batch axis: x[None]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.common.errors import DataError, ShapeError
from minidl.graph.node import Node
from minidl.layers.base import Shape

if TYPE_CHECKING:
    from minidl.graph.assembly import Graph

__all__ = ["check_finite", "check_inputs", "check_shape", "full_shapes", "unwrap_single_input"]


def check_inputs(graph: Graph, x: Any, require_finite: bool = False) -> list[np.ndarray]:
    """Return the inputs as a list of C-contiguous arrays in the graph's dtypes.

    Parameters
    ----------
    graph : Graph
    x : array_like, or list of array_like
        One array for each input, batch first.
    require_finite : bool
        Whether NaN and infinity are refused.

    Raises
    ------
    ShapeError
        If the number of inputs, a shape or the number of samples does not fit.
    TypeError
        If an input is not numeric.
    DataError
        If an input is not finite.
    """
    xs = [unwrap_single_input(graph.label, x)] if graph.single_input else list(x)
    if len(xs) != len(graph.input_tensors):
        raise ShapeError(
            f"{graph.label}: expected {len(graph.input_tensors)} inputs, received {len(xs)}"
        )
    arrays = []
    for item, number in zip(xs, graph.input_numbers, strict=True):
        array = np.asarray(item)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{graph.label}: expected numbers, received dtype {array.dtype}")
        check_shape(graph, graph.nodes[number], array.shape)
        arrays.append(np.ascontiguousarray(array, graph.tensors[number].dtype))
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ShapeError(
            f"{graph.label}: expected equal numbers of samples in all inputs, received {lengths}"
        )
    if require_finite:
        check_finite(arrays)
    return arrays


def unwrap_single_input(label: str, x: Any) -> Any:
    """Return the array of ``[array]``, which Keras accepts for a single input, else `x`."""
    if not isinstance(x, (list, tuple)) or not x:
        return x
    if not all(isinstance(part, np.ndarray) for part in x):
        return x
    if len(x) > 1:
        raise ShapeError(
            f"{label}: expected one array, received a list of {len(x)}. "
            "np.stack(samples) returns one array."
        )
    return x[0]


def check_finite(x: Any) -> None:
    """Raise DataError if an input contains NaN or infinity, with the number of the first sample.

    Parameters
    ----------
    x : array or list of arrays
    """
    for item in x if isinstance(x, (list, tuple)) else [x]:
        array = np.atleast_1d(item)
        with np.errstate(over="ignore", invalid="ignore"):
            if array.dtype.kind != "f" or np.isfinite(array.sum()):
                continue
        for i, sample in enumerate(array):  # finite numbers may overflow in the sum
            if not np.isfinite(sample).all():
                raise DataError(f"sample {i} of the batch contains NaN or infinite values")


def check_shape(graph: Graph, node: Node, shape: Shape) -> None:
    """Raise ShapeError unless data of `shape` fit the input at `node`; None fits any size."""
    if len(shape) == len(node.shape) and all(
        size == wanted or size is None or wanted is None
        for size, wanted in zip(shape, node.shape, strict=True)
    ):
        return
    hint = ""
    if tuple(shape) == tuple(node.shape[1:]):
        hint = ". For a single sample add the batch axis: x[None]"
    raise ShapeError(
        f"{graph.label}: input {node.layer.name!r} expected shape {node.shape}, "
        f"received {tuple(shape)}{hint}"
    )


def full_shapes(
    graph: Graph, batch_size: int, input_shape: Sequence[Any] | None
) -> list[tuple[int, ...]]:
    """Return the shapes of all inputs without open sizes.

    Parameters
    ----------
    graph : Graph
    batch_size : int
    input_shape : tuple of int, or list of tuples for several inputs, or None
        Without the batch; None for the shapes of the graph.

    Raises
    ------
    ShapeError
        If a size stays open, or `input_shape` does not fit.
    """
    samples: Sequence[Any] = [tensor.shape[1:] for tensor in graph.input_tensors]
    if input_shape is not None:
        samples = [input_shape] if graph.single_input else input_shape
    shapes = [(batch_size, *shape) for shape in samples]
    for number, shape in zip(graph.input_numbers, shapes, strict=True):
        check_shape(graph, graph.nodes[number], shape)
        if None in shape:
            raise ShapeError(
                f"{graph.label}: expected known sizes, received {shape}. "
                "Pass input_shape=(H, W, C)."
            )
    return shapes
