"""From nodes to the steps of an inference plan: what can be done at once is one step.

A convolution takes along the padding or scaling before it and the BatchNormalization, addition
and ReLU after it; layers that do nothing outside training vanish; what a Concatenate joins is
written straight to its place. The layers themselves stay as they are: folded kernels are copies.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.fusion import fuse
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(),
...                     layers.Dropout(0.5), layers.ReLU(), layers.Flatten()])
>>> [[layer.name for layer in step.layers] for step in fuse(model.nodes, {5}).steps]
[['conv2d', 'batch_normalization', 're_lu'], ['flatten']]
"""

from __future__ import annotations

from dataclasses import dataclass

from minidl.graph.inference.steps import (
    ConvolutionStep,
    DepthwiseStep,
    JoinStep,
    LayerStep,
    PaddedPoolStep,
    Step,
)
from minidl.graph.node import Node
from minidl.layers.activation import Activation, ActivationLayer, ReLU
from minidl.layers.base import Layer
from minidl.layers.convolution import Conv2D, DepthwiseConv2D, ZeroPadding2D
from minidl.layers.imagenet_preprocessing import ImageNetPreprocessing
from minidl.layers.merging import Add, Concatenate
from minidl.layers.normalization import BatchNormalization
from minidl.layers.pooling import MaxPooling2D
from minidl.layers.preprocessing import Rescaling

__all__ = ["Program", "fuse"]


@dataclass(frozen=True)
class Program:
    """What :func:`fuse` returns.

    Attributes
    ----------
    steps : list of Step
        In an order in which they can run.
    source : dict of int to int
        Nodes that are the identity, and the node whose output theirs is.
    """

    steps: list[Step]
    source: dict[int, int]

    @property
    def independent_samples(self) -> bool:
        """Whether a batch may be computed in parts."""
        return all(
            not isinstance(step, LayerStep) or layer.capabilities.independent_samples
            for step in self.steps
            for layer in step.layers
        )


def fuse(nodes: list[Node] | dict[int, Node], kept: set[int]) -> Program:
    """Return the steps that compute the outputs of the nodes `kept`.

    Parameters
    ----------
    nodes : list of Node, or dict of int to Node
        In topological order; those that others read but that are not among them are inputs.
    kept : set of int
        Numbers of the nodes whose outputs are wanted.
    """
    numbered = dict(enumerate(nodes)) if isinstance(nodes, list) else nodes
    numbered, source = _without_identities(numbered)
    return Program(_Fuser(numbered, {source.get(i, i) for i in kept}).steps(), source)


def _without_identities(nodes: dict[int, Node]) -> tuple[dict[int, Node], dict[int, int]]:
    """Drop layers whose output is their input; return the others, and where to look instead."""
    source: dict[int, int] = {}
    left: dict[int, Node] = {}
    for i, node in nodes.items():
        inputs = tuple(source.get(j, j) for j in node.inputs)
        if node.layer.capabilities.identity_in_inference:
            if inputs:
                source[i] = inputs[0]
        else:
            left[i] = Node(node.layer, inputs, node.shape)
    return left, source


