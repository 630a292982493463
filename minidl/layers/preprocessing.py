"""Rescaling, and random changes of colour and crop, on batches of images.

The random layers work in training only: outside it brightness and contrast return their
input itself, and a crop is the middle of the picture.

>>> import numpy as np
>>> from minidl.layers.preprocessing import Rescaling
>>> Rescaling(1 / 127.5, offset=-1)(np.array([[0, 255]], "uint8"))
array([[-1.,  1.]], dtype=float32)
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.errors import ShapeError
from minidl.common.seeding import layer_generator
from minidl.kernels.runtime import thread_pool
from minidl.kernels.warp import warp, warp_backward
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities

__all__ = ["ImageLayer", "RandomBrightness", "RandomContrast", "RandomCrop", "Rescaling"]

SPAN = 2**16  # numbers per task: 256 KiB of float32


class Rescaling(Layer):
    """``y = x * scale + offset``, in training and outside it.

    Parameters
    ----------
    scale, offset : float or sequence of float
        One number, or one per channel (the last axis).
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ShapeError
        If there are not as many numbers as channels.

    Examples
    --------
    >>> import numpy as np
    >>> Rescaling([1, 2], offset=[0, 10])(np.ones((1, 2), "float32"))
    array([[ 1., 12.]], dtype=float32)
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(self, scale, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.offset = np.asarray(scale), np.asarray(offset)
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if value.ndim > 1 or value.dtype.kind not in "iuf":
                raise ValueError(
                    f"{self.label}: expected {name} to be a number or one number per channel, "
                    f"received {value.tolist()!r}"
                )

    def compute_output_shape(self, input_shape):
        channels = input_shape[-1] if len(input_shape) else None
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if value.size > 1 and channels is not None and value.size != channels:
                raise ShapeError(
                    f"{self.label}: expected input with {value.size} channels, one for each "
                    f"number of {name}, received shape {tuple(input_shape)}"
                )
        return input_shape

    def forward(self, x, training=False, rng=None):
        return scale_channels(x, self.scale, self.offset, float_dtype(x, self.dtype)), None

    def backward(self, dy, cache, need_dx=True):
        return (scale_channels(dy, self.scale, np.asarray(0.0), dy.dtype) if need_dx else None), []


class ImageLayer(Layer):
    """What the layers for batches of images (N, H, W, C) have in common."""

    def compute_output_shape(self, input_shape):
        self.check_rank(input_shape, 4, "(batch, height, width, channels)")
        return input_shape

    def to_float(self, x: np.ndarray) -> np.ndarray:
        """Return float images as they are, others (uint8) in the layer's dtype."""
        return x.astype(float_dtype(x, self.dtype), copy=False)


class RandomBrightness(ImageLayer):
    """In training, add a random number to each image: ``clip(x + delta)``.

    Parameters
    ----------
    factor : float or (float, float)
        ``delta / (high - low)`` is drawn between the two, or between ``-factor`` and
        `factor`; from -1 (black) to 1 (white).
    value_range : (low, high)
        The range of the pixels; the result is clipped to it.
    seed : int, optional
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.full((1, 1, 1, 3), 100, "float32")
    >>> RandomBrightness((0.2, 0.2))(x, training=True).ravel()
    array([151., 151., 151.], dtype=float32)
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(self, factor, value_range=(0, 255), seed=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor_range(self, "factor", factor, -1, 1)
        self.value_range = _value_range(self, value_range)
        self.seed = seed

    def forward(self, x, training=False, rng=None):
        x = self.to_float(x)
        if not training:
            return x, None
        low, high = self.value_range
        delta = layer_generator(rng, self.seed).uniform(*self.factor, len(x)) * (high - low)
        delta = delta.astype(x.dtype)
        y = np.empty_like(x)

        def task(n: int) -> None:
            np.add(x[n], delta[n], out=y[n])
            np.clip(y[n], low, high, out=y[n])

        thread_pool.run(task, len(x))
        return y, (x, delta)

    def backward(self, dy, cache, need_dx=True):
        if cache is None or not need_dx:
            return (dy if need_dx else None), []
        x, delta = cache
        low, high = self.value_range
        dx = np.empty_like(dy)

        def task(n: int) -> None:
            moved = x[n] + delta[n]
            np.multiply(dy[n], (moved >= low) & (moved <= high), out=dx[n])

        thread_pool.run(task, len(x))
        return dx, []


class RandomContrast(ImageLayer):
    """In training, spread or squeeze each image around its own mean colour.

    ``clip((x - mean) * contrast + mean)`` with the mean over the pixels of each channel.

    Keras draws the contrast for ``factor=f`` between 1 and 1 + f; here it is what Keras'
    documentation says: between 1 - f and 1 + f.

    Parameters
    ----------
    factor : float or (float, float)
        The contrast is drawn between ``1 - factor[0]`` and ``1 + factor[1]``; one number
        stands for both.
    value_range : (low, high)
        The range of the pixels; the result is clipped to it.
    seed : int, optional
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([100.0, 120.0]).reshape(1, 1, 2, 1)
    >>> RandomContrast((-0.5, 0.5))(x, training=True).ravel()
    array([ 95., 125.])
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(self, factor, value_range=(0, 255), seed=None, **kwargs):
        super().__init__(**kwargs)
        pair = (factor, factor) if isinstance(factor, Real) else factor
        factor_range(self, "factor", pair, -1, 1)
        self.factor = (float(pair[0]), float(pair[1]))
        if self.factor[0] + self.factor[1] < 0:
            raise ValueError(
                f"{self.label}: expected 1 - factor[0] <= 1 + factor[1], received {factor!r}"
            )
        self.value_range = _value_range(self, value_range)
        self.seed = seed

    def forward(self, x, training=False, rng=None):
        x = self.to_float(x)
        if not training:
            return x, None
        limits = 1 - self.factor[0], 1 + self.factor[1]
        contrast = layer_generator(rng, self.seed).uniform(*limits, len(x)).astype(x.dtype)
        y = np.empty_like(x)

        def task(n: int) -> None:
            _mix_with_mean(x[n], contrast[n], y[n])
            np.clip(y[n], *self.value_range, out=y[n])

        thread_pool.run(task, len(x))
        return y, (x, contrast)

    def backward(self, dy, cache, need_dx=True):
        if cache is None or not need_dx:
            return (dy if need_dx else None), []
        x, contrast = cache
        low, high = self.value_range
        dx = np.empty_like(dy)

        def task(n: int) -> None:
            spread = np.empty_like(x[n])
            _mix_with_mean(x[n], contrast[n], spread)
            inside = dy[n] * ((spread >= low) & (spread <= high))
            _mix_with_mean(inside, contrast[n], dx[n])  # a symmetric map: its own adjoint

        thread_pool.run(task, len(x))
        return dx, []


class RandomCrop(ImageLayer):
    """In training, cut a window of `height` x `width` at a random place, the same for the batch.

    Outside training, and where the images are smaller than the window, the largest centred
    part of the window's shape is cut out and resized (bilinear). That is what Keras'
    documentation says; Keras 3.15 itself returns the images uncropped outside training.

    Parameters
    ----------
    height, width : int
        Size of the output.
    seed : int, optional
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> RandomCrop(2, 2)(np.arange(8.0).reshape(1, 2, 4, 1))[0, :, :, 0]
    array([[1., 2.],
           [5., 6.]])
    """

    def __init__(self, height, width, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.height = check_integer(self.label, "height", height, 1)
        self.width = check_integer(self.label, "width", width, 1)
        self.seed = seed

    def compute_output_shape(self, input_shape):
        super().compute_output_shape(input_shape)
        return (input_shape[0], self.height, self.width, input_shape[3])

    def forward(self, x, training=False, rng=None):
        window = self._window(*x.shape[1:3], training, rng)
        rows, columns, transform = window
        y = np.ascontiguousarray(self.to_float(x[:, rows, columns]))
        if transform is not None:
            transforms = np.broadcast_to(transform, (len(y), 3, 3))
            y = warp(y, transforms, "nearest", output_size=(self.height, self.width))
        return y, (x.shape, window)

    def backward(self, dy, cache, need_dx=True):
        if not need_dx:
            return None, []
        shape, (rows, columns, transform) = cache
        dx = np.zeros(shape, dy.dtype)
        inner = dx[:, rows, columns]
        if transform is not None:
            transforms = np.broadcast_to(transform, (len(dy), 3, 3))
            dy = warp_backward(dy, transforms, inner.shape[1:3], "nearest")
        inner[...] = dy
        return dx, []

    def _window(self, height, width, training, rng):
        """Return (rows, columns, transform): what to cut out, and how to resize it, or None."""
        if training and height >= self.height and width >= self.width:
            rng = layer_generator(rng, self.seed)
            top = int(rng.integers(height - self.height + 1))
            left = int(rng.integers(width - self.width + 1))
            return slice(top, top + self.height), slice(left, left + self.width), None
        inner_height = max(1, min(height, width * self.height // self.width))
        inner_width = max(1, min(width, height * self.width // self.height))
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        window = slice(top, top + inner_height), slice(left, left + inner_width)
        if (inner_height, inner_width) == (self.height, self.width):
            return *window, None
        # Both pictures share their outer edges, which are half a pixel beyond the centres.
        across, down = inner_width / self.width, inner_height / self.height
        return *window, np.array(
            [[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]]
        )


def factor_range(layer: Layer, name: str, factor, low: float, high: float) -> tuple[float, float]:
    """Return the (lower, upper) that `factor` stands for: f means from -f to f."""
    pair = list(factor) if isinstance(factor, (tuple, list)) else [factor, factor]
    numbers = all(isinstance(value, Real) and not isinstance(value, bool) for value in pair)
    if len(pair) != 2 or not numbers or not all(low <= value <= high for value in pair):
        raise ValueError(
            f"{layer.label}: expected {name} to be a number from {low} to {high} or a pair of "
            f"such numbers, received {factor!r}"
        )
    if isinstance(factor, Real):
        return -abs(float(factor)), abs(float(factor))
    return float(min(pair)), float(max(pair))


def _value_range(layer: Layer, value_range) -> tuple[float, float]:
    try:
        low, high = sorted(float(value) for value in value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not low < high:
        raise ValueError(
            f"{layer.label}: expected value_range to be two numbers (low, high), "
            f"received {value_range!r}"
        )
    return low, high


def float_dtype(x, dtype):
    """The dtype to compute in: that of float32/float64 data, else the layer's."""
    return x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(dtype or np.float32)


def scale_channels(x, scale, offset, dtype):
    """Return ``x * scale + offset`` in `dtype`; scale and offset: () or (C,)."""
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape, dtype)
    # (..., W, C) -> rows of W*C numbers, because NumPy is slow on rows of C = 3.
    repeats = x.shape[-2] if x.ndim > 2 else 1
    scale, offset = (
        np.tile(np.broadcast_to(v, x.shape[-1:]).astype(dtype), repeats) for v in (scale, offset)
    )
    rows, out = x.reshape(-1, scale.size), y.reshape(-1, scale.size)
    parts = thread_pool.chunks(len(rows), SPAN // scale.size)

    def task(i: int) -> None:
        part = slice(*parts[i])
        np.multiply(rows[part], scale, out=out[part])
        np.add(out[part], offset, out=out[part])

    thread_pool.run(task, len(parts))
    return y


def _mix_with_mean(image, share, out) -> None:
    """Write ``share * image + (1 - share) * mean`` to `out`; image: (H, W, C), mean: (C,)."""
    height, width, channels = image.shape
    rows = image.reshape(height, width * channels)
    mean = rows.mean(axis=0).reshape(width, channels).mean(axis=0)
    np.multiply(image, share, out=out)
    flat = out.reshape(rows.shape)
    flat += np.tile((1 - share) * mean, width)
