"""The steps of an inference plan: one layer each, or a convolution with all that it takes along.

A step reads tensors by number and writes one. It knows nothing of buffers: the plan hands it
the arrays, and `out` to write to where the step asks for one.

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.graph.inference.steps import LayerStep
>>> step = LayerStep(layers.ReLU(), number=1, inputs=(0,))
>>> step.run([np.array([-1.0, 2.0])], out=np.empty(2))
array([0., 2.])
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidl.common.errors import ShapeError
from minidl.kernels.activations import apply_epilogue
from minidl.kernels.convolution.depthwise import depthwise
from minidl.kernels.convolution.dispatch import choose_algorithm, convolve, prepare_kernel
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.pooling import max_pool
from minidl.layers.base import Layer
from minidl.layers.merging import Concatenate
from minidl.layers.normalization import BatchNormalization
from minidl.layers.parameter import Parameter
from minidl.layers.pooling import AveragePooling2D, MaxPooling2D

__all__ = [
    "ConvolutionStep", "DepthwiseStep", "JoinStep", "LayerStep", "PaddedPoolStep", "Step",
]  # fmt: skip


TRANSFORM_GROWTH = 4  # Winograd's 6x6 taps for 3x3
KEPT_TRANSFORM = 12 * 2**20  # bytes
POOLINGS = {MaxPooling2D: "max", AveragePooling2D: "average"}


class Step:
    """Base class.

    Attributes
    ----------
    layers : list of Layer
        What it computes, in order.
    number : int
        Of the tensor that it makes.
    inputs : tuple of int
        Of those that it reads.
    root, channel : int
        The tensor in whose memory the output lies, and its first channel there: its own and
        0, unless a JoinStep has taken it in.
    in_place : set of int
        Numbers of those inputs of a JoinStep that were written straight to their place.
    parameters : list of Parameter
        Those that were copied into the step: it is out of date when they change.
    writes_out, writes_slices : bool
        Whether it writes to a given array; whether also to some channels of a wider one.
    """

    writes_out = True
    writes_slices = False

    def __init__(self, layer: Layer, number: int, inputs: tuple[int, ...]):
        self.layers = [layer]
        self.number, self.inputs = number, inputs
        self.root: int | None = None
        self.channel = 0
        self.in_place: set[int] = set()
        self.parameters: list[Parameter] = []

    @property
    def dtype(self) -> np.dtype:
        return self.layers[0].dtype

    @property
    def may_overwrite(self) -> int | None:
        """Return the number of an input in whose memory the output may be written."""
        return None

    def output_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the shape of the output; raise ShapeError where the inputs do not fit."""
        raise NotImplementedError(f"{type(self).__name__}.output_shape")

    def run(self, xs: list[np.ndarray], out: np.ndarray | None) -> np.ndarray:
        """Return the output, which is `out` where ``writes_out`` holds."""
        raise NotImplementedError(f"{type(self).__name__}.run")

    def can_link(self, shape: tuple[int, ...]) -> bool:
        """Whether the step can be part of a chain, for an input of `shape`."""
        return False

    def link(self, chain: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        """Add to a chain what :meth:`run` does; y is the place of the memory that it writes to."""
        raise NotImplementedError(f"{type(self).__name__}.link")

    def describe(self, shape: tuple[int, ...]) -> str:
        """Say how the step computes an input of `shape`: for ``plan_summary``."""
        return "layer"

    def multiply_adds(self, shapes, output_shape) -> int:
        """Return the multiplications for the whole batch."""
        return 0


class LayerStep(Step):
    """A layer as it is."""

    @property
    def writes_out(self) -> bool:
        return self.layers[0].capabilities.writes_output

    def output_shape(self, shapes):
        layer = self.layers[0]
        return tuple(layer.compute_output_shape(layer.as_input(shapes)))

    def run(self, xs, out):
        layer = self.layers[0]
        x = layer.as_input(xs)
        return layer.infer(x, out) if self.writes_out else layer.infer(x)

    def can_link(self, shape):
        return type(self.layers[0]) in POOLINGS and self.dtype == np.float32

    def link(self, chain, xs, y):
        layer = self.layers[0]
        chain.pool(POOLINGS[type(layer)], xs[0], layer.window, y)

    def multiply_adds(self, shapes, output_shape):
        layer = self.layers[0]
        shape = layer.as_input(shapes)
        return layer.multiply_adds(shape, output_shape) * output_shape[0]


class PaddedPoolStep(LayerStep):
    """ZeroPadding2D and the MaxPooling2D after it, for numbers that are not negative.

    Pooling ignores what is outside the image: as good as zeros where nothing is below zero.
    """

    def __init__(self, padding: Layer, layer: Layer, number: int, inputs: tuple[int, ...]):
        super().__init__(layer, number, inputs)
        self.layers = [padding, layer]
        self.window = replace(layer.window, padding=sum(padding.pads, ()))

    @property
    def writes_out(self) -> bool:
        return True

    def output_shape(self, shapes):
        padding, layer = self.layers
        return tuple(layer.compute_output_shape(padding.compute_output_shape(shapes[0])))

    def run(self, xs, out):
        return max_pool(xs[0], self.window, out=out)[0]

    def can_link(self, shape):
        return self.dtype == np.float32

    def link(self, chain, xs, y):
        chain.pool("max", xs[0], self.window, y)

    def multiply_adds(self, shapes, output_shape):
        return 0


class JoinStep(Step):
    """Concatenate along the channels; most inputs lie in place already."""

    writes_slices = True

    def __init__(self, layer: Concatenate, number: int, inputs: tuple[int, ...]):
        super().__init__(layer, number, inputs)
        self.root = number

    def output_shape(self, shapes):
        return tuple(self.layers[0].compute_output_shape(list(shapes)))

    def run(self, xs, out):
        channel = self.channel
        for number, x in zip(self.inputs, xs, strict=True):
            width = x.shape[-1]
            if number not in self.in_place:
                out[..., channel : channel + width] = x
            channel += width
        return out

    def can_link(self, shape):
        return len(self.in_place) == len(self.inputs)

    def link(self, chain, xs, y):
        """All inputs lie in place: there is nothing to do."""

    def describe(self, shape):
        return f"join, {len(self.in_place)} of {len(self.inputs)} in place"


class ConvolutionStep(Step):
    """Conv2D with the zero padding before it and what follows it, until the ReLU."""

    writes_slices = True

    def __init__(self, layer: Layer, number: int, x: int):
        super().__init__(layer, number, (x,))
        self.layer = layer
        self.convolution = layer.convolution if hasattr(layer, "convolution") else layer.window
        self.kernel = layer.kernel.array
        self.bias = None if layer.bias is None else layer.bias.array
        self.activation = layer.activation
        self.relu = getattr(layer.activation, "is_plain", False)
        self.prepared: dict[str, np.ndarray | None] = {}  # the kernel's transform by algorithm
        self.parameters = list(layer.parameters)
        # Any other activation runs over the whole output once more.
        self.writes_slices = layer.activation is None or self.relu

    def pad_input(self, layer: Layer) -> None:
        """Take the ZeroPadding2D before an unpadded convolution along."""
        self.convolution = replace(self.convolution, padding=sum(layer.pads, ()))
        self.layers.insert(0, layer)

    def fold(self, normalization: BatchNormalization) -> None:
        """Multiply a BatchNormalization into copies of kernel and bias, in float64."""
        scale, shift = normalization.scale_and_shift()
        dtype = self.kernel.dtype
        bias = np.zeros(len(scale)) if self.bias is None else self.bias.astype(np.float64)
        self.kernel = self._scaled(self.kernel.astype(np.float64), scale).astype(dtype)
        self.bias = (bias * scale + shift).astype(dtype)
        self.parameters += normalization.parameters
        self.layers.append(normalization)

    def _scaled(self, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return kernel * scale

    def rescale_input(self, layer: Layer) -> None:
        """Multiply the ``x * scale + offset`` of a layer before into copies of kernel and bias.

        That is exact only where the convolution pads nothing.
        """
        channels = self.kernel.shape[2]
        scale, offset = (
            np.broadcast_to(a, (channels,)).astype(np.float64)[:, None]
            for a in (layer.scale, layer.offset)
        )
        dtype, w = self.kernel.dtype, self.kernel.astype(np.float64)
        bias = np.zeros(w.shape[3]) if self.bias is None else self.bias.astype(np.float64)
        self.bias = (bias + (w * offset).sum(axis=(0, 1, 2))).astype(dtype)
        order = getattr(layer, "order", slice(None))  # backwards is its own inverse
        self.kernel = np.ascontiguousarray((w * scale)[:, :, order], dtype)
        self.layers.insert(0, layer)

    def add(self, layer: Layer, other: int) -> None:
        """Take an addition of the tensor `other` along."""
        self.inputs = (*self.inputs, other)
        self.layers.append(layer)

    def follow_with_relu(self, layer: Layer) -> None:
        self.relu = True
        self.layers.append(layer)

    def output_shape(self, shapes):
        shape = shapes[0]
        for layer in self.layers[: self.layers.index(self.layer) + 1]:  # it and those before it
            shape = layer.compute_output_shape(shape)
        if len(shapes) > 1 and tuple(shapes[1]) != tuple(shape):
            raise ShapeError(
                f"{self.layers[-1].label}: expected tensors of one shape, received "
                f"{tuple(shape)}, {tuple(shapes[1])}"
            )
        return tuple(shape)

    def run(self, xs, out):
        algorithm = self.algorithm(xs[0].shape)
        convolve(
            xs[0], self.kernel, self.bias, self.convolution, self.relu,
            xs[1] if len(xs) > 1 else None, out, self.channel, algorithm,
            self._prepared(algorithm, len(xs[0])),
        )  # fmt: skip
        if self.activation is not None and not self.relu:
            out[...] = self.activation.compute(out)
        return out

    def can_link(self, shape):
        return (
            self.dtype == np.float32
            and (self.activation is None or self.relu)
            and (self.algorithm(shape) != "winograd" or self._keeps_transform(shape[0]))
        )

    def link(self, chain, xs, y):
        algorithm = self.algorithm(xs[0].shape)
        add = chain.convolve_winograd if algorithm == "winograd" else chain.convolve_direct
        add(
            xs[0], self._prepared(algorithm, xs[0].shape[0]), self.bias, self.convolution,
            self.kernel.shape[3], self.relu, xs[1] if len(xs) > 1 else None, y, self.channel,
        )  # fmt: skip

    @property
    def may_overwrite(self):
        # In float32 tiles of the output are complete when they are written; BLAS' are not.
        adds = len(self.inputs) > 1 and self.kernel.dtype == np.float32
        return self.inputs[1] if adds else None

    def _prepared(self, algorithm: str, batch: int) -> np.ndarray | None:
        """Return what the algorithm computes of the kernel beforehand."""
        if algorithm == "winograd" and not self._keeps_transform(batch):
            return prepare_kernel(self.kernel, algorithm, reuse_memory=True)
        if algorithm not in self.prepared:
            self.prepared[algorithm] = prepare_kernel(
                self.kernel, algorithm, self.convolution.groups
            )
        return self.prepared[algorithm]

    def _keeps_transform(self, batch: int) -> bool:
        """Whether Winograd's is kept: not if it is large, and soon made beside the rest."""
        return batch == 1 or TRANSFORM_GROWTH * self.kernel.nbytes <= KEPT_TRANSFORM

    def algorithm(self, shape: tuple[int, ...]) -> str:
        """Return how inputs of `shape` are convolved."""
        kept = self._keeps_transform(shape[0])
        return choose_algorithm(
            shape, self.kernel.shape, self.convolution, self.kernel.dtype, kept=kept
        )

    def describe(self, shape):
        return self.algorithm(shape)

    def multiply_adds(self, shapes, output_shape):
        return math.prod(output_shape[:3]) * self.kernel.size


class DepthwiseStep(ConvolutionStep):
    """DepthwiseConv2D with the BatchNormalization and the ReLU after it."""

    def __init__(self, layer: Layer, number: int, x: int):
        super().__init__(layer, number, x)
        self.writes_slices = False

    def can_link(self, shape):
        return False

    def _scaled(self, kernel, scale):
        return kernel * scale.reshape(kernel.shape[2:])

    def run(self, xs, out):
        depthwise(xs[0], self.kernel, self.convolution, out)
        rows = out.reshape(-1, out.shape[-1])
        if self.bias is not None or self.relu:
            apply_epilogue(rows, self.bias, self.relu, None, rows)
        if self.activation is not None and not self.relu:
            out[...] = self.activation.compute(out)
        return out

    def describe(self, shape):
        return "depthwise"
