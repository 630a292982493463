"""Graph assembly: symbolic tensors become a list of nodes with named layers.

A graph called on a symbolic tensor is inlined: its layers become calls within the larger graph,
so that each inner activation can be reached by name.

>>> from minidl import Input, layers
>>> from minidl.graph.assembly import Graph
>>> x = Input((4,))
>>> graph = Graph(x, layers.Dense(2)(layers.Dense(3, name="hidden")(x)), name="small")
>>> [node.shape for node in graph.nodes], graph.node_number("hidden")
([(None, 4), (None, 3), (None, 2)], 1)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.graph.input_checks import check_shape
from minidl.graph.node import Node
from minidl.layers.base import Layer, Shape
from minidl.layers.names import layer_names, snake_case
from minidl.layers.symbolic import InputLayer, SymbolicTensor

__all__ = ["Graph", "Inlined", "Tensors"]

Tensors = SymbolicTensor | Sequence[SymbolicTensor]


class Graph:
    """Layer calls between input and output tensors.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor or list of SymbolicTensor
    name : str, optional
        By default the class's name in snake case.

    Attributes
    ----------
    nodes : list of Node
        In topological order.
    tensors : list of SymbolicTensor
        The outputs of the nodes.
    input_numbers, output_numbers : list of int
        Numbers of the input and output nodes.
    single_input, single_output : bool
        Whether one tensor was given, and not a list.
    inlined : dict of str to Inlined
        Smaller graphs that were called, by name.

    Raises
    ------
    ValueError
        If an output depends on another ``Input``, or a user gave two layers the same name.
    """

    def __init__(self, inputs: Tensors, outputs: Tensors, name: str | None = None):
        self._prepare(name)
        self._build(inputs, outputs)

    def _prepare(self, name: str | None) -> None:
        """Set the attributes that do not depend on the tensors."""
        self.name = name or snake_case(type(self).__name__)
        self.inlined: dict[str, Inlined] = {}

    def _build(self, inputs: Tensors, outputs: Tensors) -> None:
        self.single_input = isinstance(inputs, SymbolicTensor)
        self.single_output = isinstance(outputs, SymbolicTensor)
        self.input_tensors = _as_list(f"{self.label}: expected inputs", inputs)
        self.output_tensors = _as_list(f"{self.label}: expected outputs", outputs)
        self.tensors = self._reachable_tensors()
        number = {id(tensor): i for i, tensor in enumerate(self.tensors)}
        self.input_numbers = [number[id(tensor)] for tensor in self.input_tensors]
        self.output_numbers = [number[id(tensor)] for tensor in self.output_tensors]
        self.nodes = [
            _input_node(tensor)
            if i in self.input_numbers
            else Node(tensor.layer, tuple(number[id(t)] for t in tensor.inputs), tensor.shape)
            for i, tensor in enumerate(self.tensors)
        ]
        layer_names.resolve(self.label, self.layers_of_nodes)
        self.inlined = self._inlined_graphs()

    def _reachable_tensors(self) -> list[SymbolicTensor]:
        """Return the tensors between inputs and outputs in topological order."""
        found = {id(tensor): tensor for tensor in self.input_tensors}
        pending = list(self.output_tensors)
        while pending:
            tensor = pending.pop()
            if id(tensor) in found:
                continue
            if not tensor.inputs:
                raise ValueError(
                    f"{self.label}: expected outputs that depend on the model's inputs alone, "
                    f"received one that depends on {tensor.layer.label}. Add it to the inputs."
                )
            found[id(tensor)] = tensor
            pending.extend(tensor.inputs)
        return sorted(found.values(), key=lambda tensor: tensor.serial)

    def _inlined_graphs(self) -> dict[str, Inlined]:
        mapping = {id(tensor): tensor for tensor in self.tensors}
        inlined: dict[str, Inlined] = {}
        for record in (record for tensor in self.tensors for record in tensor.inlined):
            if record.mapped(mapping) is not None:
                base = record.network.name
                names = itertools.chain([base], (f"{base}_{k}" for k in itertools.count(1)))
                inlined[next(name for name in names if name not in inlined)] = record
        return inlined

    @property
    def built(self) -> bool:
        """Whether the nodes exist; a Sequential may need data first."""
        return True

    # ------------------------------------------------------------------ tensors

    @property
    def label(self) -> str:
        """How error messages name this graph: ``Model 'pets'``."""
        return f"{type(self).__name__} {self.name!r}"

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs, as a list."""
        return list(self.input_tensors)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs, as a list."""
        return list(self.output_tensors)

    @property
    def input(self) -> Any:
        """The symbolic input, or a list of several: ``Model(base.input, ...)``."""
        return self.inputs[0] if self.single_input else self.inputs

    @property
    def output(self) -> Any:
        """The symbolic output, or a list of several."""
        return self.outputs[0] if self.single_output else self.outputs

    @property
    def input_shape(self) -> Any:
        """Shape of the input, batch first, or a list of several shapes."""
        shapes = [tensor.shape for tensor in self.input_tensors]
        return shapes[0] if self.single_input else shapes

    @property
    def output_shape(self) -> Any:
        """Shape of the output, batch first, or a list of several shapes."""
        shapes = [tensor.shape for tensor in self.output_tensors]
        return shapes[0] if self.single_output else shapes

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the first input."""
        return self.input_tensors[0].dtype

    # ------------------------------------------------------------------ layers

    @property
    def layers(self) -> list[Layer]:
        """All layers in topological order, including those of inlined graphs."""
        return self.layers_of_nodes

    @property
    def layers_of_nodes(self) -> list[Layer]:
        """Each layer once in topological order, including the InputLayers."""
        return list({id(node.layer): node.layer for node in self.nodes}.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """Return a layer or an inlined model.

        Parameters
        ----------
        name : str, optional
        index : int, optional
            Position in ``layers``, if no name is given.

        Returns
        -------
        Layer or Model

        Raises
        ------
        ValueError
            If there is no such layer.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> Sequential([Input((4,)), layers.Dense(2, name="head")]).get_layer("head").units
        2
        """
        if name is None:
            count = len(self.layers)
            if index is None or not -count <= index < count:
                raise ValueError(
                    f"{self.label}: get_layer expected a name or an index below {count}, "
                    f"received {index}"
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        if name in self.inlined:
            return self.inlined[name].network
        raise ValueError(self._no_such_layer(name))

    def node_number(self, name: str) -> int:
        """Return the number of the node of a layer, or of the output of an inlined model."""
        for i, node in enumerate(self.nodes):
            if node.layer.name == name:
                return i
        if name in self.inlined and len(self.inlined[name].outputs) == 1:
            return next(i for i, t in enumerate(self.tensors) if t is self.inlined[name].outputs[0])
        raise ValueError(self._no_such_layer(name))

    def layers_up_to(self, name: str) -> list[Layer]:
        """Return the layers that the layer `name` depends on, and that layer as the last one."""
        found = {self.node_number(name)}
        for i in range(max(found), -1, -1):
            if i in found:
                found.update(self.nodes[i].inputs)
        return [self.nodes[i].layer for i in sorted(found)]

    def _no_such_layer(self, name: str) -> str:
        names = [layer.name for layer in self.layers]
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        return f"{self.label}: expected the name of a layer ({shown}), received {name!r}"

    # ------------------------------------------------------------------ inlining

    def _inline(self, inputs: Tensors) -> Any:
        """Call all layers on new symbolic inputs; return the symbolic outputs."""
        given = _as_list(f"{self.label}: expected inputs", inputs)
        if len(given) != len(self.input_tensors):
            raise ShapeError(
                f"{self.label}: expected {len(self.input_tensors)} inputs, received {len(given)}"
            )
        for tensor, number in zip(given, self.input_numbers, strict=True):
            check_shape(self, self.nodes[number], tensor.shape)
        values = dict(zip(self.input_numbers, given, strict=True))
        for i, node in enumerate(self.nodes):
            if i not in values:
                values[i] = node.layer(node.layer.as_input([values[j] for j in node.inputs]))
        outputs = [values[i] for i in self.output_numbers]
        mapping = {id(tensor): values[i] for i, tensor in enumerate(self.tensors)}
        inner = [record.mapped(mapping) for record in self.inlined.values()]
        for tensor in outputs:
            tensor.inlined += (*inner, Inlined(self, tuple(given), tuple(outputs)))
        return outputs[0] if self.single_output else outputs


@dataclass(frozen=True)
class Inlined:
    """A smaller network whose layers are part of a larger graph.

    Attributes
    ----------
    network : Network
    inputs, outputs : tuple of SymbolicTensor
        Tensors of the larger graph.
    """

    network: Any
    inputs: tuple[SymbolicTensor, ...]
    outputs: tuple[SymbolicTensor, ...]

    def mapped(self, mapping: dict[int, SymbolicTensor]) -> Inlined | None:
        """Return the record for another graph, or None if a tensor is not part of it.

        `mapping` contains the tensors of the other graph by the ids of these tensors.
        """
        if any(id(tensor) not in mapping for tensor in self.inputs + self.outputs):
            return None
        inputs = tuple(mapping[id(tensor)] for tensor in self.inputs)
        outputs = tuple(mapping[id(tensor)] for tensor in self.outputs)
        return Inlined(self.network, inputs, outputs)


def _as_list(expected: str, tensors: Any) -> list[SymbolicTensor]:
    """Return one tensor or several as a list; raise TypeError for anything else."""
    found = list(tensors) if isinstance(tensors, (list, tuple)) else [tensors]
    if not found or any(not isinstance(tensor, SymbolicTensor) for tensor in found):
        raise TypeError(f"{expected} made by Input and layers, received {tensors!r}")
    return found


def _input_node(tensor: SymbolicTensor) -> Node:
    """Return the node of an input; a tensor from inside another graph gets an InputLayer."""
    if isinstance(tensor.layer, InputLayer):
        return Node(tensor.layer, (), tensor.shape)
    sample_shape: Shape = tensor.shape[1:]
    return Node(InputLayer(sample_shape, dtype=tensor.dtype.name), (), tensor.shape)
