"""BatchNormalization over the last axis.

>>> import numpy as np
>>> from minidl.layers import BatchNormalization
>>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
>>> BatchNormalization(epsilon=0.0)(x, training=True)
array([[-1., -1.],
       [ 1.,  1.]])
"""

from __future__ import annotations

import numpy as np

from minidl.common.argument_checks import check_fraction, check_number
from minidl.common.errors import ShapeError
from minidl.kernels import normalization
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities

__all__ = ["BatchNormalization"]


class BatchNormalization(Layer):
    """Give each channel mean `beta` and standard deviation `gamma`.

    In training the statistics are those of the batch, and the moving statistics follow
    them. Otherwise, and always where ``trainable`` is False, the moving statistics are used
    and stay as they are: a frozen layer behaves in training as it will in use.

    Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167

    Parameters
    ----------
    axis : int
        The last one.
    momentum : float
        How much of the old moving statistics each batch keeps.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there is a `beta` and a `gamma`.
    beta_initializer, gamma_initializer : str or Initializer
    moving_mean_initializer, moving_variance_initializer : str or Initializer
    beta_regularizer, gamma_regularizer : str or Regularizer, optional
    **kwargs
        See :class:`Layer`.
    """

    def __init__(
        self, axis=-1, momentum=0.99, epsilon=1e-3, center=True, scale=True,
        beta_initializer="zeros", gamma_initializer="ones", moving_mean_initializer="zeros",
        moving_variance_initializer="ones", beta_regularizer=None, gamma_regularizer=None,
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        self.momentum = check_fraction(self.label, "momentum", momentum)
        self.epsilon = check_number(self.label, "epsilon", epsilon, 0)
        self.center, self.scale = center, scale
        self.gamma_arguments = (gamma_initializer, True, gamma_regularizer)
        self.beta_arguments = (beta_initializer, True, beta_regularizer)
        self.moving_initializers = (moving_mean_initializer, moving_variance_initializer)

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """A frozen layer uses the moving statistics in training, too."""
        return Capabilities(
            ignores_training=not self.trainable, writes_output=True, independent_samples=True
        )

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.gamma = self.add_weight("gamma", shape, *self.gamma_arguments) if self.scale else None
        self.beta = self.add_weight("beta", shape, *self.beta_arguments) if self.center else None
        mean, variance = self.moving_initializers
        self.moving_mean = self.add_weight("moving_mean", shape, mean, trainable=False)
        self.moving_variance = self.add_weight("moving_variance", shape, variance, trainable=False)

    def compute_output_shape(self, input_shape):
        if self.axis not in (-1, len(input_shape) - 1) or len(input_shape) < 2:
            raise ShapeError(
                f"{self.label}: expected the last axis of (N, ..., C), received axis {self.axis} "
                f"for input shape {tuple(input_shape)}"
            )
        if input_shape[-1] is None:
            raise ShapeError(f"{self.label}: the number of channels must be known")
        if self.built and input_shape[-1] != self.moving_mean.shape[0]:
            raise ShapeError(
                f"{self.label}: expected {self.moving_mean.shape[0]} channels, received "
                f"{input_shape[-1]} (input shape {tuple(input_shape)})"
            )
        return input_shape

    def forward(self, x, training=False, rng=None):
        rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])  # (N, H, W, C) -> (N*H*W, C)
        uses_batch = training and self.trainable
        if uses_batch:
            mean, variance = normalization.batch_statistics(rows)
            self._follow(mean, variance)
        else:
            mean, variance = (
                p.array.astype(np.float64) for p in (self.moving_mean, self.moving_variance)
            )
        inverse_std = 1 / np.sqrt(variance + self.epsilon)
        y = normalization.normalize(rows, mean, inverse_std, self._gamma(), self._beta())
        return y.reshape(x.shape), (rows, mean, inverse_std, uses_batch)

    def infer(self, x, out=None):
        rows = x.reshape(-1, x.shape[-1])
        scale, shift = self.scale_and_shift()
        into = None if out is None else out.reshape(rows.shape)
        return normalization.scale_shift(rows, scale, shift, into).reshape(x.shape)

    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 (C,) and (C,): outside training the layer is ``x * scale + shift``."""
        mean, variance = (
            p.array.astype(np.float64) for p in (self.moving_mean, self.moving_variance)
        )
        scale = self._gamma() / np.sqrt(variance + self.epsilon)
        return scale, self._beta() - mean * scale

    def backward(self, dy, cache, need_dx=True):
        rows, mean, inverse_std, uses_batch = cache
        dz = np.ascontiguousarray(dy).reshape(rows.shape)
        if uses_batch:
            dx, dgamma, dbeta = normalization.normalize_backward(
                dz, rows, mean, inverse_std, self._gamma()
            )
        else:
            scale = self._gamma() * inverse_std
            dx = normalization.scale_shift(dz, scale, np.zeros_like(scale)) if need_dx else None
            if not self.trainable:
                return None if dx is None else dx.reshape(dy.shape), []
            dbeta, dgamma = normalization.gradient_sums(dz, rows, mean, inverse_std)
        gradients = [dgamma.astype(dy.dtype)] if self.scale else []
        gradients += [dbeta.astype(dy.dtype)] if self.center else []
        return dx.reshape(dy.shape) if dx is not None else None, gradients

    def _follow(self, mean, variance) -> None:
        """Move the moving statistics towards those of this batch."""
        for parameter, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = parameter.array
            parameter.array = (old * self.momentum + new * (1 - self.momentum)).astype(old.dtype)

    def _gamma(self):
        return self.gamma.array if self.gamma is not None else np.ones(self.moving_mean.shape)

    def _beta(self):
        return self.beta.array if self.beta is not None else np.zeros(self.moving_mean.shape)
