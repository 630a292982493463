"""A network: a flat list of layer calls between input and output tensors.

A network called on a symbolic tensor is inlined: its layers become calls of the larger
network, so any inner activation can be reached by name.

>>> from minidl import Input, layers
>>> from minidl.graph.network import Network
>>> x = Input((4,))
>>> network = Network(x, layers.Dense(2, name="head")(x))
>>> network.get_layer("head").units, network.output_shape
(2, (None, 2))
"""

from __future__ import annotations

import html
import os
import sys
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.graph.assembly import (
    Inlined,
    as_tensors,
    inner_node,
    input_node,
    reachable,
)
from minidl.graph.inference.plan import InferencePlan
from minidl.graph.inference.plan_summary import format_plan
from minidl.graph.input_checks import check_inputs, check_shape, full_shapes, unknown_layer
from minidl.graph.summary import format_summary, summary_html
from minidl.graph.training.executor import Tape, TrainingExecutor
from minidl.kernels.runtime import thread_pool
from minidl.layers.base import Layer
from minidl.layers.names import layer_names, snake_case
from minidl.layers.parameter import Parameter
from minidl.layers.symbolic import SymbolicTensor
from minidl.layers.weights import WeightsOwner

__all__ = ["Network"]


class Network(WeightsOwner):
    """Layers between input and output tensors.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor or list of SymbolicTensor
    name : str, optional

    Raises
    ------
    ValueError
        If an output does not depend on the inputs alone, or two layers have one name.
    """

    def __init__(self, inputs, outputs, name: str | None = None):
        self._prepare(name)
        self._build(inputs, outputs)

    def _prepare(self, name: str | None) -> None:
        """Set what does not depend on the graph."""
        self.name = name or snake_case(type(self).__name__)
        self.inlined: dict[str, Inlined] = {}

    def _build(self, inputs, outputs) -> None:
        self.inlined = {}
        self.single_input = isinstance(inputs, SymbolicTensor)
        self.single_output = isinstance(outputs, SymbolicTensor)
        self.input_tensors = as_tensors(self.label, "inputs", inputs)
        self.output_tensors = as_tensors(self.label, "outputs", outputs)
        self.tensors = reachable(self.label, self.input_tensors, self.output_tensors)
        here = {id(tensor): tensor for tensor in self.tensors}
        for record in (r for tensor in self.tensors for r in tensor.inlined if r.moved(here)):
            base = name = record.network.name
            count = 0
            while name in self.inlined:
                count += 1
                name = f"{base}_{count}"
            self.inlined[name] = record
        number = {id(tensor): i for i, tensor in enumerate(self.tensors)}
        starts = {id(tensor) for tensor in self.input_tensors}
        self.nodes = [
            input_node(tensor) if id(tensor) in starts else inner_node(tensor, number)
            for tensor in self.tensors
        ]
        self.input_numbers = [number[id(tensor)] for tensor in self.input_tensors]
        self.output_numbers = [number[id(tensor)] for tensor in self.output_tensors]
        layer_names.resolve(self.label, self.layers_of_nodes)
        self._executor = TrainingExecutor(self.nodes, self.input_numbers, self.output_numbers)
        self._plan = InferencePlan(
            dict(enumerate(self.nodes)), self.input_numbers, self.output_numbers
        )

    # ------------------------------------------------------------------ structure

    @property
    def layers(self) -> list[Layer]:
        """All layers in topological order, those of inlined models among them."""
        return self.layers_of_nodes

    @property
    def layers_of_nodes(self) -> list[Layer]:
        """Each layer once, the inputs' among them."""
        return list({id(node.layer): node.layer for node in self.nodes}.values())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer | Network:
        """Return the layer (or the inlined model) called `name`, or layer number `index`."""
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
        raise ValueError(unknown_layer(self, name))

    def tap(self, name: str):
        """Return a model from the same inputs to the output of the layer called `name`."""
        inputs = self.input_tensors[0] if self.single_input else self.input_tensors
        return type(self)._functional(
            inputs, self.tensors[self.node_number(name)], f"{self.name}_{name}"
        )

    @classmethod
    def _functional(cls, inputs, outputs, name: str):
        """Make a model from tensors; Sequential, whose constructor differs, overrides it."""
        return cls(inputs, outputs, name=name)

    def __call__(self, inputs, training: bool = False):
        """Inline this network into a larger one, or compute its outputs for arrays."""
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else inputs
        if isinstance(first, SymbolicTensor):
            return self._inline(inputs)
        return self.forward(inputs, training=True)[0] if training else self.infer(inputs)

    def _inline(self, inputs):
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if len(given) != len(self.input_tensors):
            raise ShapeError(
                f"{self.label}: expected {len(self.input_tensors)} inputs, received {len(given)}"
            )
        for tensor, number in zip(given, self.input_numbers, strict=True):
            check_shape(self, self.nodes[number], tensor.shape)
        values: dict[int, SymbolicTensor] = dict(zip(self.input_numbers, given, strict=True))
        for i, node in enumerate(self.nodes):
            if i not in values:
                x = [values[j] for j in node.inputs]
                values[i] = node.layer(node.layer.as_input(x))
        outputs = [values[i] for i in self.output_numbers]
        places = {id(tensor): values[i] for i, tensor in enumerate(self.tensors)}
        inner = [record.moved(places) for record in self.inlined.values()]
        for tensor in outputs:
            tensor.inlined += (*inner, Inlined(self, tuple(given), tuple(outputs)))
        return outputs[0] if self.single_output else outputs

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The symbolic inputs, for building larger models: ``Model(base.input, ...)``."""
        return list(self.input_tensors)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The symbolic outputs."""
        return list(self.output_tensors)

    @property
    def input(self) -> SymbolicTensor | list[SymbolicTensor]:
        """The symbolic input, or a list of several."""
        return self.inputs[0] if self.single_input else self.inputs

    @property
    def output(self) -> SymbolicTensor | list[SymbolicTensor]:
        """The symbolic output, or a list of several."""
        return self.outputs[0] if self.single_output else self.outputs

    @property
    def input_shape(self):
        shapes = [tensor.shape for tensor in self.input_tensors]
        return shapes[0] if self.single_input else shapes

    @property
    def output_shape(self):
        shapes = [tensor.shape for tensor in self.output_tensors]
        return shapes[0] if self.single_output else shapes

    @property
    def dtype(self) -> np.dtype:
        return self.input_tensors[0].dtype

    @property
    def label(self) -> str:
        """How error messages name this model: ``Model 'pets'``."""
        return f"{type(self).__name__} {self.name!r}"

    def summary(self, print_fn=None) -> None:
        """Print each layer with its output shape, parameters, frozen mark and multiply-adds.

        On a terminal frozen layers are dimmed and totals bold, unless the environment variable
        ``NO_COLOR`` is set.
        """
        terminal = print_fn is None and sys.stdout.isatty()
        colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        (print_fn or print)(format_summary(self, colour))

    def _repr_html_(self) -> str:
        """Show the summary as a table in a notebook."""
        return (
            f"<details open><summary>{html.escape(self.label)}, {len(self.layers)} layers"
            f"</summary>{summary_html(self)}</details>"
        )

    def plan_summary(
        self, batch_size: int = 1, input_shape=None, profile: bool = False, print_fn=print
    ) -> str:
        """Print what inference does step by step, and return the text.

        Parameters
        ----------
        batch_size : int
        input_shape : tuple of int, or list of tuples for several inputs, optional
            Without the batch; needed where the model leaves sizes open.
        profile : bool
            Also run it and tell milliseconds and GFLOP/s of each step.
        print_fn : callable or None

        Raises
        ------
        ShapeError
            If a size is not known.
        """
        text = format_plan(self, self._plan, full_shapes(self, batch_size, input_shape), profile)
        if print_fn is not None:
            print_fn(text)
        return text

    def node_number(self, name: str) -> int:
        """Return the place among ``nodes`` of the layer, or inlined network, called `name`."""
        for i, node in enumerate(self.nodes):
            if node.layer.name == name:
                return i
        if name in self.inlined and len(self.inlined[name].outputs) == 1:
            return next(i for i, t in enumerate(self.tensors) if t is self.inlined[name].outputs[0])
        raise ValueError(unknown_layer(self, name))

    # ------------------------------------------------------------------ weights

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, layer by layer."""
        return [parameter for layer in self.layers for parameter in layer.weights]

    @property
    def trainable(self) -> bool:
        """Whether any layer is trainable; setting it sets all layers."""
        return any(layer.trainable for layer in self.layers if layer.parameters)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = bool(value)

    def freeze(self, until: str | None = None) -> None:
        """Freeze all layers, or the layer (or inlined model) `until` and all it depends on."""
        for layer in self.layers if until is None else self._up_to(until):
            layer.trainable = False

    def unfreeze(self, from_layer: str | None = None) -> None:
        """Unfreeze all layers, or all but those that the layer called `from_layer` depends on."""
        if from_layer in self.inlined and from_layer not in {layer.name for layer in self.layers}:
            raise ValueError(
                f"{self.label}: expected from_layer to be a layer, received the model "
                f"{from_layer!r}; set get_layer({from_layer!r}).trainable = True instead"
            )
        below = [] if from_layer is None else self._up_to(from_layer)[:-1]
        kept = {id(layer) for layer in below}
        for layer in self.layers:
            if id(layer) not in kept:
                layer.trainable = True

    def _up_to(self, name: str) -> list[Layer]:
        """Return the layers that the layer `name` depends on, and it itself at the end."""
        wanted = {self.node_number(name)}
        for i in range(max(wanted), -1, -1):
            if i in wanted:
                wanted.update(self.nodes[i].inputs)
        return [self.nodes[i].layer for i in sorted(wanted)]

    # ------------------------------------------------------------------ computing

    def forward(self, x, training: bool = False, rng=None, *, need_dx: bool = True):
        """Return ``(y, cache)``; `cache` is for one call of :meth:`backward`.

        Parameters
        ----------
        x : array or list of arrays
            One array for each input, batch first.
        training : bool
            Switches dropout, augmentation and batch statistics on.
        rng : numpy.random.Generator, optional
            Where random layers take their numbers from.
        need_dx : bool
            False where backward need not reach the inputs: saves memory and time.
        """
        xs = self.check_inputs(x)
        with thread_pool.computing():
            ys, tape = self._executor.forward(xs, training, rng, need_dx=need_dx)
        return ys[0] if self.single_output else ys, tape

    def backward(self, dy, cache: Tape, need_dx: bool = True):
        """Return ``(dx, gradients)``, the latter in the order of ``trainable_weights``.

        Parameters
        ----------
        dy : array or list of arrays
            The gradient of each output.
        cache : Tape
            From :meth:`forward`; can be used once.
        need_dx : bool
        """
        dys = [dy] if self.single_output else list(dy)
        dys = [None if d is None else np.ascontiguousarray(d, self.dtype) for d in dys]
        for d, shape in zip(dys, cache.output_shapes, strict=True):
            if d is not None and d.shape != shape:
                raise ShapeError(f"{self.label}: dy has shape {d.shape}, expected {shape}")
        with thread_pool.computing():
            dxs, learned = self._executor.backward(dys, cache, need_dx)
        gradients = [
            learned[id(p)] if id(p) in learned else np.zeros_like(p.value)
            for p in self.trainable_weights
        ]
        return dxs[0] if self.single_input else dxs, gradients

    def infer(self, x) -> Any:
        """Return the outputs for one batch through the inference plan, keeping nothing."""
        xs = self.check_inputs(x)
        with thread_pool.computing():
            ys = self._plan.run(xs)
        return ys[0] if self.single_output else ys

    def check_inputs(self, x) -> list[np.ndarray]:
        """Return the inputs as a list of arrays in the model's dtype, or say what is wrong."""
        return check_inputs(self, x)

    def __repr__(self) -> str:
        return f"<{self.label} {len(self.layers)} layers, {self.count_params():,} parameters>"
