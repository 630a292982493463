"""Dense, Flatten and Reshape.

>>> import numpy as np
>>> from minidl.layers import Dense
>>> Dense(2, kernel_initializer="ones")(np.array([[1.0, 2.0]]))
array([[3., 3.]])
"""

from __future__ import annotations

import math

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.errors import ShapeError
from minidl.kernels.activations import add_bias
from minidl.kernels.matmul import matmul
from minidl.layers.activation import get_activation
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities

__all__ = ["Dense", "Flatten", "Reshape"]


class Dense(Layer):
    """Fully connected: ``activation(x @ kernel + bias)`` over the last axis.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or layer, optional
        Applied to the result.
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    **kwargs
        See :class:`Layer`.

    Notes
    -----
    Input (N, ..., C), output (N, ..., units), kernel (C, units), bias (units,).
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self, units, activation=None, use_bias=True, kernel_initializer="glorot_uniform",
        bias_initializer="zeros", kernel_regularizer=None, bias_regularizer=None, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.units = check_integer(self.label, "units", units, 1)
        self.activation = get_activation(activation, self)
        self.use_bias = use_bias
        self.initializers = (kernel_initializer, bias_initializer)
        self.regularizers = (kernel_regularizer, bias_regularizer)

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight(
            "kernel", shape, self.initializers[0], regularizer=self.regularizers[0]
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", (self.units,), self.initializers[1], regularizer=self.regularizers[1]
            )

    def compute_output_shape(self, input_shape):
        if len(input_shape) < 2:
            raise ShapeError(
                f"{self.label}: expected input (N, features), received shape {tuple(input_shape)}"
            )
        features = input_shape[-1]
        if features is None:
            raise ShapeError(
                f"{self.label}: the number of input features is not known from shape "
                f"{tuple(input_shape)}; give the Input fixed sizes or pool globally first"
            )
        if self.built and features != self.kernel.shape[0]:
            raise ShapeError(
                f"{self.label}: expected {self.kernel.shape[0]} input features, "
                f"received {features} (input shape {tuple(input_shape)})"
            )
        return (*input_shape[:-1], self.units)

    def forward(self, x, training=False, rng=None):
        z = matmul(x.reshape(-1, x.shape[-1]), self.kernel.array)  # (N, C) -> (N, units)
        relu = getattr(self.activation, "is_plain", False)
        add_bias(z, None if self.bias is None else self.bias.array, relu)
        z = z.reshape(*x.shape[:-1], self.units)
        if relu:
            return z, (x, z)
        if self.activation is not None:
            y, saved = self.activation.apply_in_place(z)
            return y, (x, saved)
        return z, (x, None)

    def backward(self, dy, cache, need_dx=True):
        x, saved = cache
        dz = dy if self.activation is None else self.activation.gradient(dy, saved)
        dz = np.ascontiguousarray(dz).reshape(-1, self.units)
        dx = matmul(dz, self.kernel.array.T).reshape(x.shape) if need_dx else None
        if not self.kernel.trainable:
            return dx, []
        gradients = [matmul(x.reshape(-1, x.shape[-1]).T, dz)]
        if self.bias is not None:
            gradients.append(dz.sum(axis=0))
        return dx, gradients

    def multiply_adds(self, input_shape, output_shape):
        return math.prod(n or 1 for n in output_shape[1:]) * input_shape[-1]


class Flatten(Layer):
    """(N, H, W, C) -> (N, H * W * C), without a copy."""

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def compute_output_shape(self, input_shape):
        sizes = input_shape[1:]
        return input_shape[0], None if None in sizes else math.prod(sizes)

    def forward(self, x, training=False, rng=None):
        return x.reshape(len(x), math.prod(x.shape[1:])), x.shape  # -1 fails for no samples

    def backward(self, dy, cache, need_dx=True):
        return dy.reshape(cache), []


class Reshape(Layer):
    """Give each sample another shape; one size may be -1.

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch.
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(self, target_shape, **kwargs):
        super().__init__(**kwargs)
        sizes = target_shape if isinstance(target_shape, (tuple, list)) else [None]
        whole = all(isinstance(n, (int, np.integer)) and n >= -1 for n in sizes)
        if not whole or sum(n == -1 for n in sizes) > 1:
            raise ValueError(
                f"{self.label}: expected target_shape as a tuple of sizes of which one may be -1, "
                f"received {target_shape!r}"
            )
        self.target_shape = tuple(int(n) for n in sizes)

    def compute_output_shape(self, input_shape):
        if None in input_shape[1:]:
            return input_shape[0], *(None if n == -1 else n for n in self.target_shape)
        size, known = math.prod(input_shape[1:]), math.prod(n for n in self.target_shape if n != -1)
        fits = size == known if -1 not in self.target_shape else known and size % known == 0
        if not fits:
            raise ShapeError(
                f"{self.label}: cannot turn {tuple(input_shape[1:])} ({size} numbers) into "
                f"{self.target_shape}"
            )
        return input_shape[0], *(size // known if n == -1 else n for n in self.target_shape)

    def forward(self, x, training=False, rng=None):
        return x.reshape(len(x), *self.compute_output_shape(x.shape)[1:]), x.shape

    def backward(self, dy, cache, need_dx=True):
        return dy.reshape(cache), []