class _Fuser:
    """Joins nodes into steps; knows who reads whom."""

    def __init__(self, nodes: dict[int, Node], kept: set[int]):
        self.nodes, self.kept = nodes, kept
        self.readers: dict[int, list[int]] = {i: [] for i in nodes}
        for i, node in nodes.items():
            for j in node.inputs:
                self.readers.setdefault(j, []).append(i)
        self.taken: set[int] = set()  # nodes that are part of another node's step
        self.positive: set[int] = set()  # outputs of a fused ReLU

    def steps(self) -> list[Step]:
        steps: dict[int, Step] = {}
        for i in self.nodes:
            if i not in self.taken:
                last, step = self._step(i)
                steps[last] = step
        # A step stands where its last node stood: all that it reads is there by then.
        steps = dict(sorted(steps.items()))
        self._write_in_place(steps)
        return _by_depth(list(steps.values()))

    def _step(self, i: int) -> tuple[int, Step]:
        node = self.nodes[i]
        kind = type(node.layer)
        reader = self._sole_reader(i)
        after = None if reader is None else self.nodes[reader].layer
        if after is not None and after.dtype != node.layer.dtype:
            after = None  # to be joined, two layers have to compute in one type
        if kind is ZeroPadding2D and _pads_nothing(after):
            self.taken.add(reader)
            return self._convolution(reader, node.inputs[0], node.layer)
        positive = node.inputs[0] in self.positive
        if kind is ZeroPadding2D and positive and _pools_unpadded(after, node.layer):
            self.taken.add(reader)
            return reader, PaddedPoolStep(node.layer, after, reader, node.inputs)
        scales = kind in (Rescaling, ImageNetPreprocessing)
        if scales and _pads_nothing(after) and after.convolution.groups == 1:
            self.taken.add(reader)
            return self._convolution(reader, node.inputs[0], node.layer)
        if kind in (Conv2D, DepthwiseConv2D):
            return self._convolution(i, node.inputs[0])
        if kind is Concatenate and node.layer.axis % len(node.shape) == len(node.shape) - 1:
            return i, JoinStep(node.layer, i, node.inputs)
        return i, LayerStep(node.layer, i, node.inputs)

    def _convolution(self, i: int, x: int, before: Layer | None = None) -> tuple[int, Step]:
        """Return the step of the convolution `i` and of what it can take along after it."""
        layer = self.nodes[i].layer
        step_class = ConvolutionStep if type(layer) is Conv2D else DepthwiseStep
        step = step_class(layer, i, x)
        if type(before) is ZeroPadding2D:
            step.pad_input(before)
        elif before is not None:
            step.rescale_input(before)
        if layer.activation is None:
            last = self._take(i, lambda node: type(node.layer) is BatchNormalization)
            if last != i:
                step.fold(self.nodes[last].layer)
            last = self._take_addition(last, step)
            end = self._take(last, lambda node: _plain_relu(node.layer))
            if end != last:
                step.follow_with_relu(self.nodes[end].layer)
            step.number = i = end
        if step.relu:
            self.positive.add(i)
        return i, step

    def _take(self, i: int, fits) -> int:
        """Make the only reader of `i` part of its step if it `fits`; return the last node."""
        reader = self._sole_reader(i)
        if reader is None or reader in self.taken or not fits(self.nodes[reader]):
            return i
        if self.nodes[reader].layer.dtype != self.nodes[i].layer.dtype:
            return i
        self.taken.add(reader)
        return reader

    def _take_addition(self, i: int, step: Step) -> int:
        if type(step) is not ConvolutionStep:
            return i
        last = self._take(i, lambda node: type(node.layer) is Add and len(node.inputs) == 2)
        if last != i:
            node = self.nodes[last]
            (other,) = [j for j in node.inputs if j != i]
            step.add(node.layer, other)
        return last

    def _sole_reader(self, i: int) -> int | None:
        """Return the node that alone reads `i`; None where the user wants `i` itself as well."""
        readers = self.readers.get(i, [])
        return readers[0] if len(readers) == 1 and i not in self.kept else None

    def _write_in_place(self, steps: dict[int, Step]) -> None:
        """Let convolutions that nothing but a JoinStep reads write straight into its output."""
        for i, join in reversed(steps.items()):  # the outermost first
            if not isinstance(join, JoinStep):
                continue
            channel = join.channel
            for j in join.inputs:
                producer = steps.get(j)
                if producer is not None and producer.writes_slices and self._sole_reader(j) == i:
                    producer.root, producer.channel = join.root, channel
                    join.in_place.add(j)
                channels = self.nodes[j].shape[-1] if j in self.nodes else None
                if channels is None:
                    break  # where the others lie is known with the data only
                channel += channels


def _by_depth(steps: list[Step]) -> list[Step]:
    """Return steps so that branches take turns: threads then need not wait at the end of each."""
    depth: dict[int, int] = {}
    for step in steps:
        depth[step.number] = 1 + max((depth.get(j, 0) for j in step.inputs), default=0)
    return sorted(steps, key=lambda step: depth[step.number])


def _pads_nothing(layer: Layer | None) -> bool:
    return type(layer) is Conv2D and layer.window.padding == "valid"


def _pools_unpadded(layer: Layer | None, padding: ZeroPadding2D) -> bool:
    """Whether a pooling pads nothing itself, and no window lies in the padding as a whole."""
    if type(layer) is not MaxPooling2D or layer.window.padding != "valid":
        return False
    return all(
        max(pads) < size for pads, size in zip(padding.pads, layer.window.kernel_size, strict=True)
    )


def _plain_relu(layer: Layer) -> bool:
    function = layer.function if type(layer) is Activation else layer
    is_activation = isinstance(function, ActivationLayer)
    return is_activation and type(function) is ReLU and function.is_plain
