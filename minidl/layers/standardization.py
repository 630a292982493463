"""Normalization: features shifted and scaled by the mean and variance of a data set.

>>> import numpy as np
>>> from minidl.layers import Normalization
>>> layer = Normalization()
>>> layer.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
>>> layer(np.array([[2.0, 40.0]]))
array([[0., 2.]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.errors import ShapeError
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.preprocessing import float_dtype, scale_channels

__all__ = ["Normalization"]

EPSILON = 1e-7  # lower limit of the deviation, as in Keras


class Normalization(Layer):
    """``(x - mean) / sqrt(variance)``, with statistics that no gradient changes.

    Unlike :class:`BatchNormalization`, it computes the same in training and inference. Mean and
    variance are arguments, or parameters that :meth:`adapt` or a weight file sets.

    Parameters
    ----------
    axis : int, sequence of int, or None
        Axes along which each position has statistics of its own; None: one mean for everything.
    mean, variance : float or sequence of float, optional
        The statistics, broadcast to the sizes of `axis`. Then the layer has no parameters.
    invert : bool
        Compute ``x * sqrt(variance) + mean``.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        For a mean without a variance, or statistics that are not numbers or negative.
    ShapeError
        When built: if the input lacks an axis, its size is unknown, or the statistics do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> Normalization(mean=[1.0, 2.0], variance=4.0)(np.array([[3.0, 2.0]]))
    array([[1., 0.]])
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis = axis if axis is None or isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                f"{self.label}: expected mean and variance, or neither, received mean={mean!r} "
                f"and variance={variance!r}"
            )
        self.mean = None if mean is None else np.asarray(mean)
        self.variance = None if variance is None else np.asarray(variance)
        for name, value in (("mean", self.mean), ("variance", self.variance)):
            if value is not None and (
                value.dtype.kind not in "iuf" or (name == "variance" and (value < 0).any())
            ):
                raise ValueError(
                    f"{self.label}: expected {name} to be numbers{' >= 0' * (name != 'mean')}, "
                    f"received {value.tolist()!r}"
                )
        self.invert = bool(invert)

    def build(self, input_shape: Shape) -> None:
        if self.mean is None:
            sizes = tuple(input_shape[i] for i in self.kept_axes(len(input_shape)))
            self.adapt_mean = self.add_weight("mean", sizes, "zeros", trainable=False)
            self.adapt_variance = self.add_weight("variance", sizes, "ones", False, minimum=0)
            # Keras' files have it; it has no effect.
            self.count = self.add_weight("count", (), "zeros", trainable=False)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rank = len(input_shape)
        axes = self.kept_axes(rank)
        sizes = tuple(input_shape[i] for i in axes if 0 <= i < rank)
        expected = self.adapt_mean.shape if self.parameters else sizes
        if len(sizes) < len(axes) or None in sizes or sizes != expected:
            raise ShapeError(
                f"{self.label}: expected input whose axes {self.axis} have "
                f"{f'the sizes {expected}' if self.parameters else 'known sizes'}, received shape "
                f"{tuple(input_shape)}"
            )
        if self.mean is not None:
            self.scale_and_shift(input_shape)  # raises ShapeError
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        scale, shift = self.scale_and_shift(x.shape)
        return self._affine(x, scale, shift, float_dtype(x, self.dtype)), scale

    def backward(self, dy: np.ndarray, cache: np.ndarray, need_dx: bool = True) -> Gradients:
        return self._affine(dy, cache, np.zeros_like(cache), dy.dtype), []

    def adapt(self, data: ArrayLike) -> None:
        """Set mean and variance to those of a data set.

        Parameters
        ----------
        data : array (N, ...)

        Raises
        ------
        ValueError
            If the statistics are arguments of the layer.
        """
        if self.mean is not None:
            raise ValueError(
                f"{self.label}: expected statistics without fixed values, received the argument "
                "mean. Leave mean and variance out to adapt the layer."
            )
        x = np.asarray(data)
        self.ensure_built((None, *x.shape[1:]), float_dtype(x, self.dtype))
        self.compute_output_shape(x.shape)
        reduced = tuple(i for i in range(x.ndim) if i not in self.kept_axes(x.ndim))
        self.adapt_mean.assign(x.mean(axis=reduced, dtype=np.float64))
        self.adapt_variance.assign(x.var(axis=reduced, dtype=np.float64))

    def kept_axes(self, rank: int) -> list[int]:
        """Return the sorted axes, counted from 0; `rank` stands for one that the input lacks."""
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis or ()
        return sorted(i % rank if -rank <= i < rank else rank for i in axes)

    def _affine(
        self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray, dtype: np.dtype
    ) -> np.ndarray:
        if self.kept_axes(x.ndim) == [x.ndim - 1]:
            return scale_channels(x, scale.ravel(), shift.ravel(), dtype)
        y = np.multiply(x, scale.astype(dtype), dtype=dtype)
        return np.add(y, shift.astype(dtype), out=y)

    def scale_and_shift(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 arrays of as many axes as `shape`: the output is x * scale + shift."""
        if self.mean is not None and self.variance is not None:
            statistics = [self.mean, self.variance]
        else:
            statistics = [self.adapt_mean.array, self.adapt_variance.array]
        mean, variance = (self._broadcast(value, shape) for value in statistics)
        deviation = np.maximum(np.sqrt(variance), EPSILON)
        return (deviation, mean) if self.invert else (1 / deviation, -mean / deviation)

    def _broadcast(self, value: np.ndarray, shape: Shape) -> np.ndarray:
        """Return statistics in float64, shaped for inputs of `shape`."""
        kept = self.kept_axes(len(shape))
        try:
            full = np.broadcast_to(value, [shape[i] for i in kept])
        except ValueError:
            raise ShapeError(
                f"{self.label}: expected statistics for the axes {self.axis} of an input of shape "
                f"{tuple(shape)}, received shape {value.shape}"
            ) from None
        return full.astype(np.float64).reshape([n if i in kept else 1 for i, n in enumerate(shape)])
