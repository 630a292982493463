"""Fusion: the nodes of a graph become the steps of an inference plan.

A convolution is fused with the padding or rescaling before it and the BatchNormalization,
addition and ReLU after it. Layers that are the identity in inference are removed. Branches write
straight into their slice of a concatenation. The layers keep their weights; steps hold copies.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.fusion import fuse
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(),
...                     layers.Dropout(0.5), layers.ReLU(), layers.Flatten()])
>>> [[layer.name for layer in step.layers] for step in fuse(model.nodes, [5]).steps]
[['conv2d', 'batch_normalization', 're_lu'], ['flatten']]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from minidl.graph.inference.convolution_steps import ConvolutionStep, DepthwiseStep, clips
from minidl.graph.inference.dense_steps import DenseStep
from minidl.graph.inference.steps import JoinStep, LayerStep, PaddedPoolStep, Step
from minidl.graph.node import Node
from minidl.layers.convolution import Conv2D, DepthwiseConv2D, ZeroPadding2D
from minidl.layers.dense import Dense
from minidl.layers.imagenet_preprocessing import ImageNetPreprocessing
from minidl.layers.merging import Add, Concatenate
from minidl.layers.normalization import BatchNormalization
from minidl.layers.pooling import MaxPooling2D
from minidl.layers.preprocessing import Rescaling

__all__ = ["FusedGraph", "fuse"]


@dataclass(frozen=True)
class FusedGraph:
    """A graph of steps.

    Attributes
    ----------
    steps : list of Step
        In topological order.
    outputs : list of int
        Numbers of the tensors that the caller receives.
    """

    steps: list[Step]
    outputs: list[int]

    @property
    def independent_samples(self) -> bool:
        """Whether a batch may be computed in parts."""
        return all(
            not isinstance(step, LayerStep) or layer.capabilities.independent_samples
            for step in self.steps
            for layer in step.layers
        )


def fuse(nodes: list[Node] | dict[int, Node], outputs: Iterable[int]) -> FusedGraph:
    """Return the steps that compute `outputs`.

    Parameters
    ----------
    nodes : list of Node, or dict of int to Node
        In topological order. Numbers that nodes read but that are not among them are inputs.
    outputs : iterable of int
        Numbers of the nodes whose outputs the caller receives.
    """
    numbered = dict(enumerate(nodes)) if isinstance(nodes, list) else nodes
    numbered, source = _remove_identities(numbered)
    outputs = [source.get(i, i) for i in outputs]
    return FusedGraph(_Fusion(numbered, set(outputs)).run(), outputs)


def _remove_identities(nodes: dict[int, Node]) -> tuple[dict[int, Node], dict[int, int]]:
    """Remove identities; return the other nodes, and the tensors equal to the removed outputs."""
    source: dict[int, int] = {}
    remaining: dict[int, Node] = {}
    for i, node in nodes.items():
        inputs = tuple(source.get(j, j) for j in node.inputs)
        if not node.layer.capabilities.identity_in_inference:
            remaining[i] = Node(node.layer, inputs, node.shape)
        elif inputs:
            source[i] = inputs[0]
    return remaining, source


class _Fusion:
    """One run of :func:`fuse`."""

    def __init__(self, nodes: dict[int, Node], outputs: set[int]):
        self.nodes, self.outputs = nodes, outputs
        self.consumers: dict[int, list[int]] = {i: [] for i in nodes}
        for i, node in nodes.items():
            for j in node.inputs:
                self.consumers.setdefault(j, []).append(i)
        self.fused: set[int] = set()  # nodes that belong to the step of another node
        self.non_negative: set[int] = set()  # outputs of a fused ReLU

    def run(self) -> list[Step]:
        steps = {}
        for i in self.nodes:
            if i not in self.fused:
                step = self._step(i)
                steps[step.number] = step
        # A step has the number of its last node: all its inputs are computed before.
        steps = dict(sorted(steps.items()))
        self._place_in_joins(steps)
        return _interleave_branches(list(steps.values()))

    def _step(self, i: int) -> Step:
        node = self.nodes[i]
        layer: Any = node.layer
        kind = type(layer)
        if kind in (Conv2D, DepthwiseConv2D):
            return self._convolution(i, node.inputs[0])
        if kind in (ZeroPadding2D, Rescaling, ImageNetPreprocessing):
            follower = self._fuse_consumer(i, lambda after: _absorbs(layer, after.layer))
            if follower != i:
                return self._convolution(follower, node.inputs[0], layer)
        if kind is ZeroPadding2D and node.inputs[0] in self.non_negative:
            follower = self._fuse_consumer(i, lambda after: _pools_unpadded(layer, after.layer))
            if follower != i:
                pool: Any = self.nodes[follower].layer
                return PaddedPoolStep(layer, pool, follower, node.inputs)
        if kind is Concatenate and layer.axis % len(node.shape) == len(node.shape) - 1:
            return JoinStep(layer, i, node.inputs)
        if kind is Dense:
            return DenseStep(layer, i, node.inputs)
        return LayerStep(layer, i, node.inputs)

    def _convolution(self, i: int, x: int, before: Any = None) -> Step:
        """Return the step of convolution `i`, fused with the layers before and after it."""
        layer: Any = self.nodes[i].layer
        step = (ConvolutionStep if type(layer) is Conv2D else DepthwiseStep)(layer, i, x)
        if type(before) is ZeroPadding2D:
            step.fuse_padding(before)
        elif before is not None:
            step.fuse_rescaling(before)
        if layer.activation is None:
            end = self._fuse_consumer(i, lambda after: type(after.layer) is BatchNormalization)
            if end != i:
                normalization: Any = self.nodes[end].layer
                step.fuse_normalization(normalization)
            if type(step) is ConvolutionStep:
                end = self._fuse_addition(end, step)
            step.number = self._fuse_consumer(end, lambda after: clips(after.layer))
            if step.number != end:
                step.fuse_relu(self.nodes[step.number].layer)
        if step.relu:
            self.non_negative.add(step.number)
        return step

    def _fuse_addition(self, i: int, step: ConvolutionStep) -> int:
        end = self._fuse_consumer(
            i, lambda after: type(after.layer) is Add and len(after.inputs) == 2
        )
        if end != i:
            addition: Any = self.nodes[end].layer
            (other,) = (j for j in self.nodes[end].inputs if j != i)
            step.fuse_addition(addition, other)
        return end

    def _fuse_consumer(self, i: int, fits: Callable[[Node], bool]) -> int:
        """Mark the sole consumer of `i` as fused and return it; return `i` if it does not fit.

        Fused layers compute in one dtype.
        """
        consumer = self._sole_consumer(i)
        if consumer is None or consumer in self.fused or not fits(self.nodes[consumer]):
            return i
        if self.nodes[consumer].layer.dtype != self.nodes[i].layer.dtype:
            return i
        self.fused.add(consumer)
        return consumer

    def _sole_consumer(self, i: int) -> int | None:
        """Return the only node that reads `i`, or None if the caller also receives `i`."""
        consumers = self.consumers.get(i, [])
        return consumers[0] if len(consumers) == 1 and i not in self.outputs else None

    def _place_in_joins(self, steps: dict[int, Step]) -> None:
        """Let steps whose only consumer is a JoinStep write straight into its output."""
        for i, join in reversed(steps.items()):  # the outermost join first
            if not isinstance(join, JoinStep):
                continue
            channel = join.channel
            for j in join.inputs:
                producer = steps.get(j)
                if producer is not None and producer.writes_slices and self._sole_consumer(j) == i:
                    producer.joined_in, producer.channel = join.storage, channel
                    join.in_place.add(j)
                channels = self.nodes[j].shape[-1] if j in self.nodes else None
                if channels is None:
                    break  # the offsets of the other inputs depend on the data
                channel += channels


def _interleave_branches(steps: list[Step]) -> list[Step]:
    """Return the steps by depth, so that a thread rarely waits for the previous step."""
    depth: dict[int, int] = {}
    for step in steps:
        depth[step.number] = 1 + max((depth.get(j, 0) for j in step.inputs), default=0)
    return sorted(steps, key=lambda step: depth[step.number])


def _absorbs(before: Any, convolution: Any) -> bool:
    """Whether the layer `before` can be fused into an unpadded convolution."""
    if type(convolution) not in (Conv2D, DepthwiseConv2D) or convolution.window.padding != "valid":
        return False
    if type(before) is ZeroPadding2D:
        return True
    return type(convolution) is Conv2D and convolution.groups == 1


def _pools_unpadded(padding: Any, pool: Any) -> bool:
    """Whether a max pooling is unpadded and each of its windows contains a pixel of the image."""
    if type(pool) is not MaxPooling2D or pool.window.padding != "valid":
        return False
    return all(
        max(pads) < size
        for pads, size in zip(padding.padding, pool.window.kernel_size, strict=True)
    )
