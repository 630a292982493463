"""Convolution steps: a convolution and the layers that are fused into it.

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.graph.inference.convolution_steps import ConvolutionStep
>>> layer = layers.Conv2D(2, 1, kernel_initializer="ones")
>>> layer.build((None, 4, 4, 3))
>>> step = ConvolutionStep(layer, number=1, x=0)
>>> step.fuse_relu(layers.ReLU())
>>> step.run([-np.ones((1, 4, 4, 3), "float32")], np.empty((1, 4, 4, 2), "float32")).max()
np.float32(0.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from minidl.common.errors import ShapeError
from minidl.graph.inference.steps import SizedShape, Step
from minidl.kernels.activations import add_bias, relu
from minidl.kernels.convolution.depthwise import depthwise
from minidl.kernels.convolution.depthwise_rows import (
    NO_BOUNDS,
    DepthwiseKernel,
    pack_depthwise,
)
from minidl.kernels.convolution.dispatch import choose_algorithm, convolve, prepare_kernel
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.convolution.prepared import PreparedKernel
from minidl.layers.activation import Activation, ReLU
from minidl.layers.base import Layer
from minidl.layers.convolution import ZeroPadding2D
from minidl.layers.merging import Add
from minidl.layers.normalization import BatchNormalization

__all__ = ["ConvolutionStep", "DepthwiseStep", "clips", "relu_limit"]

WINOGRAD_GROWTH = 4  # a transformed 3x3 kernel has 6x6 taps
MAX_CACHED_TRANSFORM = 12 * 2**20  # bytes


def clips(layer: Any) -> bool:
    """Return whether a layer or an activation is a ReLU, plain or with an upper limit."""
    function = layer.activation if type(layer) is Activation else layer
    return type(function) is ReLU and function.negative_slope == function.threshold == 0


def relu_limit(layer: Any) -> float:
    """Return the upper limit of a ReLU."""
    function = layer.activation if type(layer) is Activation else layer
    return math.inf if function.max_value is None else function.max_value


class ConvolutionStep(Step):
    """Conv2D with the zero padding before it and the layers after it, up to a ReLU.

    Parameters
    ----------
    layer : Conv2D or DepthwiseConv2D
    number : int
        Number of the output tensor.
    x : int
        Number of the input tensor.
    """

    def __init__(self, layer: Any, number: int, x: int):
        super().__init__(layer, number, (x,))
        self.layer = layer
        self.convolution = layer.convolution if hasattr(layer, "convolution") else layer.window
        self.kernel: np.ndarray = layer.kernel.array
        self.bias: np.ndarray | None = None if layer.bias is None else layer.bias.array
        self.activation = layer.activation
        self.relu, self.relu_limit = False, math.inf
        if clips(layer.activation):
            self.relu, self.relu_limit = True, relu_limit(layer.activation)
        self.prepared: dict[str, PreparedKernel | None] = {}  # transformed kernels by algorithm
        self.parameters = list(layer.parameters)
        # Any other activation needs another pass over the whole output.
        self.writes_slices = layer.activation is None or self.relu

    def fuse_padding(self, layer: ZeroPadding2D) -> None:
        """Fuse the padding before an unpadded convolution."""
        self.convolution = replace(self.convolution, padding=sum(layer.padding, ()))
        self.layers.insert(0, layer)

    def fuse_normalization(self, layer: BatchNormalization) -> None:
        """Fold a BatchNormalization into copies of kernel and bias, in float64."""
        scale, shift = layer.scale_and_shift()
        dtype = self.kernel.dtype
        self.bias = (self._float64_bias(len(scale)) * scale + shift).astype(dtype)
        self.kernel = self._scale_outputs(self.kernel.astype(np.float64), scale).astype(dtype)
        self.parameters += layer.parameters
        self.layers.append(layer)

    def fuse_rescaling(self, layer: Any) -> None:
        """Fold ``x * scale + offset`` of the layer before into copies of kernel and bias.

        This is exact only if the convolution is unpadded.
        """
        channels = self.kernel.shape[2]
        scale, offset = (
            np.broadcast_to(a, (channels,)).astype(np.float64)[:, None]
            for a in (layer.scale, layer.offset)
        )
        dtype, w = self.kernel.dtype, self.kernel.astype(np.float64)  # (KH, KW, C, K)
        bias = self._float64_bias(w.shape[3])
        self.bias = (bias + (w * offset).sum(axis=(0, 1, 2))).astype(dtype)
        order = getattr(layer, "order", slice(None))  # a reversed order is its own inverse
        self.kernel = np.ascontiguousarray((w * scale)[:, :, order], dtype)
        self.layers.insert(0, layer)

    def fuse_addition(self, layer: Add, other: int) -> None:
        """Fuse an addition; `other` is the number of the other summand."""
        self.inputs = (*self.inputs, other)
        self.layers.append(layer)
        # The float32 kernels write each tile of the output once, after they have read `other`.
        self.overwritable_input = other if self.kernel.dtype == np.float32 else None

    def fuse_relu(self, layer: Layer) -> None:
        """Fuse the ReLU after the convolution, plain or with an upper limit."""
        self.relu, self.relu_limit = True, relu_limit(layer)
        self.layers.append(layer)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest output."""
        return (0, self.relu_limit) if self.relu else NO_BOUNDS

    def output_shape(self, shapes: Sequence[SizedShape]) -> SizedShape:
        shape = shapes[0]
        for layer in self.layers[: self.layers.index(self.layer) + 1]:  # up to the convolution
            shape = tuple(layer.compute_output_shape(shape))
        if len(shapes) > 1 and tuple(shapes[1]) != shape:
            raise ShapeError(
                f"{self.layers[-1].label}: expected tensors of one shape, received {shape}, "
                f"{tuple(shapes[1])}"
            )
        return shape

    def run(self, xs: list[np.ndarray], out: np.ndarray) -> np.ndarray:
        algorithm = self.algorithm(xs[0].shape)
        convolve(
            xs[0],
            self.kernel,
            self.bias,
            self.convolution,
            relu=self.relu,
            residual=xs[1] if len(xs) > 1 else None,
            out=out,
            channel=self.channel,
            algorithm=algorithm,
            prepared=self._prepare_kernel(algorithm, len(xs[0])),
            relu_limit=self.relu_limit,
        )
        return self._apply_activation(out)

    def supports_pipeline(self, shape: SizedShape) -> bool:
        return (
            self.dtype == np.float32
            and (self.activation is None or self.relu)
            and (self.algorithm(shape) != "winograd" or self._caches_transform(shape[0]))
        )

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        shape = xs[0].shape
        # Not None, because only im2col has no prepared kernel, and float32 steps do not use it.
        prepared = cast(PreparedKernel, self._prepare_kernel(self.algorithm(shape), shape[0]))
        residual = xs[1] if len(xs) > 1 else None
        pipeline.convolve(xs[0], prepared, self.bias, y, self.bounds, residual, self.channel)

    def pack(self) -> PreparedKernel:
        """Return the kernel for the algorithm "direct"."""
        return cast(PreparedKernel, self._prepare_kernel("direct", 1))

    def algorithm(self, shape: SizedShape) -> str:
        """Return the algorithm for inputs of `shape`."""
        kept = self._caches_transform(shape[0])
        return choose_algorithm(
            shape, self.kernel.shape, self.convolution, self.kernel.dtype, transform_cached=kept
        )

    def describe(self, shape: SizedShape) -> str:
        return self.algorithm(shape)

    def multiply_adds(self, shapes: Sequence[SizedShape], output_shape: SizedShape) -> int:
        return math.prod(output_shape[:3]) * self.kernel.size

    def _float64_bias(self, channels: int) -> np.ndarray:
        return np.zeros(channels) if self.bias is None else self.bias.astype(np.float64)

    def _scale_outputs(self, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return kernel * scale

    def _apply_activation(self, out: np.ndarray) -> np.ndarray:
        if self.activation is not None and not self.relu:
            out[...] = self.activation.compute(out)
        return out

    def _prepare_kernel(self, algorithm: str, batch: int) -> PreparedKernel | None:
        """Return the kernel in the layout that `algorithm` needs."""
        if algorithm == "winograd" and not self._caches_transform(batch):
            return prepare_kernel(self.kernel, algorithm, self.convolution, reuse_memory=True)
        if algorithm not in self.prepared:
            self.prepared[algorithm] = prepare_kernel(self.kernel, algorithm, self.convolution)
        return self.prepared[algorithm]

    def _caches_transform(self, batch: int) -> bool:
        """Whether Winograd's transformed kernel is kept.

        Large ones are not: for a batch, transforming again takes little time.
        """
        return batch == 1 or WINOGRAD_GROWTH * self.kernel.nbytes <= MAX_CACHED_TRANSFORM


class DepthwiseStep(ConvolutionStep):
    """DepthwiseConv2D with the BatchNormalization and the ReLU after it."""

    def __init__(self, layer: Any, number: int, x: int):
        super().__init__(layer, number, x)
        self.writes_slices = False
        self._packed: DepthwiseKernel | None = None

    @property
    def packed(self) -> DepthwiseKernel:
        """The kernel in the layout of the pipeline."""
        if self._packed is None:
            self._packed = pack_depthwise(self.kernel, self.convolution)
        return self._packed

    def supports_pipeline(self, shape: SizedShape) -> bool:
        one_each = self.kernel.shape[3] == 1
        return self.dtype == np.float32 and one_each and (self.activation is None or self.relu)

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        pipeline.depthwise(xs[0], self.packed, self.bias, y, self.bounds, channel=self.channel)

    def run(self, xs: list[np.ndarray], out: np.ndarray) -> np.ndarray:
        if self.supports_pipeline(xs[0].shape):
            return self.run_as_pipeline(xs, out)
        depthwise(xs[0], self.kernel, self.convolution, out)
        if self.bias is not None:
            add_bias(out.reshape(-1, out.shape[-1]), self.bias)
        if self.relu:
            relu(out, out, maximum=self.relu_limit)
        return self._apply_activation(out)

    def describe(self, shape: SizedShape) -> str:
        return "depthwise"

    def _scale_outputs(self, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return kernel * scale.reshape(kernel.shape[2:])
