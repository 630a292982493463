"""The steps of a fused graph: single layers, padded poolings and concatenations.

A step reads tensors by number and writes one. It does not allocate: the plan passes the input
arrays, and `out` if the step writes to a given array. Convolutions have a module of their own.

>>> import numpy as np
>>> from minidl import layers
>>> from minidl.graph.inference.steps import LayerStep
>>> step = LayerStep(layers.ReLU(), number=1, inputs=(0,))
>>> step.run([np.array([-1.0, 2.0])], out=np.empty(2))
array([0., 2.])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.pooling import max_pool
from minidl.kernels.runtime import thread_pool
from minidl.layers.base import Layer, as_dtype
from minidl.layers.convolution import ZeroPadding2D
from minidl.layers.parameter import Parameter
from minidl.layers.pooling import AveragePooling2D, MaxPooling2D

if TYPE_CHECKING:
    from minidl.graph.inference.memory_plan import Workspace

__all__ = ["JoinStep", "LayerStep", "PaddedPoolStep", "Step"]

SizedShape = tuple[int, ...]  # without an open size

POOLINGS = {MaxPooling2D: "max", AveragePooling2D: "average"}


class Step:
    """Base class of all steps.

    Parameters
    ----------
    layer : Layer
    number : int
        Number of the output.
    inputs : tuple of int
        Numbers of the tensors that it reads.

    Attributes
    ----------
    layers : list of Layer
        The layers that the step computes, in order.
    joined_in, channel : int or None, int
        If the output is written straight into a concatenated tensor: the number of that tensor
        and the output's first channel there. Else None and 0.
    in_place : set of int
        For a JoinStep: numbers of the inputs that are already in place.
    parameters : list of Parameter
        Parameters that the step has copied or transformed.
    writes_out, writes_slices : bool
        Whether the step writes to a given array, and whether that may be a slice of channels.
    overwritable_input : int or None
        Number of an input over which the output may be written.
    """

    writes_out = True
    writes_slices = False
    overwritable_input: int | None = None

    def __init__(self, layer: Any, number: int, inputs: tuple[int, ...]):
        self.layers: list[Any] = [layer]
        self.number, self.inputs = number, inputs
        self.joined_in: int | None = None
        self.channel = 0
        self.in_place: set[int] = set()
        self.parameters: list[Parameter] = []

    @property
    def dtype(self) -> np.dtype:
        """The dtype in which the step computes."""
        return self.layers[0].dtype

    @property
    def storage(self) -> int:
        """Number of the output whose memory this step writes to."""
        return self.number if self.joined_in is None else self.joined_in

    def output_shape(self, shapes: Sequence[SizedShape]) -> SizedShape:
        """Return the output's shape; raise ShapeError if the inputs do not fit."""
        raise NotImplementedError(f"{type(self).__name__}.output_shape")

    def run(self, xs: list[np.ndarray], out: np.ndarray) -> np.ndarray:
        """Write the output to `out` and return it."""
        raise NotImplementedError(f"{type(self).__name__}.run")

    def execute(self, workspace: Workspace) -> None:
        """Run the step, publish its output and release the tensors that no later step reads."""
        values = workspace.values
        xs = [
            values[j] if j in self.in_place else as_dtype(values[j], self.dtype)
            for j in self.inputs
        ]
        self._run_in(workspace, xs)
        for number in workspace.released[self.number]:
            values.pop(number, None)

    def _run_in(self, workspace: Workspace, xs: list[np.ndarray]) -> None:
        self.run(xs, workspace.storage(self.number))
        workspace.publish(self.number)

    def supports_pipeline(self, shape: SizedShape) -> bool:
        """Whether the step can be a part of a pipeline, for a first input of `shape`."""
        return False

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        """Append the step to a pipeline; `y` is the whole memory that contains the output."""
        raise NotImplementedError(f"{type(self).__name__}.append_to")

    def run_as_pipeline(self, xs: list[np.ndarray], out: np.ndarray) -> np.ndarray:
        """Run a step that supports pipelines as one of its own, and return `out`."""
        memories = [*(np.ascontiguousarray(x) for x in xs), out]
        *sources, target = (TensorLocation(i, 0, a.shape) for i, a in enumerate(memories))
        pipeline = Pipeline(thread_pool.get_num_threads())
        self.append_to(pipeline, sources, target)
        pipeline.run(memories)
        return out

    def describe(self, shape: SizedShape) -> str:
        """Return how an input of `shape` is computed, for ``plan_summary``."""
        return "layer"

    def multiply_adds(self, shapes: Sequence[SizedShape], output_shape: SizedShape) -> int:
        """Return the number of multiplications for the whole batch."""
        return 0


