"""Block steps: a depthwise convolution and the 1x1 convolutions around it, computed row by row.

In an inverted bottleneck (MobileNetV2, EfficientNet) the tensors between the three convolutions are
six times as large as those outside. Where they do not fit into the caches, most of the time is
spent on moving them. A block step computes a few rows of them at a time, and never the whole.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.block_steps import merge_blocks
>>> from minidl.graph.inference.fusion import fuse
>>> model = Sequential([Input((256, 256, 8)), layers.Conv2D(48, 1, activation="relu"),
...                     layers.DepthwiseConv2D(3, activation="relu"), layers.Conv2D(8, 1)])
>>> graph = fuse(model.nodes, [3])
>>> len(graph.steps), len(merge_blocks(graph, {0: (1, 256, 256, 8)}).steps)
(3, 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidl.graph.inference.convolution_steps import ConvolutionStep, DepthwiseStep
from minidl.graph.inference.fusion import FusedGraph
from minidl.graph.inference.steps import SizedShape, Step
from minidl.kernels.convolution.depthwise_rows import Pointwise
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation

__all__ = ["BlockStep", "merge_blocks"]

LARGE = 2**19  # bytes of a tensor that would take half of a second-level cache


class BlockStep(Step):
    """A depthwise convolution with a 1x1 convolution before it, after it, or both.

    Parameters
    ----------
    expand : ConvolutionStep or None
    depthwise : DepthwiseStep
    project : ConvolutionStep or None
    """

    def __init__(
        self,
        expand: ConvolutionStep | None,
        depthwise: DepthwiseStep,
        project: ConvolutionStep | None,
    ):
        steps: list[ConvolutionStep] = [s for s in (expand, depthwise, project) if s is not None]
        last = steps[-1]
        super().__init__(None, last.number, (steps[0].inputs[0], *last.inputs[1:]))
        self.expand, self.depthwise, self.project = expand, depthwise, project
        self.layers = [layer for step in steps for layer in step.layers]
        self.parameters = [parameter for step in steps for parameter in step.parameters]
        self.joined_in, self.channel = last.joined_in, last.channel
        # Rows of the input are read after the first rows of the output are written.
        residual = last.overwritable_input
        self.overwritable_input = None if residual == self.inputs[0] else residual

    @property
    def steps(self) -> list[ConvolutionStep]:
        """The steps that this one replaces, in order."""
        return [step for step in (self.expand, self.depthwise, self.project) if step is not None]

    def output_shape(self, shapes: Sequence[SizedShape]) -> SizedShape:
        shape = shapes[0]
        for step in self.steps[:-1]:
            shape = step.output_shape([shape])
        return self.steps[-1].output_shape([shape, *shapes[1:]])

    def run(self, xs: list[np.ndarray], out: np.ndarray) -> np.ndarray:
        return self.run_as_pipeline(xs, out)

    def supports_pipeline(self, shape: SizedShape) -> bool:
        return True

    def append_to(self, pipeline: Pipeline, xs: list[TensorLocation], y: TensorLocation) -> None:
        step = self.depthwise
        pipeline.depthwise(
            xs[0],
            step.packed,
            step.bias,
            y,
            step.bounds,
            expand=None if self.expand is None else _pointwise(self.expand),
            project=None if self.project is None else _pointwise(self.project),
            residual=xs[1] if len(xs) > 1 else None,
            channel=self.channel,
        )

    def describe(self, shape: SizedShape) -> str:
        return "block"

    def multiply_adds(self, shapes: Sequence[SizedShape], output_shape: SizedShape) -> int:
        shape, total = shapes[0], 0
        for step in self.steps:
            inputs, shape = [shape], step.output_shape([shape])
            total += step.multiply_adds(inputs, shape)
        return total


def merge_blocks(graph: FusedGraph, input_shapes: dict[int, SizedShape]) -> FusedGraph:
    """Return the graph with block steps in place of convolutions between which tensors are large.

    Parameters
    ----------
    graph : FusedGraph
    input_shapes : dict of int to tuple
        Shapes of the graph's inputs by their numbers.
    """
    shapes = dict(input_shapes)
    for step in graph.steps:
        shapes[step.number] = step.output_shape([shapes[j] for j in step.inputs])
    by_number = {step.number: step for step in graph.steps}
    readers: dict[int, list[Step]] = {number: [] for number in shapes}
    for step in graph.steps:
        for number in step.inputs:
            readers[number].append(step)

    def is_inner(number: int) -> bool:
        """Whether a tensor is large, and read by one step only."""
        large = 4 * math.prod(shapes[number]) > LARGE
        return large and len(readers[number]) == 1 and number not in graph.outputs

    replaced: dict[int, BlockStep | None] = {}
    for step in graph.steps:
        if type(step) is not DepthwiseStep or not step.supports_pipeline(shapes[step.inputs[0]]):
            continue
        expand = _as_pointwise(by_number.get(step.inputs[0])) if is_inner(step.inputs[0]) else None
        if expand is not None and len(expand.inputs) > 1:  # with a residual
            expand = None
        project = _as_pointwise(readers[step.number][0]) if is_inner(step.number) else None
        if project is not None and project.inputs[0] != step.number:  # it is only the residual
            project = None
        if expand is None and project is None:
            continue
        block = BlockStep(expand, step, project)
        replaced |= {part.number: None for part in block.steps}
        replaced[block.number] = block
    steps = [replaced.get(step.number, step) for step in graph.steps]
    return FusedGraph([step for step in steps if step is not None], graph.outputs)


def _as_pointwise(step: Step | None) -> ConvolutionStep | None:
    """Return the step if it is a 1x1 convolution in float32, else None."""
    if (
        type(step) is ConvolutionStep
        and step.convolution.is_pointwise
        and step.dtype == np.float32
        and (step.activation is None or step.relu)
    ):
        return step
    return None


def _pointwise(step: ConvolutionStep) -> Pointwise:
    return Pointwise(step.pack(), step.bias, step.bounds)
