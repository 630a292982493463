"""From symbolic tensors to a list of nodes: what a network does once, when it is made.

>>> from minidl import Input, layers
>>> from minidl.graph.assembly import reachable
>>> x = Input((4,))
>>> hidden = layers.Dense(3)(x)
>>> [tensor.shape for tensor in reachable("model", [x], [layers.Dense(2)(hidden)])]
[(None, 4), (None, 3), (None, 2)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minidl.graph.node import Node
from minidl.layers.symbolic import InputLayer, SymbolicTensor

__all__ = ["Inlined", "as_tensors", "inner_node", "input_node", "reachable"]


@dataclass(frozen=True)
class Inlined:
    """Where in a graph the layers of a smaller network have their place.

    Attributes
    ----------
    network : Network
        The smaller one: its layers are those of the larger.
    inputs, outputs : tuple of SymbolicTensor
        Of the larger graph.
    """

    network: Any
    inputs: tuple[SymbolicTensor, ...]
    outputs: tuple[SymbolicTensor, ...]

    def moved(self, places: dict[int, SymbolicTensor]) -> Inlined | None:
        """Return the same within another graph; `places` maps ids of tensors to its tensors."""
        if any(id(tensor) not in places for tensor in self.inputs + self.outputs):
            return None
        inputs, outputs = (
            tuple(places[id(tensor)] for tensor in group) for group in (self.inputs, self.outputs)
        )
        return Inlined(self.network, inputs, outputs)


def as_tensors(label: str, what: str, tensors: Any) -> list[SymbolicTensor]:
    """Return one tensor or several as a list; TypeError for anything else."""
    found = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    if not found or any(not isinstance(tensor, SymbolicTensor) for tensor in found):
        raise TypeError(f"{label}: expected {what} made by Input and layers, received {tensors!r}")
    return found


def reachable(
    label: str, inputs: list[SymbolicTensor], outputs: list[SymbolicTensor]
) -> list[SymbolicTensor]:
    """Return the tensors between inputs and outputs, each after those it depends on.

    Raises
    ------
    ValueError
        If an output depends on an ``Input`` that is not among `inputs`.
    """
    found = {id(tensor): tensor for tensor in inputs}
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in found:
            continue
        if not tensor.inputs:
            raise ValueError(
                f"{label}: the output depends on {tensor.layer.label}, which is not among the "
                "model's inputs"
            )
        found[id(tensor)] = tensor
        waiting.extend(tensor.inputs)
    return sorted(found.values(), key=lambda tensor: tensor.serial)


def input_node(tensor: SymbolicTensor) -> Node:
    """Return the node of a model input; a tensor from inside a graph gets an InputLayer."""
    if isinstance(tensor.layer, InputLayer):
        return Node(tensor.layer, (), tensor.shape)
    return Node(InputLayer(tensor.shape[1:], dtype=tensor.dtype.name), (), tensor.shape)


def inner_node(tensor: SymbolicTensor, number: dict[int, int]) -> Node:
    """Return the node of a tensor; `number` maps the ids of tensors to their places."""
    return Node(tensor.layer, tuple(number[id(t)] for t in tensor.inputs), tensor.shape)
