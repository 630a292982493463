"""Symbolic tensors: what ``Input`` returns, what layers are called on to build a graph.

>>> from minidl import Input, layers
>>> x = Input((8, 8, 3))
>>> layers.Conv2D(4, 3)(x).shape
(None, 6, 6, 4)
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.layers.base import Layer, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Input", "InputLayer", "SymbolicTensor"]

_serial_numbers = itertools.count()


class SymbolicTensor:
    """A tensor without numbers: its shape, and the layer and tensors that it comes from.

    Attributes
    ----------
    shape : tuple of int or None
        The batch comes first and is None.
    dtype : numpy.dtype
    layer : Layer
        The producer.
    inputs : tuple of SymbolicTensor
        What the producer was called on.
    inlined : tuple of minidl.graph.assembly.Inlined
        The networks that were called to make this tensor and whose layers were inlined.
    """

    def __init__(self, shape: Shape, dtype, layer: Layer, inputs: tuple[SymbolicTensor, ...] = ()):
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.layer = layer
        self.inputs = inputs
        self.inlined: tuple[Any, ...] = ()
        # A tensor is made after all that it depends on: this number sorts any graph.
        self.serial = next(_serial_numbers)

    def connect(self, layer: Layer, inputs: Any) -> SymbolicTensor:
        """Call `layer` on symbolic `inputs`: build it, and return its symbolic output."""
        tensors = tuple(inputs) if isinstance(inputs, (list, tuple)) else (inputs,)
        if any(not isinstance(tensor, SymbolicTensor) for tensor in tensors):
            raise TypeError(f"{layer.label}: cannot mix symbolic tensors with {inputs!r}")
        if not layer.capabilities.accepts_list and len(tensors) != 1:
            raise ShapeError(f"{layer.label}: expected one tensor, received {len(tensors)}")
        shape = layer.as_input([tensor.shape for tensor in tensors])
        layer.ensure_built(shape, np.result_type(*(tensor.dtype for tensor in tensors)))
        return SymbolicTensor(layer.compute_output_shape(shape), layer.dtype, layer, tensors)

    def __array__(self, *args, **kwargs):
        raise TypeError(
            f"the symbolic output of {self.layer.label} has no numbers: call layers on it, "
            "make a Model of it, and give the model arrays"
        )

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.shape} {self.dtype} from {self.layer.label}>"


class InputLayer(Layer):
    """The place where a model's data comes in."""

    capabilities = Capabilities(
        ignores_training=True, identity_in_inference=True, independent_samples=True
    )

    def __init__(self, shape, dtype="float32", **kwargs):
        super().__init__(dtype=dtype, **kwargs)
        self.shape = (None, *(None if n is None else int(n) for n in shape))
        if any(n is not None and n < 1 for n in self.shape):
            raise ShapeError(f"{self.label}: expected sizes >= 1 or None, received {tuple(shape)}")
        self.built = True

    def forward(self, x, training=False, rng=None):
        return x, None

    def backward(self, dy, cache, need_dx=True):
        return dy, []


def Input(shape, name: str | None = None, dtype: str = "float32") -> SymbolicTensor:
    """Return the symbolic input of a model.

    Parameters
    ----------
    shape : tuple of int or None
        The shape of one sample, without the batch; None for a size that may vary.
    name : str, optional
    dtype : {"float32", "float64"}
        The type in which the model computes.

    Examples
    --------
    >>> from minidl import Input
    >>> Input((None, None, 3)).shape
    (None, None, None, 3)
    """
    if isinstance(shape, (int, np.integer)):
        raise ShapeError(f"Input: expected a tuple such as ({shape},), received {shape}")
    layer = InputLayer(tuple(shape), name=name, dtype=dtype)
    return SymbolicTensor(layer.shape, layer.dtype, layer)
