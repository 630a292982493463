"""BatchNormalization over the last axis.

>>> import numpy as np
>>> from minidl.layers import BatchNormalization
>>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
>>> BatchNormalization(epsilon=0.0)(x, training=True)
array([[-1., -1.],
       [ 1.,  1.]])
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from minidl.common.argument_checks import check_fraction, check_number
from minidl.common.errors import ShapeError
from minidl.kernels import normalization
from minidl.layers import initializers, regularizers
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.initializers import InitializerLike
from minidl.layers.regularizers import RegularizerLike

__all__ = ["BatchNormalization", "BatchStatistics", "collect_statistics"]

TRAINABLE = Capabilities(writes_output=True, independent_samples=True)
FROZEN = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)


class BatchStatistics(NamedTuple):
    """Mean and variance (C,) of the rows that a layer has normalized, and their number."""

    layer: BatchNormalization
    rows: int
    mean: np.ndarray
    variance: np.ndarray


_collected: ContextVar[list[BatchStatistics] | None] = ContextVar("statistics", default=None)


@contextlib.contextmanager
def collect_statistics() -> Iterator[list[BatchStatistics]]:
    """Collect the batch statistics inside the block instead of updating the moving statistics."""
    collected: list[BatchStatistics] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


class BatchNormalization(Layer):
    """Normalize each channel, then scale by gamma and shift by beta.

    In training, the mean and variance are those of the batch, and the moving statistics are
    updated with them. In inference, and always if ``trainable`` is False, the moving statistics
    are used and stay unchanged. Thus a frozen layer computes the same in training and inference.

    Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167

    Parameters
    ----------
    axis : int
        Must be the last axis.
    momentum : float
        Weight of the old moving statistics in their update, from 0 to 1.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a `beta` and a `gamma`.
    beta_initializer, gamma_initializer : str or Initializer
    moving_mean_initializer, moving_variance_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        For a momentum or an epsilon out of range.
    ShapeError
        When built or called: if `axis` is not the last one, or the number of channels is unknown
        or differs from the parameters'.

    Notes
    -----
    Input and output (N, ..., C), all parameters (C,).

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNormalization(momentum=0.5)
    >>> _ = layer(np.array([[1.0], [3.0]]), training=True)
    >>> layer.moving_mean.value
    array([1.])
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike = "zeros",
        gamma_initializer: InitializerLike = "ones",
        moving_mean_initializer: InitializerLike = "zeros",
        moving_variance_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None,
        gamma_regularizer: RegularizerLike = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        self.momentum = check_fraction(self.label, "momentum", momentum)
        self.epsilon = check_number(self.label, "epsilon", epsilon, 0)
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """A frozen layer also uses the moving statistics in training."""
        return TRAINABLE if self.trainable else FROZEN

    def build(self, input_shape: Shape) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                "gamma", shape, self.gamma_initializer, regularizer=self.gamma_regularizer
            )
        if self.center:
            self.beta = self.add_weight(
                "beta", shape, self.beta_initializer, regularizer=self.beta_regularizer
            )
        self.moving_mean = self.add_weight(
            "moving_mean", shape, self.moving_mean_initializer, trainable=False
        )
        self.moving_variance = self.add_weight(
            "moving_variance", shape, self.moving_variance_initializer, trainable=False, minimum=0
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.axis not in (-1, len(input_shape) - 1) or len(input_shape) < 2:
            raise ShapeError(
                f"{self.label}: expected the last axis of (N, ..., C), received axis {self.axis} "
                f"for input shape {tuple(input_shape)}"
            )
        self.check_channels(input_shape, self.moving_mean.shape[0] if self.built else None)
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return self.forward_within(normalization.UNLIMITED, x, training)

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        gradient, gradients = self.input_gradient(dy, cache)
        return gradient.array().reshape(dy.shape) if need_dx else None, gradients

    def forward_within(self, limits: tuple[float, float], x: np.ndarray, training: bool) -> Output:
        """Return the output, replaced by the nearer one of two limits outside them, and the cache.

        The limits are those of a ReLU after this layer, such as (0, 6).
        """
        rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (N, H, W, C) -> (N*H*W, C)
        uses_batch = training and self.trainable
        if uses_batch:
            mean, variance = normalization.batch_statistics(rows)
            collected = _collected.get()
            if collected is None:
                self.update_moving_statistics(mean, variance)
            else:
                collected.append(BatchStatistics(self, len(rows), mean, variance))
        else:
            mean, variance = self._moving_statistics()
        inverse_std = 1 / np.sqrt(variance + self.epsilon)
        y = normalization.normalize(rows, mean, inverse_std, self._gamma(), self._beta(), limits)
        return y.reshape(x.shape), (rows, mean, inverse_std, uses_batch, limits)

    def input_gradient(
        self, dy: np.ndarray, cache: Any
    ) -> tuple[normalization.InputGradient, list[np.ndarray]]:
        """Return dx in a form that computes it row by row, and the parameters' gradients."""
        rows, mean, inverse_std, uses_batch, limits = cache
        dz = np.ascontiguousarray(dy).reshape(rows.shape)  # (N, H, W, C) -> (N*H*W, C)
        gradient = normalization.InputGradient(
            dz, rows, mean, inverse_std, self._gamma(), self._beta(), limits
        )
        if not self.trainable:
            return gradient, []
        dbeta, dgamma = gradient.through_statistics() if uses_batch else gradient.sums()
        gradients = [dgamma.astype(dy.dtype)] if self.scale else []
        return gradient, [*gradients, dbeta.astype(dy.dtype)] if self.center else gradients

    def infer(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        rows = x.reshape(-1, x.shape[-1])
        rows_out = None if out is None else out.reshape(rows.shape)
        return normalization.scale_shift(rows, *self.scale_and_shift(), rows_out).reshape(x.shape)

    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 (C,) and (C,) such that inference is ``x * scale + shift``."""
        mean, variance = self._moving_statistics()
        scale = self._gamma() / np.sqrt(variance + self.epsilon)
        return scale, self._beta() - mean * scale

    def _moving_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = self.moving_mean.array, self.moving_variance.array
        return mean.astype(np.float64), variance.astype(np.float64)

    def update_moving_statistics(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """Move the moving statistics towards the mean and the variance (C,) of a batch."""
        for parameter, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moved = parameter.array * self.momentum + new * (1 - self.momentum)
            with np.errstate(over="ignore"):  # infinite in a training that diverges, no error
                parameter.assign(moved.astype(parameter.array.dtype))

    def _gamma(self) -> np.ndarray:
        return np.ones(self.moving_mean.shape) if self.gamma is None else self.gamma.array

    def _beta(self) -> np.ndarray:
        return np.zeros(self.moving_mean.shape) if self.beta is None else self.beta.array
