"""Layers with several inputs: Add, Multiply and Concatenate.

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
from minidl.kernels import broadcasting
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Add", "Concatenate", "Multiply"]


class _Merging(Layer):
    """Base class of Add, Multiply and Concatenate."""

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


class Multiply(_Merging):
    """The product of tensors, which are broadcast along axes of size 1.

    Of tensors with different numbers of axes, those with fewer get axes of size 1 after the batch.

    Examples
    --------
    >>> import numpy as np
    >>> gates = np.array([[0.0, 1.0]])  # (N, C): one number for each channel of an image
    >>> Multiply()([np.ones((1, 1, 2, 2)), gates]).tolist()
    [[[[0.0, 1.0], [0.0, 1.0]]]]
    """

    capabilities = _Merging.capabilities

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        self._check_inputs(input_shape, 2)
        rank = max(len(shape) for shape in input_shape)
        sizes = zip(*(_with_rank(shape, rank) for shape in input_shape), strict=True)
        result = [_broadcast_size(along_axis) for along_axis in sizes]
        if 0 in result:
            raise ShapeError(
                f"{self.label}: expected tensors that can be broadcast to one shape, received "
                f"{', '.join(str(tuple(shape)) for shape in input_shape)}"
            )
        return tuple(result)

    def forward(self, x: list[np.ndarray], training: bool = False, rng: Rng = None) -> Output:
        return self.infer(x), x

    def backward(self, dy: np.ndarray, cache: list[np.ndarray], need_dx: bool = True) -> Gradients:
        xs = [x.reshape(_with_rank(x.shape, dy.ndim)) for x in cache]
        dxs = []
        for i, x in enumerate(xs):
            d = dy
            for factor in (*xs[:i], *xs[i + 1 :]):
                d = broadcasting.multiply(d, factor)
            dxs.append(broadcasting.sum_to(d, x.shape).reshape(cache[i].shape))
        return dxs, []

    def infer(self, x: list[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        rank = max(item.ndim for item in x)
        first, *others = (item.reshape(_with_rank(item.shape, rank)) for item in x)
        for other in others[:-1]:
            first = broadcasting.multiply(first, other)
        return broadcasting.multiply(first, others[-1], out)


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


def _with_rank(shape: Shape, rank: int) -> Shape:
    """Return a shape with axes of size 1 inserted after the batch."""
    return (shape[0], *[1] * (rank - len(shape)), *shape[1:])


def _broadcast_size(sizes: Sequence[int | None]) -> int | None:
    """Return the common size of tensors along one axis; 0 if there is none."""
    known = {size for size in sizes if size not in (None, 1)}
    if len(known) > 1:
        return 0
    return known.pop() if known else (None if None in sizes else 1)
