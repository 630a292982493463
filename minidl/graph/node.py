"""Node: one call of a layer within a graph.

>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((4,)), layers.Dense(3)])
>>> [(node.layer.name, node.inputs, node.shape) for node in model.nodes]
[('input_layer', (), (None, 4)), ('dense', (0,), (None, 3))]
"""

from __future__ import annotations

from dataclasses import dataclass

from minidl.layers.base import Layer

__all__ = ["Node", "count_readers"]


@dataclass(frozen=True)
class Node:
    """One call of a layer: nodes are numbered in topological order.

    Attributes
    ----------
    layer : Layer
    inputs : tuple of int
        The numbers of the nodes whose outputs the layer reads; empty for model inputs.
    shape : tuple
        The output's shape, batch first.
    """

    layer: Layer
    inputs: tuple[int, ...]
    shape: tuple[int | None, ...]


def count_readers(nodes, count: int, outputs) -> list[int]:
    """Return how often each of `count` tensors is read by `nodes`; outputs are read once more."""
    readers = [0] * count
    for node in nodes:
        for i in node.inputs:
            readers[i] += 1
    for i in outputs:
        readers[i] += 1
    return readers
