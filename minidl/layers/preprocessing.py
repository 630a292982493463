"""Rescaling, and random brightness, contrast and crop, on batches of images.

The random layers are active in training only. In inference, brightness and contrast return their
input, and a crop returns the center of the image.

>>> import numpy as np
>>> from minidl.layers.preprocessing import Rescaling
>>> Rescaling(1 / 127.5, offset=-1)(np.array([[0, 255]], "uint8"))
array([[-1.,  1.]], dtype=float32)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.argument_checks import check_integer
from minidl.common.errors import ShapeError
from minidl.common.seeding import layer_generator
from minidl.kernels.runtime import thread_pool
from minidl.kernels.warp import warp, warp_backward
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["ImageLayer", "RandomBrightness", "RandomContrast", "RandomCrop", "Rescaling"]

CHUNK = 2**16  # elements per task: 256 KiB of float32

Factor = float | tuple[float, float]


class Rescaling(Layer):
    """``y = x * scale + offset``, in training and inference.

    Parameters
    ----------
    scale, offset : float or sequence of float
        One number, or one per channel (the last axis).
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If `scale` or `offset` has another form.
    ShapeError
        When called: if there are not as many numbers as channels.

    Examples
    --------
    >>> import numpy as np
    >>> Rescaling([1, 2], offset=[0, 10])(np.ones((1, 2), "float32"))
    array([[ 1., 12.]], dtype=float32)
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(self, scale: ArrayLike, offset: ArrayLike = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = np.asarray(scale), np.asarray(offset)
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if value.ndim > 1 or value.dtype.kind not in "iuf":
                raise ValueError(
                    f"{self.label}: expected {name} to be a number or one number per channel, "
                    f"received {value.tolist()!r}"
                )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        channels = input_shape[-1] if len(input_shape) else None
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            if value.size > 1 and channels is not None and value.size != channels:
                raise ShapeError(
                    f"{self.label}: expected input with {value.size} channels, one for each "
                    f"number of {name}, received shape {tuple(input_shape)}"
                )
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return scale_channels(x, self.scale, self.offset, float_dtype(x, self.dtype)), None

    def backward(self, dy: np.ndarray, cache: None, need_dx: bool = True) -> Gradients:
        return scale_channels(dy, self.scale, np.asarray(0.0), dy.dtype), []


class ImageLayer(Layer):
    """Base class of layers for batches of images (N, H, W, C)."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.check_rank(input_shape, 4, "(batch, height, width, channels)")
        return input_shape

    def to_float(self, x: np.ndarray) -> np.ndarray:
        """Return float images unchanged, and others (uint8) in the layer's dtype."""
        return x.astype(float_dtype(x, self.dtype), copy=False)


class _RandomColor(ImageLayer):
    """Base class: change the pixels of each image by one random number, then clip them.

    Subclasses implement ``draw``, ``change`` and ``change_backward``.
    """

    capabilities = Capabilities(identity_in_inference=True)

    def __init__(
        self,
        factor: Factor,
        value_range: Sequence[float] = (0, 255),
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.factor = self.check_factor(factor)
        self.value_range = _check_value_range(self, value_range)
        self.seed = seed

    def check_factor(self, factor: Factor) -> tuple[float, float]:
        """Return the bounds of the random number."""
        return check_factor_range(self, "factor", factor, -1, 1)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw one number for each image."""
        raise NotImplementedError(f"{type(self).__name__}.draw")

    def change(self, image: np.ndarray, amount: np.ndarray, out: np.ndarray) -> None:
        """Write the changed image (H, W, C) to `out`, not clipped."""
        raise NotImplementedError(f"{type(self).__name__}.change")

    def change_backward(self, dy: np.ndarray, amount: np.ndarray, out: np.ndarray) -> None:
        """Write the gradient of ``change`` with respect to the image to `out`."""
        raise NotImplementedError(f"{type(self).__name__}.change_backward")

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        x = self.to_float(x)
        if not training:
            return x, None
        amounts = self.draw(len(x), layer_generator(rng, self.seed)).astype(x.dtype)
        y = np.empty_like(x)

        def task(n: int) -> None:
            self.change(x[n], amounts[n], y[n])
            np.clip(y[n], *self.value_range, out=y[n])

        thread_pool.run(task, len(x))
        return y, (x, amounts)

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        if cache is None:
            return dy, []
        x, amounts = cache
        low, high = self.value_range
        dx = np.empty_like(dy)

        def task(n: int) -> None:
            changed = np.empty_like(x[n])
            self.change(x[n], amounts[n], changed)
            inside = (changed >= low) & (changed <= high)  # clipped pixels have no gradient
            self.change_backward(dy[n] * inside, amounts[n], dx[n])

        thread_pool.run(task, len(x))
        return dx, []


class RandomBrightness(_RandomColor):
    """In training, add a random number to each image: ``clip(x + delta)``.

    Parameters
    ----------
    factor : float or (float, float)
        Bounds of ``delta / (high - low)``, from -1 (black) to 1 (white). One number f stands for
        (-f, f).
    value_range : (float, float)
        Range (low, high) of the pixels; the result is clipped to it.
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

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.value_range
        return rng.uniform(*self.factor, count) * (high - low)

    def change(self, image: np.ndarray, amount: np.ndarray, out: np.ndarray) -> None:
        np.add(image, amount, out=out)

    def change_backward(self, dy: np.ndarray, amount: np.ndarray, out: np.ndarray) -> None:
        out[...] = dy


class RandomContrast(_RandomColor):
    """In training, scale the distance of each pixel from the image's mean color.

    ``clip((x - mean) * contrast + mean)`` with the mean over the pixels of each channel.

    Keras draws the contrast for ``factor=f`` between 1 and 1 + f; this layer follows Keras'
    documentation: between 1 - f and 1 + f.

    Parameters
    ----------
    factor : float or (float, float)
        The contrast is drawn between ``1 - factor[0]`` and ``1 + factor[1]``. One number stands
        for both.
    value_range : (float, float)
        Range (low, high) of the pixels; the result is clipped to it.
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

    def check_factor(self, factor: Factor) -> tuple[float, float]:
        pair: Any = (factor, factor) if isinstance(factor, Real) else factor
        check_factor_range(self, "factor", pair, -1, 1)
        lower, upper = float(pair[0]), float(pair[1])
        if lower + upper < 0:
            raise ValueError(
                f"{self.label}: expected 1 - factor[0] <= 1 + factor[1], received {factor!r}"
            )
        return lower, upper

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(1 - self.factor[0], 1 + self.factor[1], count)

    def change(self, image: np.ndarray, amount: np.ndarray, out: np.ndarray) -> None:
        _mix_with_mean(image, amount, out)

    def change_backward(self, dy: np.ndarray, amount: np.ndarray, out: np.ndarray) -> None:
        _mix_with_mean(dy, amount, out)  # a symmetric linear map is its own adjoint


class RandomCrop(ImageLayer):
    """In training, crop images to `height` x `width` at a random position, one per batch.

    In inference, and if the images are smaller than the crop, the largest centered region of the
    crop's aspect ratio is resized (bilinear). This follows Keras' documentation; Keras 3.15
    itself returns uncropped images in inference.

    Parameters
    ----------
    height, width : int
        Size of the output in pixels.
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

    def __init__(self, height: int, width: int, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.height = check_integer(self.label, "height", height, 1)
        self.width = check_integer(self.label, "width", width, 1)
        self.seed = seed

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        super().compute_output_shape(input_shape)
        return (input_shape[0], self.height, self.width, input_shape[3])

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        height, width = x.shape[1:3]
        if training and height >= self.height and width >= self.width:
            rows, columns = self._random_region(height, width, layer_generator(rng, self.seed))
        else:
            rows, columns = self.center_region(height, width)
        transform = self._resizing(rows, columns)
        y = np.ascontiguousarray(self.to_float(x[:, rows, columns]))
        if transform is not None:
            transforms = np.broadcast_to(transform, (len(y), 3, 3))
            y = warp(y, transforms, "nearest", output_size=(self.height, self.width))
        return y, (x.shape, rows, columns, transform)

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        shape, rows, columns, transform = cache
        dx = np.zeros(shape, dy.dtype)
        region = dx[:, rows, columns]
        if transform is not None:
            transforms = np.broadcast_to(transform, (len(dy), 3, 3))
            dy = warp_backward(dy, transforms, region.shape[1:3], "nearest")
        region[...] = dy
        return dx, []

    def _random_region(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[slice, slice]:
        top = int(rng.integers(height - self.height + 1))
        left = int(rng.integers(width - self.width + 1))
        return slice(top, top + self.height), slice(left, left + self.width)

    def center_region(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the largest centered rows and columns of the crop's aspect ratio."""
        inner_height = max(1, min(height, width * self.height // self.width))
        inner_width = max(1, min(width, height * self.width // self.height))
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        return slice(top, top + inner_height), slice(left, left + inner_width)

    def _resizing(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Return the 3x3 matrix that resizes a region to the crop, None if the sizes agree."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if (height, width) == (self.height, self.width):
            return None
        # Both images share their outer edges, which lie half a pixel beyond the pixel centers.
        across, down = width / self.width, height / self.height
        return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def check_factor_range(
    layer: Layer, name: str, factor: Any, low: float, high: float
) -> tuple[float, float]:
    """Return the bounds (lower, upper) that `factor` stands for.

    Parameters
    ----------
    layer : Layer
        Named in the error message.
    name : str
        The argument's name.
    factor : float or (float, float)
        One number f stands for (-f, f).
    low, high : float
        Limits of the numbers.
    """
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


def _check_value_range(layer: Layer, value_range: Sequence[float]) -> tuple[float, float]:
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


def float_dtype(x: np.ndarray, dtype: np.dtype | None) -> np.dtype:
    """Return the dtype to compute in: that of float32 or float64 data, else the layer's."""
    return x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(dtype or np.float32)


def scale_channels(
    x: np.ndarray, scale: np.ndarray, offset: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Return ``x * scale + offset`` in `dtype`; scale and offset have shape () or (C,)."""
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape, dtype)
    # (..., W, C) -> rows of W * C numbers, because NumPy is slow on rows of C = 3.
    repeats = x.shape[-2] if x.ndim > 2 else 1
    scale, offset = (
        np.tile(np.broadcast_to(v, x.shape[-1:]).astype(dtype), repeats) for v in (scale, offset)
    )
    rows, out = x.reshape(-1, scale.size), y.reshape(-1, scale.size)
    chunks = thread_pool.chunks(len(rows), CHUNK // scale.size)

    def task(i: int) -> None:
        part = slice(*chunks[i])
        np.multiply(rows[part], scale, out=out[part])
        np.add(out[part], offset, out=out[part])

    thread_pool.run(task, len(chunks))
    return y


def _mix_with_mean(image: np.ndarray, share: np.ndarray, out: np.ndarray) -> None:
    """Write ``share * image + (1 - share) * mean`` to `out`; image: (H, W, C), mean: (C,)."""
    height, width, channels = image.shape
    rows = image.reshape(height, width * channels)
    mean = rows.mean(axis=0).reshape(width, channels).mean(axis=0)
    np.multiply(image, share, out=out)
    flat = out.reshape(rows.shape)
    flat += np.tile((1 - share) * mean, width)
