"""MaxPooling2D, AveragePooling2D and global pooling over images (N, H, W, C).

>>> import numpy as np
>>> from minidl.layers import MaxPooling2D
>>> MaxPooling2D()(np.arange(4.0).reshape(1, 2, 2, 1)).ravel()
array([3.])
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_pair
from minidl.common.errors import ShapeError
from minidl.kernels import pooling
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.convolution import Size, check_data_format, make_window, window_output_size

__all__ = ["AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "MaxPooling2D"]

Padding = str | tuple[tuple[int, int], tuple[int, int]]


class _Pooling2D(Layer):
    """Base class of MaxPooling2D and AveragePooling2D.

    Parameters
    ----------
    pool_size : int or (int, int)
    strides : int or (int, int), optional
        By default the pool size.
    padding : {"valid", "same"} or ((top, bottom), (left, right))
        In pixels; less than the pool size.
    data_format : {"channels_last"}, optional
    **kwargs
        See :class:`Layer`.
    """

    def __init__(
        self,
        pool_size: Size = (2, 2),
        strides: Size | None = None,
        padding: Padding = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.data_format = check_data_format(self, data_format)
        strides = pool_size if strides is None else strides
        name = padding if isinstance(padding, str) else "valid"
        self.window = make_window(self, "pool_size", pool_size, strides, name)
        self.pool_size, self.strides = self.window.kernel_size, self.window.strides
        self.padding: Any = self.window.padding
        if not isinstance(padding, str):
            vertical, horizontal = self.padding = self._check_sides(padding)
            self.window = replace(self.window, padding=(*vertical, *horizontal))

    def _check_sides(self, padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return ((top, bottom), (left, right)); each window must contain a pixel of the image."""
        try:
            vertical, horizontal = (check_pair(self.label, "padding", side, 0) for side in padding)
        except (TypeError, ValueError):
            vertical = horizontal = self.pool_size
        if max(vertical) >= self.pool_size[0] or max(horizontal) >= self.pool_size[1]:
            raise ValueError(
                f"{self.label}: expected padding 'valid', 'same' or ((top, bottom), (left, right)) "
                f"less than the pool size {self.pool_size}, received {padding!r}"
            )
        return vertical, horizontal

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        size = window_output_size(self, self.window, input_shape)
        return (input_shape[0], *size, input_shape[3])


class MaxPooling2D(_Pooling2D):
    """The maximum of each window; padding never takes part.

    Parameters
    ----------
    pool_size : int or (int, int)
    strides : int or (int, int), optional
        By default the pool size.
    padding : {"valid", "same"} or ((top, bottom), (left, right))
        In pixels; less than the pool size.
    data_format : {"channels_last"}, optional
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPooling2D(2)(np.arange(4.0).reshape(1, 2, 2, 1)).item()
    3.0
    """

    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        y, index = pooling.max_pool(x, self.window, with_index=training)
        # Without training, backward is rare: it computes the index again from x.
        return y, (x.shape, index) if training else x

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        if isinstance(cache, np.ndarray):
            cache = cache.shape, pooling.max_pool(cache, self.window, with_index=True)[1]
        shape, index = cache
        return pooling.max_pool_backward(np.ascontiguousarray(dy), index, shape, self.window), []

    def infer(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return pooling.max_pool(x, self.window, out=out)[0]


class AveragePooling2D(_Pooling2D):
    """The mean of the pixels in each window; padding is not counted.

    Parameters
    ----------
    pool_size : int or (int, int)
    strides : int or (int, int), optional
        By default the pool size.
    padding : {"valid", "same"} or ((top, bottom), (left, right))
        In pixels; less than the pool size.
    data_format : {"channels_last"}, optional
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> AveragePooling2D(2)(np.arange(4.0).reshape(1, 2, 2, 1)).item()
    1.5
    """

    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return pooling.average_pool(x, self.window), x.shape

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        return pooling.average_pool_backward(np.ascontiguousarray(dy), cache, self.window), []

    def infer(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return pooling.average_pool(x, self.window, out)


class _GlobalPooling2D(Layer):
    """Base class of the global pooling layers."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = check_data_format(self, data_format)
        self.keepdims = keepdims

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.check_rank(input_shape, 4, "(N, H, W, C)")
        if 0 in input_shape[1:3]:
            raise ShapeError(
                f"{self.label}: expected images of at least 1 x 1 pixels, received shape "
                f"{tuple(input_shape)}"
            )
        batch, channels = input_shape[0], input_shape[3]
        return (batch, 1, 1, channels) if self.keepdims else (batch, channels)


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean over all pixels: (N, H, W, C) -> (N, C).

    Parameters
    ----------
    data_format : {"channels_last"}, optional
    keepdims : bool
        Return (N, 1, 1, C).
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAveragePooling2D()(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[1.5]])
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return x.mean(axis=(1, 2), keepdims=self.keepdims), x.shape

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        batch, height, width, channels = cache
        share = dy.reshape(batch, 1, 1, channels) / (height * width)
        return np.ascontiguousarray(np.broadcast_to(share, cache), dy.dtype), []


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The maximum over all pixels: (N, H, W, C) -> (N, C).

    Parameters
    ----------
    data_format : {"channels_last"}, optional
    keepdims : bool
        Return (N, 1, 1, C).
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> GlobalMaxPooling2D()(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[3.]])
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return x.max(axis=(1, 2), keepdims=self.keepdims), x

    def backward(self, dy: np.ndarray, cache: np.ndarray, need_dx: bool = True) -> Gradients:
        batch, height, width, channels = cache.shape
        rows = cache.reshape(batch, height * width, channels)
        first = rows.argmax(axis=1)[:, None, :]  # the first of equal pixels gets the gradient
        dx = np.zeros_like(rows)
        np.put_along_axis(dx, first, dy.reshape(batch, 1, channels), axis=1)
        return dx.reshape(cache.shape), []
