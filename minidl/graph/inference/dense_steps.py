"""Dense steps: a dense layer on few samples, computed by register tiles on all threads.

BLAS reads the weights of a product with few rows on one thread, at the speed at which one core
reads memory. As a 1x1 convolution of images of one pixel, the threads share the weights. They are
packed, so this is for small layers only: the copies of VGG16's would take 500 MB.

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.graph.inference.dense_steps import DenseStep
>>> layer = layers.Dense(3, kernel_initializer="ones")
>>> layer.build((None, 2))
>>> DenseStep(layer, number=1, inputs=(0,)).run([np.ones((1, 2), "float32")])
array([[2., 2., 2.]], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.graph.inference.steps import LayerStep
from minidl.kernels.convolution.dispatch import convolve, prepare_kernel
from minidl.kernels.convolution.prepared import PreparedKernel
from minidl.kernels.geometry import Convolution

__all__ = ["DenseStep"]

MOST_BYTES = 2**24  # of the weights
MOST_SAMPLES = 16
FEWEST_WEIGHTS = 2**16  # fewer take less time than the start of the threads


class DenseStep(LayerStep):
    """A Dense layer on a matrix.

    Parameters
    ----------
    layer : Dense
    number : int
        Number of the output tensor.
    inputs : tuple of int
        Number of the input tensor.
    """

    def __init__(self, layer: Any, number: int, inputs: tuple[int, ...]):
        super().__init__(layer, number, inputs)
        self.layer = layer
        self.kernel: np.ndarray = layer.kernel.array
        self.parameters = list(layer.parameters)
        self._packed: PreparedKernel | None = None

    def run(self, xs: list[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        (x,) = xs
        if not self._is_suitable(x.shape):
            return super().run(xs, out)
        layer, image = self.layer, Convolution((1, 1))
        if self._packed is None:
            self._packed = prepare_kernel(self.kernel[None, None], "direct", image)
        bias = None if layer.bias is None else layer.bias.array
        pixels = x[:, None, None]  # (N, C) -> (N, 1, 1, C)
        kernel = self.kernel[None, None]
        y = convolve(pixels, kernel, bias, image, layer.fuses_relu, prepared=self._packed)
        y = y.reshape(len(x), -1)
        return y if layer.fuses_relu else layer.activate(y)[0]

    def describe(self, shape: tuple[int, ...]) -> str:
        return "direct" if self._is_suitable(shape) else super().describe(shape)

    def _is_suitable(self, shape: tuple[int, ...]) -> bool:
        return (
            self.dtype == np.float32
            and len(shape) == 2
            and 0 < shape[0] <= MOST_SAMPLES
            and self.kernel.size >= FEWEST_WEIGHTS
            and self.kernel.nbytes <= MOST_BYTES
        )
