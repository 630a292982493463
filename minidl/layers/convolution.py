"""Conv2D, DepthwiseConv2D and ZeroPadding2D over images (N, H, W, C).

>>> import numpy as np
>>> from minidl.layers import Conv2D
>>> Conv2D(8, 3, strides=2, padding="same")(np.zeros((1, 5, 5, 3), "float32")).shape
(1, 3, 3, 8)
"""

from __future__ import annotations

import numpy as np

from minidl.common.argument_checks import check_integer, check_pair
from minidl.common.errors import ShapeError
from minidl.kernels.activations import add_bias
from minidl.kernels.convolution.depthwise import depthwise, depthwise_backward
from minidl.kernels.convolution.dispatch import convolve, convolve_backward
from minidl.kernels.geometry import Convolution, Window
from minidl.layers.activation import get_activation
from minidl.layers.base import Layer, Shape
from minidl.layers.capabilities import Capabilities

__all__ = ["Conv2D", "DepthwiseConv2D", "ZeroPadding2D"]


class _Convolution(Layer):
    """What Conv2D and DepthwiseConv2D share: bias, activation, arguments, shapes."""

    def __init__(
        self, kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
        bias_initializer, bias_regularizer, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        check_data_format(self, data_format)
        self.window = make_window(self, kernel_size, strides, padding, dilation_rate)
        self.activation = get_activation(activation, self)
        self.use_bias = use_bias
        self.bias = None
        self.bias_arguments = (bias_initializer, bias_regularizer)

    def _add_bias_weight(self, channels: int) -> None:
        if self.use_bias:
            initializer, regularizer = self.bias_arguments
            self.bias = self.add_weight("bias", (channels,), initializer, regularizer=regularizer)

    def _output_shape(self, input_shape: Shape, channels_out: int, channels_in: int) -> Shape:
        self.check_rank(input_shape, 4, "(N, H, W, C)")
        if input_shape[3] is None:
            raise ShapeError(f"{self.label}: the number of input channels must be known")
        if self.built and input_shape[3] != channels_in:
            raise ShapeError(
                f"{self.label}: expected {channels_in} channels, received {input_shape[3]} "
                f"(input shape {tuple(input_shape)})"
            )
        return (input_shape[0], *checked_output_size(self, self.window, input_shape), channels_out)

    def _activate(self, z):
        """Return ``(y, what the activation's gradient needs)``; `z` may be overwritten."""
        if self.activation is None:
            return z, None
        return self.activation.apply_in_place(z)

    def _before_activation(self, dy, saved):
        dz = dy if self.activation is None else self.activation.gradient(dy, saved)
        return np.ascontiguousarray(dz)

    def _bias_gradient(self, dz) -> list[np.ndarray]:
        return [] if self.bias is None else [dz.reshape(-1, dz.shape[-1]).sum(axis=0)]


class Conv2D(_Convolution):
    """Two-dimensional convolution (cross-correlation, as everywhere in deep learning).

    Parameters
    ----------
    filters : int
        Output channels K.
    kernel_size : int or (int, int)
    strides : int or (int, int)
    padding : {"valid", "same"}
        "same" pads with zeros to ``ceil(size / stride)``, TensorFlow's way.
    dilation_rate : int or (int, int)
    groups : int
        Channels are cut into this many groups that do not see one another.
    activation : str or layer, optional
    use_bias : bool
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
    **kwargs
        See :class:`Layer`.

    Notes
    -----
    Kernel (KH, KW, C / groups, K), bias (K,).

    Raises
    ------
    ShapeError
        When built or called: for an input that is not (N, H, W, C), whose channels differ
        from the kernel's or that is smaller than the window.
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self, filters, kernel_size, strides=(1, 1), padding="valid", data_format=None,
        dilation_rate=(1, 1), groups=1, activation=None, use_bias=True,
        kernel_initializer="glorot_uniform", bias_initializer="zeros",
        kernel_regularizer=None, bias_regularizer=None, **kwargs,
    ):  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = check_integer(self.label, "filters", filters, 1)
        groups = check_integer(self.label, "groups", groups, 1)
        if self.filters % groups:
            raise ValueError(
                f"{self.label}: filters ({filters}) must be a multiple of groups ({groups})"
            )
        self.convolution = Convolution(**vars(self.window), groups=groups)
        self.kernel_arguments = (kernel_initializer, kernel_regularizer)

    def build(self, input_shape):
        groups = self.convolution.groups
        shape = (*self.window.kernel_size, input_shape[3] // groups, self.filters)
        initializer, regularizer = self.kernel_arguments
        self.kernel = self.add_weight("kernel", shape, initializer, regularizer=regularizer)
        self._add_bias_weight(self.filters)

    def compute_output_shape(self, input_shape):
        groups = self.convolution.groups
        expected = self.kernel.shape[2] * groups if self.built else None
        shape = self._output_shape(input_shape, self.filters, expected)
        if input_shape[3] % groups:
            raise ShapeError(
                f"{self.label}: {input_shape[3]} input channels cannot be cut into {groups} groups"
            )
        return shape

    def forward(self, x, training=False, rng=None):
        bias = None if self.bias is None else self.bias.array
        relu = self._has_plain_relu()
        y = convolve(x, self.kernel.array, bias, self.convolution, relu)
        if relu:
            return y, (x, y)
        y, saved = self._activate(y)
        return y, (x, saved)

    def backward(self, dy, cache, need_dx=True):
        x, saved = cache
        relu_output = saved if self._has_plain_relu() else None
        dz = np.ascontiguousarray(dy)
        if relu_output is None:
            dz = self._before_activation(dy, saved)
        dx, dw, dbias = convolve_backward(
            x, self.kernel.array, dz, self.convolution, relu_output, need_dx,
            need_dw=self.kernel.trainable, with_bias=self.bias is not None,
        )  # fmt: skip
        if not self.kernel.trainable:
            return dx, []
        return dx, [dw] if self.bias is None else [dw, dbias]

    def _has_plain_relu(self) -> bool:
        """Whether the kernels can take the activation along."""
        return getattr(self.activation, "is_plain", False)

    def multiply_adds(self, input_shape, output_shape):
        return _pixels(output_shape) * int(np.prod(self.kernel.shape))


class DepthwiseConv2D(_Convolution):
    """Convolution of each channel with kernels of its own.

    Parameters
    ----------
    kernel_size, strides, padding, dilation_rate, activation, use_bias
        As for :class:`Conv2D`.
    depth_multiplier : int
        Output channels for each input channel.
    depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer
    **kwargs
        See :class:`Layer`.

    Notes
    -----
    Kernel (KH, KW, C, depth_multiplier), bias (C * depth_multiplier,).
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self, kernel_size, strides=(1, 1), padding="valid", depth_multiplier=1, data_format=None,
        dilation_rate=(1, 1), activation=None, use_bias=True,
        depthwise_initializer="glorot_uniform", bias_initializer="zeros",
        depthwise_regularizer=None, bias_regularizer=None, **kwargs,
    ):  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            bias_initializer, bias_regularizer, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = check_integer(self.label, "depth_multiplier", depth_multiplier, 1)
        self.kernel_arguments = (depthwise_initializer, depthwise_regularizer)

    def build(self, input_shape):
        shape = (*self.window.kernel_size, input_shape[3], self.depth_multiplier)
        initializer, regularizer = self.kernel_arguments
        self.kernel = self.add_weight("kernel", shape, initializer, regularizer=regularizer)
        self._add_bias_weight(input_shape[3] * self.depth_multiplier)

    def compute_output_shape(self, input_shape):
        expected = self.kernel.shape[2] if self.built else None
        channels = (input_shape[-1] or 0) * self.depth_multiplier
        return self._output_shape(input_shape, channels, expected)

    def forward(self, x, training=False, rng=None):
        z = depthwise(x, self.kernel.array, self.window)
        if self.bias is not None:
            add_bias(z.reshape(-1, z.shape[-1]), self.bias.array)
        y, saved = self._activate(z)
        return y, (x, saved)

    def backward(self, dy, cache, need_dx=True):
        x, saved = cache
        dz = self._before_activation(dy, saved)
        dx, dw = depthwise_backward(x, self.kernel.array, dz, self.window, need_dx)
        return dx, [dw, *self._bias_gradient(dz)] if self.kernel.trainable else []

    def multiply_adds(self, input_shape, output_shape):
        return _pixels(output_shape) * int(np.prod(self.kernel.shape))