class LayerStep(Step):
    """A single layer, computed by its own ``infer``."""

    def __init__(self, layer: Layer, number: int, inputs: tuple[int, ...]):
        super().__init__(layer, number, inputs)
        self.writes_out = layer.capabilities.writes_output

    def output_shape(self, shapes: Sequence[SizedShape]) -> SizedShape:
        layer = self.layers[0]
        return tuple(layer.compute_output_shape(layer.as_input(shapes)))

    def run(self, xs: list[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        """Return the output, which is `out` if ``writes_out``."""
        layer = self.layers[0]
        x = layer.as_input(xs)
        return layer.infer(x, out) if self.writes_out else layer.infer(x)

    def _run_in(self, workspace: Workspace, xs: list[np.ndarray]) -> None:
        if self.writes_out:
            super()._run_in(workspace, xs)
        else:
            workspace.values[self.number] = self.run(xs)

    def supports_pipeline(self, shape: SizedShape) -> bool:
        return type(self.layers[0]) in POOLINGS and self.dtype == np.float32

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        layer = self.layers[0]
        pipeline.pool(POOLINGS[type(layer)], xs[0], layer.window, y)

    def multiply_adds(self, shapes: Sequence[SizedShape], output_shape: SizedShape) -> int:
        layer = self.layers[0]
        return layer.multiply_adds(layer.as_input(shapes), output_shape) * output_shape[0]


class PaddedPoolStep(Step):
    """ZeroPadding2D fused into the MaxPooling2D after it, for non-negative inputs.

    Max pooling ignores pixels outside the image. If no input is negative, that is equivalent to
    zeros around it.
    """

    def __init__(
        self, padding: ZeroPadding2D, pool: MaxPooling2D, number: int, inputs: tuple[int, ...]
    ):
        super().__init__(padding, number, inputs)
        self.layers.append(pool)
        (top, bottom), (left, right) = padding.padding
        self.window = replace(pool.window, padding=(top, bottom, left, right))

    def output_shape(self, shapes: Sequence[SizedShape]) -> SizedShape:
        padding, pool = self.layers
        return tuple(pool.compute_output_shape(padding.compute_output_shape(shapes[0])))

    def run(self, xs: list[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        return max_pool(xs[0], self.window, out=out)[0]

    def supports_pipeline(self, shape: SizedShape) -> bool:
        return self.dtype == np.float32

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        pipeline.pool("max", xs[0], self.window, y)


class JoinStep(Step):
    """A concatenation along the channels, most inputs of which are already in place."""

    writes_slices = True

    def output_shape(self, shapes: Sequence[SizedShape]) -> SizedShape:
        return tuple(self.layers[0].compute_output_shape(list(shapes)))

    def run(self, xs: list[np.ndarray], out: np.ndarray) -> np.ndarray:
        channel = self.channel
        for number, x in zip(self.inputs, xs, strict=True):
            end = channel + x.shape[-1]
            if number not in self.in_place:
                out[..., channel:end] = x
            channel = end
        return out

    def supports_pipeline(self, shape: SizedShape) -> bool:
        return len(self.in_place) == len(self.inputs)

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        """Append nothing, because all inputs are in place."""

    def describe(self, shape: SizedShape) -> str:
        return f"join, {len(self.in_place)} of {len(self.inputs)} in place"
