"""ConvolutionBlock: padding, convolution, BatchNormalization and ReLU as one layer.

Training of a convolutional network is limited by memory: each layer reads and writes whole tensors.
The block computes what its layers compute one by one, with fewer passes. Padding becomes a
parameter of the convolution, the ReLU a limit of the normalization's output, and backward the
convolution asks for its output's gradient a few rows at a time, while they are in the cache.

>>> import numpy as np
>>> from minidl.layers import BatchNormalization, Conv2D, ReLU
>>> convolution, normalization = Conv2D(4, 1), BatchNormalization()
>>> x = np.random.default_rng(0).normal(size=(2, 3, 3, 2)).astype("float32")
>>> expected = ReLU()(normalization(convolution(x), training=True))
>>> block = ConvolutionBlock(None, convolution, normalization, ReLU())
>>> np.array_equal(block.forward(x, training=True)[0], expected)
True
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from minidl.kernels.normalization import UNLIMITED
from minidl.layers.activation import Activation, ReLU
from minidl.layers.base import Gradients, Layer, Output, Rng, Shape
from minidl.layers.convolution import Conv2D, DepthwiseConv2D, ZeroPadding2D
from minidl.layers.normalization import BatchNormalization
from minidl.layers.parameter import Parameter

__all__ = ["ConvolutionBlock"]


class ConvolutionBlock(Layer):
    """Layers that the training executor runs as one. They keep their parameters and settings.

    Parameters
    ----------
    padding : ZeroPadding2D, optional
    convolution : Conv2D or DepthwiseConv2D
        Without an activation if a normalization follows.
    normalization : BatchNormalization, optional
    relu : ReLU or Activation, optional
        A layer with :func:`output_limits`, after a normalization.
    """

    def __init__(
        self,
        padding: ZeroPadding2D | None,
        convolution: Conv2D | DepthwiseConv2D,
        normalization: BatchNormalization | None = None,
        relu: Layer | None = None,
    ):
        super().__init__(name=convolution.name, dtype=convolution.dtype)
        self.padding, self.convolution = padding, convolution
        self.normalization, self.relu = normalization, relu
        self.limits = output_limits(relu) or UNLIMITED
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """The layers in their order."""
        layers = self.padding, self.convolution, self.normalization, self.relu
        return [layer for layer in layers if layer is not None]

    @property
    def trainable_weights(self) -> list[Parameter]:
        """Those of all layers."""
        return [weight for layer in self.layers for weight in layer.trainable_weights]

    @property
    def label(self) -> str:
        """That of the convolution."""
        return self.convolution.label

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        z, cache = self._padded_convolution().forward(x, training)
        if self.normalization is None:
            return z, (cache, None)
        y, normalization_cache = self.normalization.forward_within(self.limits, z, training)
        return y, (cache, normalization_cache)

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        cache, normalization_cache = cache
        convolution = self._padded_convolution()
        if self.normalization is None:
            return convolution.backward(dy, cache, need_dx)
        dz, gradients = self.normalization.input_gradient(dy, normalization_cache)
        dx, convolution_gradients = convolution.backward(dz, cache, need_dx)
        return dx, [*convolution_gradients, *gradients]

    def _padded_convolution(self) -> Conv2D | DepthwiseConv2D:
        """Return the convolution; with padding a copy that pads, which has the same parameters."""
        if self.padding is None:
            return self.convolution
        convolution = copy.copy(self.convolution)
        (top, bottom), (left, right) = self.padding.padding
        pads = (top, bottom, left, right)
        convolution.window = dataclasses.replace(convolution.window, padding=pads)
        if isinstance(convolution, Conv2D):
            convolution.convolution = dataclasses.replace(convolution.convolution, padding=pads)
        return convolution


def output_limits(layer: Layer | None) -> tuple[float, float] | None:
    """Return the limits of the output if a layer does nothing but enforce them, as ReLU6 does."""
    function = layer.activation if type(layer) is Activation else layer
    if type(function) is not ReLU or function.negative_slope or function.threshold:
        return None
    return 0.0, np.inf if function.max_value is None else function.max_value
