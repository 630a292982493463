"""Conv2D, DepthwiseConv2D and ZeroPadding2D over images (N, H, W, C).

>>> import numpy as np
>>> from minidl.layers import Conv2D
>>> Conv2D(8, 3, strides=2, padding="same")(np.zeros((1, 5, 5, 3), "float32")).shape
(1, 3, 3, 8)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_choice, check_integer, check_pair
from minidl.common.errors import ShapeError
from minidl.kernels.activations import add_bias
from minidl.kernels.convolution.depthwise import depthwise, depthwise_backward
from minidl.kernels.convolution.dispatch import convolve, convolve_backward
from minidl.kernels.geometry import Convolution, Window
from minidl.kernels.normalization import InputGradient
from minidl.layers.activation import ActivationLike
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.capabilities import Capabilities
from minidl.layers.dense import KernelLayer
from minidl.layers.initializers import InitializerLike
from minidl.layers.regularizers import RegularizerLike

__all__ = ["Conv2D", "DepthwiseConv2D", "ZeroPadding2D"]

Size = int | tuple[int, int]  # a pair is (height, width)


class _Convolution(KernelLayer):
    """Base class of Conv2D and DepthwiseConv2D."""

    def __init__(
        self,
        *,
        kernel_size: Size,
        strides: Size,
        padding: str,
        data_format: str | None,
        dilation_rate: Size,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.data_format = check_data_format(self, data_format)
        self.window = make_window(self, "kernel_size", kernel_size, strides, padding, dilation_rate)
        self.kernel_size, self.strides = self.window.kernel_size, self.window.strides
        self.padding, self.dilation_rate = self.window.padding, self.window.dilation

    def multiply_adds(self, input_shape: Shape, output_shape: Shape) -> int:
        height, width = output_shape[1:3]
        return (height or 1) * (width or 1) * math.prod(self.kernel.shape)

    def output_gradient(
        self, dy: np.ndarray | InputGradient, saved: Any
    ) -> np.ndarray | InputGradient:
        """Return the gradient before the activation; a normalization's only if there is none."""
        return dy if isinstance(dy, InputGradient) else self.activation_gradient(dy, saved)


class Conv2D(_Convolution):
    """Two-dimensional convolution (cross-correlation, as in all deep-learning frameworks).

    Parameters
    ----------
    filters : int
        Number of output channels K.
    kernel_size : int or (int, int)
        Height and width KH, KW of the kernel.
    strides : int or (int, int)
    padding : {"valid", "same"}
        "same" pads with zeros to ``ceil(size / stride)`` outputs, as TensorFlow does.
    data_format : {"channels_last"}, optional
    dilation_rate : int or (int, int)
    groups : int
        Input and output channels are split into this many independent groups.
    activation : str or layer, optional
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        For a wrong argument.
    ShapeError
        When built or called: if the input is not (N, H, W, C), its channels differ from the
        kernel's, or it is smaller than the window.

    Notes
    -----
    Input (N, H, W, C), output (N, OH, OW, K), kernel (KH, KW, C / groups, K), bias (K,).

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2D(8, 3, activation="relu")
    >>> layer(np.zeros((1, 5, 5, 3), "float32")).shape
    (1, 3, 3, 8)
    >>> layer.kernel.shape, layer.strides
    ((3, 3, 3, 8), (1, 1))
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = (1, 1),
        groups: int = 1,
        activation: ActivationLike = None,
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            **kwargs,
        )
        self.filters = check_integer(self.label, "filters", filters, 1)
        self.groups = check_integer(self.label, "groups", groups, 1)
        if self.filters % self.groups:
            raise ValueError(
                f"{self.label}: expected filters to be a multiple of groups, "
                f"received {filters} filters and {groups} groups"
            )
        self.convolution = Convolution(**vars(self.window), groups=self.groups)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[3] // self.groups
        self.add_kernel_and_bias((*self.kernel_size, channels, self.filters), self.filters)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        expected = self.kernel.shape[2] * self.groups if self.built else None
        size = window_output_size(self, self.window, input_shape)
        self.check_channels(input_shape, expected)
        if input_shape[3] % self.groups:
            raise ShapeError(
                f"{self.label}: expected a number of channels divisible by {self.groups} groups, "
                f"received {input_shape[3]} channels"
            )
        return (input_shape[0], *size, self.filters)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        bias = None if self.bias is None else self.bias.array
        # (N, H, W, C) -> (N, OH, OW, K)
        z = convolve(x, self.kernel.array, bias, self.convolution, self.fuses_relu)
        y, saved = (z, z) if self.fuses_relu else self.activate(z)
        return y, (x, saved)

    def backward(
        self, dy: np.ndarray | InputGradient, cache: Any, need_dx: bool = True
    ) -> Gradients:
        x, saved = cache
        relu_output = saved if self.fuses_relu else None
        dz = np.ascontiguousarray(dy) if self.fuses_relu else self.output_gradient(dy, saved)
        dx, *gradients = convolve_backward(
            x,
            self.kernel.array,
            dz,
            self.convolution,
            relu_output,
            need_dx=need_dx,
            need_dw=self.kernel.trainable,
            with_bias=self.bias is not None,
        )
        if not self.kernel.trainable:
            return dx, []
        return dx, [gradient for gradient in gradients if gradient is not None]


class DepthwiseConv2D(_Convolution):
    """Convolution of each channel with its own kernels.

    Parameters
    ----------
    kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias
        As for :class:`Conv2D`.
    depth_multiplier : int
        Number of output channels for each input channel.
    depthwise_initializer, bias_initializer : str or Initializer
    depthwise_regularizer, bias_regularizer : str or Regularizer, optional
    **kwargs
        See :class:`Layer`.

    Notes
    -----
    Kernel (KH, KW, C, depth_multiplier), bias (C * depth_multiplier,).

    Examples
    --------
    >>> import numpy as np
    >>> DepthwiseConv2D(3, depth_multiplier=2)(np.zeros((1, 5, 5, 3), "float32")).shape
    (1, 3, 3, 6)
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        kernel_size: Size,
        strides: Size = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Size = (1, 1),
        activation: ActivationLike = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        depthwise_regularizer: RegularizerLike = None,
        bias_regularizer: RegularizerLike = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            **kwargs,
        )
        self.depth_multiplier = check_integer(self.label, "depth_multiplier", depth_multiplier, 1)
        self.depthwise_initializer = self.kernel_initializer
        self.depthwise_regularizer = self.kernel_regularizer

    def build(self, input_shape: Shape) -> None:
        channels, multiplier = input_shape[3], self.depth_multiplier
        self.add_kernel_and_bias((*self.kernel_size, channels, multiplier), channels * multiplier)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        size = window_output_size(self, self.window, input_shape)
        self.check_channels(input_shape, self.kernel.shape[2] if self.built else None)
        return (input_shape[0], *size, input_shape[3] * self.depth_multiplier)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        z = depthwise(x, self.kernel.array, self.window)  # (N, H, W, C) -> (N, OH, OW, C * M)
        if self.bias is not None:
            add_bias(z.reshape(-1, z.shape[-1]), self.bias.array)
        y, saved = self.activate(z)
        return y, (x, saved)

    def backward(
        self, dy: np.ndarray | InputGradient, cache: Any, need_dx: bool = True
    ) -> Gradients:
        x, saved = cache
        dz = self.output_gradient(dy, saved)
        dx, *gradients = depthwise_backward(
            x, self.kernel.array, dz, self.window, need_dx, with_bias=self.bias is not None
        )
        if not self.kernel.trainable:
            return dx, []
        return dx, [gradient for gradient in gradients if gradient is not None]


