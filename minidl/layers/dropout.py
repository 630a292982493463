"""Dropout.

>>> import numpy as np
>>> from minidl.layers import Dropout
>>> Dropout(0.5)(np.ones(3))  # the identity in inference
array([1., 1., 1.])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.argument_checks import check_fraction
from minidl.common.errors import ShapeError
from minidl.common.seeding import layer_generator
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training, set a random fraction of the values to zero and scale the others up.

    Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html

    Parameters
    ----------
    rate : float
        Fraction of the values that is dropped, 0 <= rate < 1.
    noise_shape : tuple of int or None, optional
        Shape of the random mask: along an axis of size 1 all values are dropped together. None
        stands for the size of the input.
    seed : int, optional
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If the rate is out of range.
    ShapeError
        When called: if `noise_shape` cannot be broadcast to the input.

    Examples
    --------
    >>> import numpy as np
    >>> y = Dropout(0.5)(np.ones(1000), training=True)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(
        self,
        rate: float,
        noise_shape: Shape | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.rate = check_fraction(self.label, "rate", rate, exclusive="maximum")
        self.noise_shape, self.seed = noise_shape, seed

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = self.noise_shape
        if shape is not None and not (
            len(shape) == len(input_shape)
            and all(m in (None, 1, n) or n is None for m, n in zip(shape, input_shape, strict=True))
        ):
            raise ShapeError(
                f"{self.label}: expected noise_shape to fit the input shape {tuple(input_shape)}, "
                f"received {tuple(shape)}"
            )
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        if not training or self.rate == 0:
            return x, None
        rng = layer_generator(rng, self.seed)
        noise_shape = self.noise_shape or (None,) * x.ndim
        shape = [n if m is None else m for n, m in zip(x.shape, noise_shape, strict=True)]
        keep = rng.random(shape, dtype=np.float32) >= self.rate
        return x * keep * x.dtype.type(1 / (1 - self.rate)), keep

    def backward(self, dy: np.ndarray, cache: np.ndarray | None, need_dx: bool = True) -> Gradients:
        if cache is None:
            return dy, []
        return dy * cache * dy.dtype.type(1 / (1 - self.rate)), []
