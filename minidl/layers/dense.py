"""Dense, Flatten, Reshape, and the base class of layers with a kernel and a bias.

>>> import numpy as np
>>> from minidl.layers import Dense
>>> Dense(2, kernel_initializer="ones")(np.array([[1.0, 2.0]]))
array([[3., 3.]])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_integer
from minidl.common.errors import ShapeError
from minidl.kernels.activations import add_bias
from minidl.kernels.matmul import matmul
from minidl.layers import initializers, regularizers
from minidl.layers.activation import ActivationLike, get_activation
from minidl.layers.base import Gradients, Layer, Output, Parameter, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.initializers import InitializerLike
from minidl.layers.regularizers import RegularizerLike

__all__ = ["Dense", "Flatten", "KernelLayer", "Reshape"]


class KernelLayer(Layer):
    """Base class of Dense and the convolutions: a kernel, an optional bias and activation."""

    kernel: Parameter
    bias: Parameter | None

    def __init__(
        self,
        *,
        activation: ActivationLike,
        use_bias: bool,
        kernel_initializer: InitializerLike,
        bias_initializer: InitializerLike,
        kernel_regularizer: RegularizerLike,
        bias_regularizer: RegularizerLike,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.activation = get_activation(activation, self)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def add_kernel_and_bias(self, kernel_shape: tuple[int, ...], outputs: int) -> None:
        """Create the parameters `kernel` and, if ``use_bias``, `bias` of shape (outputs,)."""
        self.kernel = self.add_weight(
            "kernel", kernel_shape, self.kernel_initializer, regularizer=self.kernel_regularizer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                "bias", (outputs,), self.bias_initializer, regularizer=self.bias_regularizer
            )

    @property
    def fuses_relu(self) -> bool:
        """Whether the kernels compute the activation: it is a plain ReLU."""
        return getattr(self.activation, "is_plain", False)

    def activate(self, z: np.ndarray) -> Output:
        """Return ``(y, saved)`` for pre-activations `z`, which may be overwritten."""
        if self.activation is None:
            return z, None
        return self.activation.apply_in_place(z)

    def activation_gradient(self, dy: np.ndarray, saved: Any) -> np.ndarray:
        """Return the gradient with respect to the pre-activations, C-contiguous."""
        dz = dy if self.activation is None else self.activation.gradient(dy, saved)
        return np.ascontiguousarray(dz)


class Dense(KernelLayer):
    """Fully connected layer: ``activation(x @ kernel + bias)`` over the last axis.

    Parameters
    ----------
    units : int
        Number of outputs.
    activation : str or layer, optional
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If `units` is not a positive integer, or a name is unknown.
    ShapeError
        When called: if the number of input features is unknown or not the kernel's.

    Notes
    -----
    Input (N, ..., C), output (N, ..., units), kernel (C, units), bias (units,).

    Examples
    --------
    >>> import numpy as np
    >>> Dense(4)(np.ones((2, 3), "float32")).shape
    (2, 4)
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        units: int,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **kwargs: Any,
    ):
        super().__init__(
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            **kwargs,
        )
        self.units = check_integer(self.label, "units", units, 1)

    def build(self, input_shape: Shape) -> None:
        self.add_kernel_and_bias((input_shape[-1], self.units), self.units)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2:
            raise ShapeError(
                f"{self.label}: expected input (N, features), received shape {tuple(input_shape)}"
            )
        features = self.kernel.shape[0] if self.built else None
        self.check_channels(input_shape, features, "input features")
        return (*input_shape[:-1], self.units)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        z = matmul(x.reshape(-1, x.shape[-1]), self.kernel.array)  # (N, C) -> (N, units)
        relu = self.fuses_relu
        add_bias(z, None if self.bias is None else self.bias.array, relu)
        z = z.reshape(*x.shape[:-1], self.units)
        y, saved = (z, z) if relu else self.activate(z)
        return y, (x, saved)

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        x, saved = cache
        dz = self.activation_gradient(dy, saved).reshape(-1, self.units)  # (N, units)
        dx = matmul(dz, self.kernel.array.T).reshape(x.shape) if need_dx else None
        if not self.kernel.trainable:
            return dx, []
        dkernel = matmul(x.reshape(-1, x.shape[-1]).T, dz)  # (C, N) @ (N, units)
        return dx, [dkernel] if self.bias is None else [dkernel, dz.sum(axis=0)]

    def multiply_adds(self, input_shape: Shape, output_shape: Shape) -> int:
        return math.prod(n or 1 for n in (*output_shape[1:], input_shape[-1]))


class _Reshaping(Layer):
    """Base class of Flatten and Reshape, which return a view of their input."""

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return x.reshape(self.compute_output_shape(x.shape)), x.shape

    def backward(self, dy: np.ndarray, cache: Shape, need_dx: bool = True) -> Gradients:
        return dy.reshape(cache), []


class Flatten(_Reshaping):
    """(N, H, W, C) -> (N, H * W * C), without a copy.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 3, 3, 1))).shape
    (2, 9)
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = input_shape[1:]
        return input_shape[0], None if None in sizes else math.prod(sizes)


class Reshape(_Reshaping):
    """Change the shape of each sample.

    Parameters
    ----------
    target_shape : tuple of int
        Shape without the batch; one size may be -1 and follows from the others.
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If `target_shape` is not such a tuple.
    ShapeError
        When called: if the number of elements differs.

    Examples
    --------
    >>> import numpy as np
    >>> Reshape((3, -1))(np.zeros((2, 6))).shape
    (2, 3, 2)
    """

    def __init__(self, target_shape: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        sizes = target_shape if isinstance(target_shape, (tuple, list)) else [None]
        whole = all(isinstance(n, (int, np.integer)) and n >= -1 for n in sizes)
        if not whole or sum(n == -1 for n in sizes) > 1:
            raise ValueError(
                f"{self.label}: expected target_shape as a tuple of sizes of which one may be -1, "
                f"received {target_shape!r}"
            )
        self.target_shape = tuple(int(n) for n in sizes)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if None in input_shape[1:]:
            return input_shape[0], *(None if n == -1 else n for n in self.target_shape)
        size, known = math.prod(input_shape[1:]), math.prod(n for n in self.target_shape if n != -1)
        fits = size == known if -1 not in self.target_shape else known and size % known == 0
        if not fits:
            raise ShapeError(
                f"{self.label}: expected {self.target_shape} to have as many elements as "
                f"the input, received shape {tuple(input_shape[1:])} ({size} elements)"
            )
        return input_shape[0], *(size // known if n == -1 else n for n in self.target_shape)
