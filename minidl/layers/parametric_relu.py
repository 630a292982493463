"""PReLU: a rectifier whose slope for negative inputs is learned.

>>> import numpy as np
>>> from minidl.layers import PReLU
>>> from minidl.layers.initializers import Constant
>>> PReLU(Constant(0.25))(np.array([[-4.0, 2.0]]))
array([[-1.,  2.]])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.layers import initializers, regularizers
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.initializers import InitializerLike
from minidl.layers.regularizers import RegularizerLike

__all__ = ["PReLU"]


class PReLU(Layer):
    """``x`` above zero, ``alpha * x`` below, with a learned `alpha`.

    He, Zhang, Ren and Sun (2015), https://arxiv.org/abs/1502.01852

    Parameters
    ----------
    alpha_initializer : str or Initializer
    alpha_regularizer : str or Regularizer, optional
    shared_axes : sequence of int, optional
        Axes along which `alpha` is the same; (1, 2) gives one slope for each channel of an
        image. The batch is axis 0 and always shared.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ShapeError
        When built: if the input lacks one of `shared_axes`, or another axis is open.

    Notes
    -----
    `alpha` has the shape of one sample, with size 1 along `shared_axes`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = PReLU(shared_axes=(1, 2))
    >>> layer(np.zeros((1, 8, 8, 3), "float32")).shape, layer.alpha.shape
    ((1, 8, 8, 3), (1, 1, 3))
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        alpha_initializer: InitializerLike = "zeros",
        alpha_regularizer: RegularizerLike = None,
        shared_axes: Sequence[int] | int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes
        self.shared_axes = None if axes is None else tuple(int(axis) for axis in axes)
        if self.shared_axes is not None and any(axis < 1 for axis in self.shared_axes):
            raise ValueError(
                f"{self.label}: expected shared_axes >= 1, received {self.shared_axes}"
            )

    def build(self, input_shape: Shape) -> None:
        self.alpha = self.add_weight(
            "alpha",
            self._alpha_shape(input_shape),
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
        )

    def _alpha_shape(self, input_shape: Shape) -> Shape:
        shared = self.shared_axes or ()
        return tuple(1 if i in shared else n for i, n in enumerate(input_shape))[1:]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        expected = self._alpha_shape(input_shape)
        last = max(self.shared_axes or (0,))
        if last >= len(input_shape) or None in expected:
            raise ShapeError(
                f"{self.label}: expected known sizes along all axes but shared_axes "
                f"{self.shared_axes}, received shape {tuple(input_shape)}. Share the open axes."
            )
        if self.built and expected != self.alpha.shape:
            raise ShapeError(
                f"{self.label}: expected alpha of shape {expected} for input shape "
                f"{tuple(input_shape)}, received {self.alpha.shape}"
            )
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return np.where(x > 0, x, x * self.alpha.array), x

    def backward(self, dy: np.ndarray, cache: np.ndarray, need_dx: bool = True) -> Gradients:
        x, alpha = cache, self.alpha.array
        dx = np.where(x > 0, dy, dy * alpha)
        if not self.alpha.trainable:
            return dx, []
        dalpha = np.where(x > 0, 0, dy * x).sum(axis=0)  # (N, H, W, C) -> (H, W, C)
        shared = tuple(axis - 1 for axis in self.shared_axes or ())
        return dx, [dalpha.sum(axis=shared, keepdims=True).astype(dy.dtype)]
