"""MaxPooling2D, AveragePooling2D and the global poolings over images (N, H, W, C).

>>> import numpy as np
>>> from minidl.layers import MaxPooling2D
>>> MaxPooling2D()(np.arange(4.0).reshape(1, 2, 2, 1)).ravel()
array([3.])
"""

from __future__ import annotations

import numpy as np

from minidl.common.errors import ShapeError
from minidl.kernels import pooling
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities
from minidl.layers.convolution import check_data_format, checked_output_size, make_window

__all__ = ["AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "MaxPooling2D"]


class _Pooling2D(Layer):
    def __init__(self, pool_size=(2, 2), strides=None, padding="valid", data_format=None, **kwargs):
        super().__init__(**kwargs)
        check_data_format(self, data_format)
        self.window = make_window(
            self, pool_size, pool_size if strides is None else strides, padding
        )

    def compute_output_shape(self, input_shape):
        self.check_rank(input_shape, 4, "(N, H, W, C)")
        return (
            input_shape[0],
            *checked_output_size(self, self.window, input_shape),
            input_shape[3],
        )


class MaxPooling2D(_Pooling2D):
    """The largest value in each window; padding never takes part.

    Parameters
    ----------
    pool_size : int or (int, int)
    strides : int or (int, int), optional
        By default the pool size.
    padding : {"valid", "same"}
    """

    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def forward(self, x, training=False, rng=None):
        y, index = pooling.max_pool(x, self.window, with_index=training)
        # Outside training the index is found again from x in the rare case it is asked for.
        return y, (x.shape, index) if training else x

    def infer(self, x, out=None):
        return pooling.max_pool(x, self.window, out=out)[0]

    def backward(self, dy, cache, need_dx=True):
        if not need_dx:
            return None, []
        if isinstance(cache, np.ndarray):
            cache = cache.shape, pooling.max_pool(cache, self.window, with_index=True)[1]
        shape, index = cache
        return pooling.max_pool_backward(np.ascontiguousarray(dy), index, shape, self.window), []


class AveragePooling2D(_Pooling2D):
    """The mean of the real pixels in each window: padding is never counted.

    Parameters
    ----------
    pool_size : int or (int, int)
    strides : int or (int, int), optional
        By default the pool size.
    padding : {"valid", "same"}
    """

    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def forward(self, x, training=False, rng=None):
        return pooling.average_pool(x, self.window), x.shape

    def infer(self, x, out=None):
        return pooling.average_pool(x, self.window, out)

    def backward(self, dy, cache, need_dx=True):
        if not need_dx:
            return None, []
        return pooling.average_pool_backward(np.ascontiguousarray(dy), cache, self.window), []


class _GlobalPooling2D(Layer):
    def __init__(self, data_format=None, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        check_data_format(self, data_format)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape):
        self.check_rank(input_shape, 4, "(N, H, W, C)")
        if 0 in input_shape[1:3]:
            raise ShapeError(f"{self.label}: empty images {tuple(input_shape)}")
        batch, channels = input_shape[0], input_shape[3]
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean over all pixels: (N, H, W, C) -> (N, C)."""

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def forward(self, x, training=False, rng=None):
        return x.mean(axis=(1, 2), keepdims=self.keepdims), x.shape

    def backward(self, dy, cache, need_dx=True):
        if not need_dx:
            return None, []
        batch, height, width, channels = cache
        share = dy.reshape(batch, 1, 1, channels) / (height * width)
        return np.ascontiguousarray(np.broadcast_to(share, cache), dy.dtype), []


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value of all pixels: (N, H, W, C) -> (N, C)."""

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def forward(self, x, training=False, rng=None):
        return x.max(axis=(1, 2), keepdims=self.keepdims), x

    def backward(self, dy, cache, need_dx=True):
        if not need_dx:
            return None, []
        batch, height, width, channels = cache.shape
        rows = cache.reshape(batch, height * width, channels)
        where = rows.argmax(axis=1)[:, None, :]  # ties: the first pixel gets it all
        dx = np.zeros_like(rows)
        np.put_along_axis(dx, where, dy.reshape(batch, 1, channels), axis=1)
        return dx.reshape(cache.shape), []
