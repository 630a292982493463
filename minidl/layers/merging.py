"""Layers that join several tensors: Add and Concatenate.

>>> import numpy as np
>>> from minidl.layers import Add
>>> Add()([np.ones(2), np.ones(2)])
array([2., 2.])
"""

from __future__ import annotations

import numpy as np

from minidl.common.errors import ShapeError
from minidl.kernels import activations
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities

__all__ = ["Add", "Concatenate"]


class _Merging(Layer):
    def _check_inputs(self, shapes, at_least: int) -> None:
        if not isinstance(shapes, list) or len(shapes) < at_least:
            raise ShapeError(
                f"{self.label}: expected a list of at least {at_least} tensors, "
                f"received shape {shapes}"
            )


class Add(_Merging):
    """The sum of tensors of one shape."""

    capabilities = Capabilities(
        accepts_list=True, ignores_training=True, writes_output=True, independent_samples=True
    )

    def compute_output_shape(self, input_shape):
        self._check_inputs(input_shape, 2)
        if any(not _agree(input_shape[0], shape) for shape in input_shape):
            raise ShapeError(
                f"{self.label}: expected tensors of one shape, received "
                f"{', '.join(str(tuple(shape)) for shape in input_shape)}"
            )
        return input_shape[0]

    def forward(self, x, training=False, rng=None):
        return self.infer(x), len(x)

    def infer(self, x, out=None):
        y = activations.add(x[0], x[1], out)
        for other in x[2:]:
            activations.add(y, other, y)
        return y

    def backward(self, dy, cache, need_dx=True):
        return [dy] * cache, []


class Concatenate(_Merging):
    """Tensors side by side along an axis, by default the channels.

    Parameters
    ----------
    axis : int
        Not the batch axis 0.
    """

    capabilities = Capabilities(
        accepts_list=True, ignores_training=True, writes_output=True, independent_samples=True
    )

    def __init__(self, axis: int = -1, **kwargs):
        super().__init__(**kwargs)
        if axis == 0:
            raise ValueError(f"{self.label}: axis 0 is the batch and cannot be concatenated")
        self.axis = axis

    def compute_output_shape(self, input_shape):
        self._check_inputs(input_shape, 1)
        first = input_shape[0]
        if not -len(first) < self.axis < len(first):
            raise ShapeError(f"{self.label}: axis {self.axis} does not fit shape {tuple(first)}")
        axis = self.axis % len(first)
        for shape in input_shape:
            others = [list(s[:axis]) + list(s[axis + 1 :]) for s in (first, shape)]
            if len(shape) != len(first) or not _agree(*others):
                raise ShapeError(
                    f"{self.label}: tensors may differ along axis {axis} only, received "
                    f"{', '.join(str(tuple(s)) for s in input_shape)}"
                )
        sizes = [shape[axis] for shape in input_shape]
        total = None if None in sizes else sum(sizes)
        return (*first[:axis], total, *first[axis + 1 :])

    def forward(self, x, training=False, rng=None):
        axis = self.axis % x[0].ndim
        return self.infer(x), [item.shape[axis] for item in x]

    def infer(self, x, out=None):
        return np.concatenate(x, axis=self.axis, out=out)

    def backward(self, dy, cache, need_dx=True):
        edges = np.cumsum(cache)[:-1]
        parts = np.split(dy, edges, axis=self.axis % dy.ndim)
        return [np.ascontiguousarray(part) for part in parts], []


def _agree(a, b) -> bool:
    """Whether two shapes can be equal; an unknown size agrees with any."""
    return len(a) == len(b) and all(
        m == n or m is None or n is None for m, n in zip(a, b, strict=True)
    )