class ZeroPadding2D(Layer):
    """Zeros around the image.

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int))
        The same on all sides; (vertical, horizontal); or ((top, bottom), (left, right)).
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(self, padding=(1, 1), data_format=None, **kwargs):
        super().__init__(**kwargs)
        check_data_format(self, data_format)
        sides = [_twice(side) for side in _twice(padding)]  # ((top, bottom), (left, right))
        numbers = [n for side in sides for n in side]
        whole = all(isinstance(n, (int, np.integer)) for n in numbers)
        if not whole or [len(side) for side in sides] != [2, 2]:
            raise ValueError(
                f"{self.label}: expected padding as an integer, (vertical, horizontal) or "
                f"((top, bottom), (left, right)), received {padding!r}"
            )
        if min(numbers) < 0:
            raise ValueError(f"{self.label}: expected padding >= 0, received {padding!r}")
        self.pads = tuple(numbers[:2]), tuple(numbers[2:])

    def compute_output_shape(self, input_shape):
        self.check_rank(input_shape, 4, "(N, H, W, C)")
        height, width = (
            None if n is None else n + sum(pad)
            for n, pad in zip(input_shape[1:3], self.pads, strict=True)
        )
        return input_shape[0], height, width, input_shape[3]

    def forward(self, x, training=False, rng=None):
        return np.pad(x, ((0, 0), *self.pads, (0, 0))), None

    def backward(self, dy, cache, need_dx=True):
        (top, bottom), (left, right) = self.pads
        height, width = dy.shape[1:3]
        return np.ascontiguousarray(dy[:, top : height - bottom, left : width - right]), []


def _twice(value) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def make_window(layer: Layer, kernel_size, strides, padding, dilation_rate=(1, 1)) -> Window:
    """Check the arguments of a window that slides over an image."""
    if not isinstance(padding, str) or padding.lower() not in ("valid", "same"):
        raise ValueError(f"{layer.label}: expected padding 'valid' or 'same', received {padding!r}")
    return Window(
        check_pair(layer.label, "kernel_size", kernel_size),
        check_pair(layer.label, "strides", strides),
        padding.lower(),
        check_pair(layer.label, "dilation_rate", dilation_rate),
    )


def checked_output_size(layer: Layer, window: Window, input_shape: Shape):
    """Return the window's output size, or raise where it does not fit into the input."""
    size = window.output_size(*input_shape[1:3])
    if any(n is not None and n < 1 for n in size):
        raise ShapeError(
            f"{layer.label}: a window of {window.extent} does not fit into the input "
            f"{tuple(input_shape)}; use padding='same', a smaller window or larger images"
        )
    return size


def check_data_format(layer: Layer, data_format: str | None) -> None:
    """Images are (N, H, W, C) in minidl; say so to whoever asks for another order."""
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"{layer.label}: expected data_format 'channels_last' (N, H, W, C), "
            f"received {data_format!r}"
        )


def _pixels(shape: Shape) -> int:
    return (shape[1] or 1) * (shape[2] or 1)