class ZeroPadding2D(Layer):
    """Pad images with zeros.

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int))
        All sides; (vertical, horizontal); or ((top, bottom), (left, right)), in pixels.
    data_format : {"channels_last"}, optional
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If `padding` has another form or is negative.

    Examples
    --------
    >>> import numpy as np
    >>> ZeroPadding2D(((0, 1), (2, 3)))(np.zeros((1, 4, 4, 1))).shape
    (1, 5, 9, 1)
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        padding: int | tuple[Size, Size] = (1, 1),
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.data_format = check_data_format(self, data_format)
        sides = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        try:
            vertical, horizontal = (check_pair(self.label, "padding", side, 0) for side in sides)
        except ValueError:
            raise ValueError(
                f"{self.label}: expected padding to be an integer >= 0, (vertical, horizontal) or "
                f"((top, bottom), (left, right)), received {padding!r}"
            ) from None
        self.padding = vertical, horizontal

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.check_rank(input_shape, 4, "(N, H, W, C)")
        height, width = (
            None if n is None else n + sum(pad)
            for n, pad in zip(input_shape[1:3], self.padding, strict=True)
        )
        return input_shape[0], height, width, input_shape[3]

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return np.pad(x, ((0, 0), *self.padding, (0, 0))), None

    def backward(self, dy: np.ndarray, cache: None, need_dx: bool = True) -> Gradients:
        (top, bottom), (left, right) = self.padding
        height, width = dy.shape[1:3]
        return np.ascontiguousarray(dy[:, top : height - bottom, left : width - right]), []


def make_window(
    layer: Layer,
    size_name: str,
    size: Size,
    strides: Size,
    padding: str,
    dilation_rate: Size = (1, 1),
) -> Window:
    """Check the arguments of a window that slides over an image.

    Parameters
    ----------
    layer : Layer
        Named in error messages.
    size_name : {"kernel_size", "pool_size"}
        The argument that gives the size.
    size, strides, dilation_rate : int or (int, int)
    padding : {"valid", "same"}
    """
    lower = padding.lower() if isinstance(padding, str) else padding
    return Window(
        check_pair(layer.label, size_name, size),
        check_pair(layer.label, "strides", strides),
        check_choice(layer.label, "padding", lower, ("valid", "same")),
        check_pair(layer.label, "dilation_rate", dilation_rate),
    )


def window_output_size(
    layer: Layer, window: Window, input_shape: Shape
) -> tuple[int | None, int | None]:
    """Return the output size (OH, OW); raise ShapeError if the window does not fit."""
    layer.check_rank(input_shape, 4, "(N, H, W, C)")
    size = window.output_size(*input_shape[1:3])
    if any(n is not None and n < 1 for n in size):
        raise ShapeError(
            f"{layer.label}: expected images of at least {window.extent}, the window, received "
            f"shape {tuple(input_shape)}. Use padding='same', a smaller window or larger images."
        )
    return size


def check_data_format(layer: Layer, data_format: str | None) -> str:
    """Return "channels_last"; raise ValueError for another order of axes."""
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"{layer.label}: expected data_format 'channels_last' (N, H, W, C), "
            f"received {data_format!r}"
        )
    return "channels_last"
