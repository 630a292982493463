"""Where a partly frozen network can be cut: features below, a head to train above.

The features of a sample are the same in every epoch, so they need to be computed only once.

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

__all__ = ["Split", "split_frozen"]


@dataclass(frozen=True)
class Split:
    """A network in two parts, made of its own layers.

    Attributes
    ----------
    features : Network
        From the model's inputs to all that the head reads.
    head : Network
        From there to the model's outputs.
    is_random : bool
        Whether the features of a sample differ from one pass in training to the next.
    flags : tuple of bool
        See :func:`trainable_flags`: with other flags the cut may be elsewhere.
    """

    features: Network
    head: Network
    is_random: bool
    flags: tuple[bool, ...]


def split_frozen(network: Network, random_input: bool = False) -> Split | None:
    """Return the largest frozen part and the rest, or None where no layer with weights is frozen.

    Parameters
    ----------
    network : Network
    random_input : bool
        Whether random layers, such as augmentation, may lie below the frozen ones.
    """
    if not network.trainable_weights:
        return None
    below = _frozen_nodes(network, random_input)
    if not any(network.nodes[i].layer.parameters for i in below):
        return None
    read = {j for i, node in enumerate(network.nodes) if i not in below for j in node.inputs}
    cut = [i for i in sorted(below) if i in read or i in network.output_numbers]
    tensors = [network.tensors[i] for i in cut]
    between = tensors[0] if len(tensors) == 1 else tensors
    is_random = any(not _same_each_time(network.nodes[i].layer) for i in below)
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
    """Return the nodes whose outputs are features; the model's inputs are among them."""
    nodes = network.nodes
    inputs = set(network.input_numbers)
    untrained, same = set(inputs), set(inputs)  # no gradient arrives; and nothing random below
    for i, node in enumerate(nodes):
        if i in inputs or node.layer.trainable_weights:
            continue
        if untrained.issuperset(node.inputs):
            untrained.add(i)
        if same.issuperset(node.inputs) and _same_each_time(node.layer):
            same.add(i)
    if not random_input:
        return same
    # Random layers count as long as there is a frozen layer with weights above them: the
    # augmentation, but not the dropout of the head.
    wanted = set(inputs)
    for i in reversed(range(len(nodes))):
        if i in wanted or (i in untrained and nodes[i].layer.parameters):
            wanted.update((i, *nodes[i].inputs))
    for i, node in enumerate(nodes):
        follows = node.inputs and wanted.issuperset(node.inputs)
        if follows and i in untrained and _same_each_time(node.layer):
            wanted.add(i)
    return wanted & untrained


def _same_each_time(layer) -> bool:
    return layer.capabilities.ignores_training
