"""Permute: another order of the axes of each sample.

>>> import numpy as np
>>> from minidl.layers import Permute
>>> Permute((2, 1))(np.zeros((4, 2, 3))).shape
(4, 3, 2)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Permute"]


class Permute(Layer):
    """Permute the axes of each sample.

    Between two :class:`Reshape` layers that split and join the channels, it is the channel
    shuffle of ShuffleNet (Zhang et al., 2017, https://arxiv.org/abs/1707.01083).

    Parameters
    ----------
    dims : tuple of int
        Axis of the input for each axis of the output. Axes count from 1; the batch is not one of
        them.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If `dims` is not a permutation of 1, 2, ...
    ShapeError
        When called: if the input has another number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.layers import Permute
    >>> Permute((3, 1, 2))(np.zeros((8, 4, 5, 3))).shape
    (8, 3, 4, 5)
    """

    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def __init__(self, dims: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        given = list(dims) if isinstance(dims, (tuple, list)) else []
        if not given or sorted(map(str, given)) != sorted(map(str, range(1, len(given) + 1))):
            raise ValueError(
                f"{self.label}: expected dims to be a permutation of 1, 2, ..., received {dims!r}"
            )
        self.dims = tuple(int(axis) for axis in given)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        axes = ("N", *(f"axis {i}" for i in range(1, len(self.dims) + 1)))
        self.check_rank(input_shape, len(axes), f"({', '.join(axes)})")
        return tuple(input_shape[axis] for axis in (0, *self.dims))

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return np.ascontiguousarray(x.transpose(0, *self.dims)), None

    def backward(self, dy: np.ndarray, cache: None, need_dx: bool = True) -> Gradients:
        inverse = np.argsort((0, *self.dims))
        return np.ascontiguousarray(dy.transpose(inverse)), []

    def infer(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        if out is None:
            return self.forward(x)[0]
        out[...] = x.transpose(0, *self.dims)
        return out
