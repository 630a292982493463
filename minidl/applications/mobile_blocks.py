"""Units of mobile networks: pointwise and depthwise convolutions with their normalization.

A mobile network replaces a full convolution by a depthwise convolution, which filters each channel
by itself, and a pointwise (1x1) convolution, which mixes the channels.

>>> from minidl import Input, layers
>>> from minidl.applications.mobile_blocks import MobileUnits
>>> units = MobileUnits(layers.Conv2D, activation=layers.ReLU)
>>> x = units.conv(Input((8, 8, 3)), 16, 3, 2, ("conv", "conv_bn", "conv_relu"))
>>> units.depthwise(x, 3, 1, ("dw", "dw_bn", "dw_relu")).shape
(None, 4, 4, 16)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minidl import layers
from minidl.applications.pretrained import LayerFactory
from minidl.layers.base import Layer
from minidl.layers.initializers import InitializerLike
from minidl.layers.symbolic import SymbolicTensor

__all__ = ["MobileUnits", "Names", "make_divisible", "strided_padding"]

# Names of the convolution, the normalization and the activation. None leaves the activation out;
# "" leaves it without a name of its own.
Names = tuple[str, str, str | None]


@dataclass(frozen=True)
class MobileUnits:
    """Convolutions without bias, each with BatchNormalization and an activation.

    Attributes
    ----------
    conv_factory : callable
        Creates Conv2D layers.
    activation : callable
        ``activation(name=...)`` returns the layer of the activation.
    epsilon, momentum : float
        Arguments of BatchNormalization.
    initializer : str or Initializer
        Gives the initial kernels.
    """

    conv_factory: LayerFactory
    activation: Callable[..., Layer]
    epsilon: float = 1e-3
    momentum: float = 0.99
    initializer: InitializerLike = "glorot_uniform"

    def conv(
        self,
        x: SymbolicTensor,
        filters: int,
        size: int,
        strides: int,
        names: Names,
        padding: str = "same",
        pad_name: str | None = None,
    ) -> SymbolicTensor:
        """Append a convolution, its normalization and, if named, its activation.

        Parameters
        ----------
        x : SymbolicTensor
        filters, size, strides, padding
            As for Conv2D.
        names : (str, str, str or None)
        pad_name : str, optional
            Name of a separate layer that pads before strides of 2, as in Keras' networks.
        """
        x, padding = _padded(x, size, strides, padding, pad_name)
        layer = self.conv_factory(
            filters,
            size,
            strides=strides,
            padding=padding,
            use_bias=False,
            kernel_initializer=self.initializer,
            name=names[0],
        )
        return self._normalized(layer(x), names)

    def depthwise(
        self,
        x: SymbolicTensor,
        size: int,
        strides: int,
        names: Names,
        pad_name: str | None = None,
    ) -> SymbolicTensor:
        """Append a depthwise convolution, its normalization and, if named, its activation.

        Parameters
        ----------
        x : SymbolicTensor
        size, strides : int
            As for DepthwiseConv2D; the padding is "same".
        names : (str, str, str or None)
        pad_name : str, optional
            As for :meth:`conv`.
        """
        x, padding = _padded(x, size, strides, "same", pad_name)
        layer = layers.DepthwiseConv2D(
            size,
            strides=strides,
            padding=padding,
            use_bias=False,
            depthwise_initializer=self.initializer,
            name=names[0],
        )
        return self._normalized(layer(x), names)

    def gate(self, x: SymbolicTensor, filters: int, activation: str, name: str) -> SymbolicTensor:
        """Append a 1x1 convolution with bias to (N, 1, 1, C): half of a squeeze-and-excitation.

        Hu, Shen and Sun (2017), https://arxiv.org/abs/1709.01507

        Parameters
        ----------
        x : SymbolicTensor
        filters : int
        activation, name : str
        """
        return self.conv_factory(
            filters,
            1,
            padding="same",
            activation=activation,
            kernel_initializer=self.initializer,
            name=name,
        )(x)

    def _normalized(self, x: SymbolicTensor, names: Names) -> SymbolicTensor:
        x = layers.BatchNormalization(momentum=self.momentum, epsilon=self.epsilon, name=names[1])(
            x
        )
        return x if names[2] is None else self.activation(name=names[2] or None)(x)


def _padded(
    x: SymbolicTensor, size: int, strides: int, padding: str, pad_name: str | None
) -> tuple[SymbolicTensor, str]:
    """Return the input of a convolution, padded if that is a separate layer, and its padding."""
    if pad_name is None or strides != 2:
        return x, padding
    return layers.ZeroPadding2D(strided_padding(x, size), name=pad_name)(x), "valid"


def strided_padding(x: SymbolicTensor, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding ((top, bottom), (left, right)) before a convolution with strides of 2.

    It equals "same" for images of a known size. Unknown sizes count as even, as in Keras.

    Examples
    --------
    >>> from minidl import Input
    >>> strided_padding(Input((224, 75, 3)), 3)
    ((0, 1), (1, 1))
    """
    height, width = ((size // 2 - (1 if n is None else 1 - n % 2), size // 2) for n in x.shape[1:3])
    return height, width


def make_divisible(channels: float, divisor: int = 8, minimum: int | None = None) -> int:
    """Return the multiple of `divisor` nearest to a scaled number of channels.

    It is at least `minimum` (by default `divisor`) and never more than 10 % below `channels`.

    Examples
    --------
    >>> make_divisible(32 * 0.35), make_divisible(18, minimum=8), make_divisible(12)
    (16, 24, 16)
    """
    rounded = max(minimum or divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
