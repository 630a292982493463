"""Node: one call of a layer within a graph.

>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((4,)), layers.Dense(3)])
>>> [(node.layer.name, node.inputs, node.shape) for node in model.nodes]
[('input_layer', (), (None, 4)), ('dense', (0,), (None, 3))]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from minidl.layers.base import Layer, Shape

__all__ = ["Node", "count_consumers"]


@dataclass(frozen=True)
class Node:
    """One call of a layer; its output tensor has the node's number, its position in the graph.

    Attributes
    ----------
    layer : Layer
    inputs : tuple of int
        Numbers of the tensors that the layer reads; empty for model inputs.
    shape : tuple of int or None
        Shape of the output, batch first.
    """

    layer: Layer
    inputs: tuple[int, ...]
    shape: Shape


def count_consumers(
    inputs: Iterable[tuple[int, ...]], count: int, outputs: Iterable[int]
) -> list[int]:
    """Return how often each tensor is read.

    Parameters
    ----------
    inputs : iterable of tuple of int
        The numbers that each node reads.
    count : int
        Number of tensors of the graph.
    outputs : iterable of int
        Numbers of the graph's outputs, which the caller reads once more.
    """
    consumers = [0] * count
    for numbers in (*inputs, outputs):
        for i in numbers:
            consumers[i] += 1
    return consumers
