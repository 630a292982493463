"""Layers with several inputs: Add and Concatenate.

>>> import numpy as np
>>> from minidl.layers import Add
>>> Add()([np.ones(2), np.ones(2)])
array([2., 2.])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.kernels import activations as elementwise
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Add", "Concatenate"]


class _Merging(Layer):
    """Base class of Add and Concatenate."""

    capabilities = Capabilities(
        accepts_list=True, ignores_training=True, writes_output=True, independent_samples=True
    )

    def _check_inputs(self, shapes: Any, minimum: int) -> None:
        if not isinstance(shapes, list) or len(shapes) < minimum:
            raise ShapeError(
                f"{self.label}: expected a list of at least {minimum} tensors, "
                f"received shape {shapes}"
            )


class Add(_Merging):
    """The sum of tensors of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> Add()([np.ones((1, 2)), np.ones((1, 2))])
    array([[2., 2.]])
    """

    capabilities = _Merging.capabilities

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        self._check_inputs(input_shape, 2)
        if any(not _agree(input_shape[0], shape) for shape in input_shape):
            raise ShapeError(
                f"{self.label}: expected tensors of one shape, received "
                f"{', '.join(str(tuple(shape)) for shape in input_shape)}"
            )
        return input_shape[0]

    def forward(self, x: list[np.ndarray], training: bool = False, rng: Rng = None) -> Output:
        return self.infer(x), len(x)

    def backward(self, dy: np.ndarray, cache: int, need_dx: bool = True) -> Gradients:
        return [dy] * cache, []

    def infer(self, x: list[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        y = elementwise.add(x[0], x[1], out)
        for other in x[2:]:
            elementwise.add(y, other, y)
        return y


class Concatenate(_Merging):
    """Tensors joined along an axis, by default the channels.

    Parameters
    ----------
    axis : int
        Not the batch axis 0.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> Concatenate()([np.ones((1, 2)), np.zeros((1, 1))])
    array([[1., 1., 0.]])
    """

    capabilities = _Merging.capabilities

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if axis == 0:
            raise ValueError(
                f"{self.label}: expected an axis other than 0, which is the batch, received 0"
            )
        self.axis = axis

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        self._check_inputs(input_shape, 1)
        first = input_shape[0]
        if not -len(first) < self.axis < len(first):
            raise ShapeError(
                f"{self.label}: expected tensors with an axis {self.axis}, received shape "
                f"{tuple(first)}"
            )
        axis = self.axis % len(first)
        for shape in input_shape:
            others = [list(s[:axis]) + list(s[axis + 1 :]) for s in (first, shape)]
            if len(shape) != len(first) or not _agree(*others):
                raise ShapeError(
                    f"{self.label}: expected tensors that differ along axis {axis} only, received "
                    f"{', '.join(str(tuple(s)) for s in input_shape)}"
                )
        sizes = [shape[axis] for shape in input_shape]
        total = None if None in sizes else sum(sizes)
        return (*first[:axis], total, *first[axis + 1 :])

    def forward(self, x: list[np.ndarray], training: bool = False, rng: Rng = None) -> Output:
        axis = self.axis % x[0].ndim
        return self.infer(x), [item.shape[axis] for item in x]

    def backward(self, dy: np.ndarray, cache: list[int], need_dx: bool = True) -> Gradients:
        boundaries = np.cumsum(cache)[:-1]
        parts = np.split(dy, boundaries, axis=self.axis % dy.ndim)
        return [np.ascontiguousarray(part) for part in parts], []

    def infer(self, x: list[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        return np.concatenate(x, axis=self.axis, out=out)


def _agree(a: Sequence[int | None], b: Sequence[int | None]) -> bool:
    """Return whether two shapes can be equal; an unknown size agrees with any."""
    return len(a) == len(b) and all(
        m == n or m is None or n is None for m, n in zip(a, b, strict=True)
    )
