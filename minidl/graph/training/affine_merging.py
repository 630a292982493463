"""Merging of consecutive affine augmentations, so that images are resampled once.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.training.affine_merging import merge_affine_layers
>>> model = Sequential([Input((8, 8, 3)), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
...                     layers.Flatten()])
>>> [(number, type(node.layer).__name__) for number, node in merge_affine_layers(model.nodes, [3])]
[(2, 'AffineChain'), (3, 'Flatten')]
"""

from __future__ import annotations

from typing import Any

from minidl.graph.node import Node, count_consumers
from minidl.layers.augmentation import AffineChain

__all__ = ["merge_affine_layers"]


def merge_affine_layers(nodes: list[Node], outputs: list[int]) -> list[tuple[int, Node]]:
    """Return the numbered nodes without the model's inputs, runs of affine layers merged.

    A run is merged if no other node reads the images in between.

    Parameters
    ----------
    nodes : list of Node
        In topological order.
    outputs : list of int
        Numbers of the graph's outputs.
    """
    consumers = count_consumers((node.inputs for node in nodes), len(nodes), outputs)
    merged: dict[int, Node] = {}
    runs: dict[int, list[Any]] = {}  # affine layers
    for i, node in enumerate(nodes):
        if not node.inputs:
            continue
        source = node.inputs[0]
        runs[i] = [node.layer]
        if (
            source in merged
            and consumers[source] == 1
            and AffineChain.can_follow(runs[source], node.layer)
        ):
            runs[i] = [*runs[source], node.layer]
            node = Node(AffineChain(runs[i]), merged.pop(source).inputs, node.shape)
        merged[i] = node
    return list(merged.items())
