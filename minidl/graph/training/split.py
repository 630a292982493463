"""Splitting of a partly frozen network: frozen features below, a trainable head above.

The features of a sample are the same in every epoch, so they can be computed once.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.training.split import split_frozen
>>> model = Sequential([Input((4,)), layers.Dense(3, trainable=False), layers.ReLU(),
...                     layers.Dropout(0.5), layers.Dense(2)])
>>> split = split_frozen(model)
>>> [layer.name for layer in split.features.layers]
['input_layer', 'dense', 're_lu']
>>> [tensor.shape for tensor in split.head.input_tensors]
[(None, 3)]
"""

from __future__ import annotations

from dataclasses import dataclass

from minidl.graph.network import Network
from minidl.graph.node import Node

__all__ = ["Split", "split_frozen"]


@dataclass(frozen=True)
class Split:
    """A network in two parts, which share its layers.

    Attributes
    ----------
    features : Network
        From the network's inputs to the tensors that the head reads.
    head : Network
        From these tensors to the network's outputs.
    is_random : bool
        Whether the features of a sample differ between training passes.
    flags : tuple of bool
        Result of :func:`trainable_flags`: for other flags the split may differ.
    """

    features: Network
    head: Network
    is_random: bool
    flags: tuple[bool, ...]


def split_frozen(network: Network, random_input: bool = False) -> Split | None:
    """Return the largest frozen part and the rest, or None if no layer with weights is frozen.

    Parameters
    ----------
    network : Network
    random_input : bool
        Whether the features may contain random layers, such as augmentation.
    """
    if not network.trainable_weights:
        return None
    below = _frozen_nodes(network, random_input)
    if not any(network.nodes[i].layer.parameters for i in below):
        return None
    read = {j for i, node in enumerate(network.nodes) if i not in below for j in node.inputs}
    read.update(network.output_numbers)
    tensors = [network.tensors[i] for i in sorted(below & read)]
    between = tensors[0] if len(tensors) == 1 else tensors
    is_random = not all(_is_deterministic(network.nodes[i]) for i in below)
    return Split(
        Network(network.input, between, name=f"{network.name}_features"),
        Network(between, network.output, name=f"{network.name}_head"),
        is_random,
        trainable_flags(network),
    )


def trainable_flags(network: Network) -> tuple[bool, ...]:
    """Return which layers are trainable, and which have trainable weights.

    The second half covers copies of layers, whose parameters follow the original layer.
    """
    layers = network.layers_of_nodes
    return (
        *(layer.trainable for layer in layers),
        *(bool(layer.trainable_weights) for layer in layers),
    )


def _frozen_nodes(network: Network, random_input: bool) -> set[int]:
    """Return the nodes whose outputs are features, the model's inputs among them."""
    nodes = network.nodes
    inputs = set(network.input_numbers)
    untrained, deterministic = set(inputs), set(inputs)  # including all nodes below
    for i, node in enumerate(nodes):
        if i in inputs or node.layer.trainable_weights:
            continue
        if untrained.issuperset(node.inputs):
            untrained.add(i)
        if deterministic.issuperset(node.inputs) and _is_deterministic(node):
            deterministic.add(i)
    if not random_input:
        return deterministic
    # Random layers are features if a frozen layer with weights is above them: this includes the
    # augmentation, but not the dropout of the head.
    features = set(inputs)
    for i in reversed(range(len(nodes))):
        if i in features or (i in untrained and nodes[i].layer.parameters):
            features.update((i, *nodes[i].inputs))
    for i, node in enumerate(nodes):
        if i in untrained and _is_deterministic(node) and features.issuperset(node.inputs):
            features.add(i)
    return features & untrained


def _is_deterministic(node: Node) -> bool:
    return node.layer.capabilities.ignores_training
