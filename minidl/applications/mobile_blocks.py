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
from minidl.layers.symbolic import SymbolicTensor

__all__ = ["MobileUnits", "Names", "make_divisible", "strided_padding"]

# Names of the convolution, the normalization and the activation; None leaves the activation out.
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
    """

    conv_factory: LayerFactory
    activation: Callable[..., Layer]
    epsilon: float = 1e-3
    momentum: float = 0.99

    def conv(
        self,
        x: SymbolicTensor,
        filters: int,
        size: int,
        strides: int,
        names: Names,
        padding: str = "same",
    ) -> SymbolicTensor:
        """Append a convolution, its normalization and, if named, its activation.

        Parameters
        ----------
        x : SymbolicTensor
        filters, size, strides, padding
            As for Conv2D.
        names : (str, str, str or None)
        """
        layer = self.conv_factory(
            filters, size, strides=strides, padding=padding, use_bias=False, name=names[0]
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
            Name of a separate layer that pads before strides of 2, as Keras' networks do.
        """
        padding = "same"
        if pad_name is not None and strides == 2:
            x = layers.ZeroPadding2D(strided_padding(x, size), name=pad_name)(x)
            padding = "valid"
        layer = layers.DepthwiseConv2D(
            size, strides=strides, padding=padding, use_bias=False, name=names[0]
        )
        return self._normalized(layer(x), names)

    def _normalized(self, x: SymbolicTensor, names: Names) -> SymbolicTensor:
        x = layers.BatchNormalization(momentum=self.momentum, epsilon=self.epsilon, name=names[1])(
            x
        )
        return x if names[2] is None else self.activation(name=names[2])(x)


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
