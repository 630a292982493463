"""Symbolic tensors: what ``Input`` and layer calls return while a graph is built.

>>> from minidl import Input, layers
>>> x = Input((8, 8, 3))
>>> layers.Conv2D(4, 3)(x).shape
(None, 6, 6, 4)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from minidl.common.errors import ShapeError
from minidl.layers.base import Layer, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Input", "InputLayer", "SymbolicTensor"]

_serial_numbers = itertools.count()


class SymbolicTensor:
    """A tensor without numbers: a shape, a dtype, and the layer call that produces it.

    Parameters
    ----------
    shape : tuple of int or None
        Batch first; None is an open size.
    dtype : dtype_like
    layer : Layer
        The layer that produces the tensor.
    inputs : tuple of SymbolicTensor
        The inputs of that layer.

    Attributes
    ----------
    inlined : tuple of minidl.graph.assembly.Inlined
        Networks that were called to produce this tensor, and whose layers were inlined.
    serial : int
        Grows with each tensor. A tensor is created after its inputs, so that sorting by this
        number is a topological order.
    """

    def __init__(
        self, shape: Shape, dtype: DTypeLike, layer: Layer, inputs: tuple[SymbolicTensor, ...] = ()
    ):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.layer = layer
        self.inputs = inputs
        self.inlined: tuple[Any, ...] = ()
        self.serial = next(_serial_numbers)

    def connect(self, layer: Layer, inputs: Any) -> SymbolicTensor:
        """Call `layer` on symbolic `inputs`: build it and return its symbolic output."""
        tensors = tuple(inputs) if isinstance(inputs, (list, tuple)) else (inputs,)
        if any(not isinstance(tensor, SymbolicTensor) for tensor in tensors):
            raise TypeError(f"{layer.label}: expected symbolic tensors only, received {inputs!r}")
        if not layer.capabilities.accepts_list and len(tensors) != 1:
            raise ShapeError(f"{layer.label}: expected one tensor, received {len(tensors)}")
        shape = layer.as_input([tensor.shape for tensor in tensors])
        dtype = np.result_type(*(tensor.dtype for tensor in tensors))
        layer.ensure_built(shape, dtype)
        output_shape = layer.compute_output_shape(shape)
        return SymbolicTensor(output_shape, layer.dtype or dtype, layer, tensors)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"symbolic output of {self.layer.label}: expected an array, received a tensor without "
            "numbers. Make a Model of it and call that on arrays."
        )

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.shape} {self.dtype} from {self.layer.label}>"


class InputLayer(Layer):
    """The input of a model.

    Parameters
    ----------
    shape : tuple of int or None
        Shape of one sample.
    dtype : {"float32", "float64"}
    **kwargs
        See :class:`Layer`.
    """

    capabilities = Capabilities(
        ignores_training=True, identity_in_inference=True, independent_samples=True
    )

    def __init__(self, shape: Sequence[int | None], dtype: str = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.shape = (None, *(None if size is None else int(size) for size in shape))
        if any(size is not None and size < 1 for size in self.shape):
            raise ShapeError(f"{self.label}: expected sizes >= 1 or None, received {tuple(shape)}")
        self.built = True

    def forward(
        self, x: np.ndarray, training: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, None]:
        return x, None

    def backward(
        self, dy: np.ndarray, cache: None, need_dx: bool = True
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        return dy, []


def Input(
    shape: Sequence[int | None], name: str | None = None, dtype: str = "float32"
) -> SymbolicTensor:
    """Return the symbolic input of a model.

    Parameters
    ----------
    shape : tuple of int or None
        Shape of one sample, without the batch; None for an open size.
    name : str, optional
        Name of the InputLayer.
    dtype : {"float32", "float64"}
        Dtype in which the model computes.

    Returns
    -------
    SymbolicTensor

    Raises
    ------
    ShapeError
        If `shape` is no tuple, or a size is below 1.

    Examples
    --------
    >>> from minidl import Input
    >>> Input((None, None, 3)).shape
    (None, None, None, 3)
    """
    if isinstance(shape, (int, np.integer)):
        raise ShapeError(f"Input: expected a tuple such as ({shape},), received {shape}")
    layer = InputLayer(tuple(shape), name=name, dtype=dtype)
    return SymbolicTensor(layer.shape, dtype, layer)
