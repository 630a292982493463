"""Merging of convolutions with their padding, BatchNormalization and ReLU for training.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.training.convolution_blocks import merge_convolutions
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(),
...                     layers.ReLU(), layers.Flatten()])
>>> nodes = list(enumerate(model.nodes))[1:]
>>> [(i, type(node.layer).__name__) for i, node in merge_convolutions(nodes, [1, 1, 1, 1, 1])]
[(3, 'ConvolutionBlock'), (4, 'Flatten')]
"""

from __future__ import annotations

from typing import Any

from minidl.graph.node import Node
from minidl.layers.base import Layer
from minidl.layers.convolution import Conv2D, DepthwiseConv2D, ZeroPadding2D
from minidl.layers.convolution_block import ConvolutionBlock, output_limits
from minidl.layers.normalization import BatchNormalization

__all__ = ["merge_convolutions"]


def merge_convolutions(
    nodes: list[tuple[int, Node]], consumers: list[int]
) -> list[tuple[int, Node]]:
    """Return the numbered nodes with each convolution and its neighbors merged.

    A node is merged with the next one if no other reads the tensor in between. A merged node has
    the number of its last node.

    Parameters
    ----------
    nodes : list of (int, Node)
        In topological order.
    consumers : list of int
        How often each tensor is read, once more for an output of the graph.
    """
    merged: dict[int, Node] = {}
    runs: dict[int, list[Layer]] = {}
    for i, node in nodes:
        runs[i] = [node.layer]
        source = node.inputs[0]
        if source in runs and consumers[source] == 1 and _can_follow(runs[source], node.layer):
            runs[i] = [*runs[source], node.layer]
            node = Node(node.layer, merged.pop(source).inputs, node.shape)
        merged[i] = node
    return [(i, _with_block(runs[i], node)) for i, node in merged.items()]


def _can_follow(run: list[Layer], layer: Any) -> bool:
    """Return whether a run of merged layers may end with one more layer."""
    last: Any = run[-1]
    if last.dtype != layer.dtype or (layer in run):
        return False
    if type(last) is ZeroPadding2D:
        return type(layer) in (Conv2D, DepthwiseConv2D) and layer.padding == "valid"
    if type(last) in (Conv2D, DepthwiseConv2D):
        return type(layer) is BatchNormalization and last.activation is None
    follows_convolution = type(last) is BatchNormalization and len(run) > 1
    return follows_convolution and output_limits(layer) is not None


def _with_block(run: list[Layer], node: Node) -> Node:
    """Return a node with the block of a run of several layers."""
    if len(run) == 1:
        return node
    padding = run[0] if type(run[0]) is ZeroPadding2D else None
    block = ConvolutionBlock(padding, *run[0 if padding is None else 1 :])  # type: ignore[arg-type]
    return Node(block, node.inputs, node.shape)
