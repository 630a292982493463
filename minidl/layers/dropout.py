"""Dropout.

>>> import numpy as np
>>> from minidl.layers import Dropout
>>> Dropout(0.5)(np.ones(3))  # outside training: the identity
array([1., 1., 1.])
"""

from __future__ import annotations

import numpy as np

from minidl.common.argument_checks import check_fraction
from minidl.common.errors import ShapeError
from minidl.common.seeding import layer_generator
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training, set a random share of the numbers to zero and scale the others up.

    Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html

    Parameters
    ----------
    rate : float
        The share that is dropped, 0 <= rate < 1.
    noise_shape : tuple, optional
        Sizes of 1 drop along that axis together, as in Keras.
    seed : int, optional
    **kwargs
        See :class:`Layer`.
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        rate = check_fraction(self.label, "rate", rate, exclusive="maximum")
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def compute_output_shape(self, input_shape):
        shape = self.noise_shape
        if shape is not None and not (
            len(shape) == len(input_shape)
            and all(m in (None, 1, n) or n is None for m, n in zip(shape, input_shape, strict=True))
        ):
            raise ShapeError(
                f"{self.label}: noise_shape {tuple(shape)} does not fit input shape "
                f"{tuple(input_shape)}"
            )
        return input_shape

    def forward(self, x, training=False, rng=None):
        if not training or self.rate == 0:
            return x, None
        rng = layer_generator(rng, self.seed)
        shape = x.shape
        if self.noise_shape is not None:
            shape = [n if m is None else m for n, m in zip(x.shape, self.noise_shape, strict=True)]
        keep = rng.random(shape, dtype=np.float32) >= self.rate
        return x * keep * x.dtype.type(1 / (1 - self.rate)), keep

    def backward(self, dy, cache, need_dx=True):
        if cache is None:
            return dy, []
        return dy * cache * dy.dtype.type(1 / (1 - self.rate)), []
