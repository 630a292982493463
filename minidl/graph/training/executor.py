"""The training executor: runs a graph forward with explicit caches, and backward.

The forward pass keeps what each layer's ``backward`` needs (the tape) and drops an activation
after its last consumer. Frozen segments, which no gradient has to pass through, run as inference
plans (see :mod:`minidl.graph.training.frozen_segments`). The backward pass traverses the nodes in
reverse, sums the gradients of outputs with several consumers, and stops at the lowest trainable
layer: below it nothing is computed and nothing was kept.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((3,)), layers.Dense(2, kernel_initializer="ones")])
>>> executor = TrainingExecutor(model.nodes, inputs=[0], outputs=[1])
>>> (y,), tape = executor.forward([np.ones((1, 3), "float32")])
>>> (dx,), gradients = executor.backward([np.ones((1, 2), "float32")], tape)
>>> y.tolist(), dx.tolist(), [gradient.shape for gradient in gradients.values()]
([[3.0, 3.0]], [[2.0, 2.0, 2.0]], [(3, 2), (2,)])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.common.seeding import as_generator
from minidl.graph.node import Node
from minidl.graph.training.affine_merging import merge_affine_layers
from minidl.graph.training.frozen_segments import ExecutionOrder, FrozenSegment, arrange
from minidl.kernels import activations
from minidl.layers.base import Layer, Parameter, as_dtype

__all__ = ["OnGradients", "Tape", "TrainingExecutor"]

OnGradients = Callable[[list[Parameter], list[np.ndarray]], object]

MAX_ORDERS = 4  # patterns of frozen layers for which execution orders are kept


@dataclass
class Tape:
    """What the forward pass keeps for one backward pass.

    Attributes
    ----------
    needs_gradient : list of bool
        For each node, whether a gradient has to reach its output.
    order : ExecutionOrder
        The nodes that the forward pass ran.
    caches : dict of int to object
        What each layer's ``forward`` returned for its ``backward``.
    output_shapes : list of tuple
    used : bool
        Whether a backward pass has used the tape.
    """

    needs_gradient: list[bool]
    order: ExecutionOrder
    caches: dict[int, Any] = field(default_factory=dict)
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    used: bool = False


class TrainingExecutor:
    """Runs the nodes of one network.

    Parameters
    ----------
    nodes : list of Node
        In topological order; model inputs read no other node.
    inputs, outputs : list of int
        Numbers of the input and output nodes.
    """

    def __init__(self, nodes: list[Node], inputs: list[int], outputs: list[int]):
        self.inputs, self.outputs = inputs, outputs
        self.nodes = merge_affine_layers(nodes, outputs)
        self.node_count = len(nodes)
        self._orders: dict[tuple[bool, ...], ExecutionOrder] = {}
        # Inputs with open sizes could not be checked when the graph was built.
        self._unchecked = {
            i for i, node in self.nodes if any(None in nodes[j].shape[1:] for j in node.inputs)
        }

    def forward(
        self,
        xs: list[np.ndarray],
        training: bool = False,
        rng: int | np.random.Generator | None = None,
        *,
        need_dx: bool = True,
    ) -> tuple[list[np.ndarray], Tape]:
        """Return the outputs and the tape.

        Parameters
        ----------
        xs : list of arrays
            One for each input.
        training : bool
            Whether dropout, augmentation and batch statistics are active.
        rng : int or numpy.random.Generator, optional
            Source of all random numbers.
        need_dx : bool
            Whether the backward pass has to reach the inputs.
        """
        needs_gradient = self._needs_gradient(need_dx)
        order = self.execution_order(needs_gradient, training)
        tape = Tape(needs_gradient, order)
        values: list[Any] = [None] * self.node_count
        waiting = order.consumers.copy()
        for i, x in zip(self.inputs, xs, strict=True):
            values[i] = x
        seed = int(as_generator(rng).integers(2**63)) if training else 0
        for item in order.items:
            if isinstance(item, FrozenSegment):
                read = item.inputs
                _run_segment(item, values)
            else:
                i, node = item
                read = node.inputs
                # Each node has its own numbers, whatever the other layers draw.
                layer_rng = np.random.default_rng([seed, i]) if training else None
                y, cache = self._call(i, node.layer, [values[j] for j in read], training, layer_rng)
                values[i] = y
                if tape.needs_gradient[i]:
                    tape.caches[i] = cache
                del y, cache
            for j in read:
                waiting[j] -= 1
                if waiting[j] == 0:
                    values[j] = None
        ys = [values[i] for i in self.outputs]
        tape.output_shapes = [y.shape for y in ys]
        return ys, tape

    def _call(
        self,
        i: int,
        layer: Layer,
        xs: list[np.ndarray],
        training: bool,
        rng: np.random.Generator | None,
    ) -> tuple[np.ndarray, Any]:
        if i in self._unchecked:
            layer.compute_output_shape(layer.as_input([x.shape for x in xs]))
        x = layer.as_input(as_dtype(xs, layer.dtype))
        y, cache = layer.forward(x, training=training, rng=rng)
        return as_dtype(y, layer.dtype), cache  # kernels require C-contiguous arrays

    def backward(
        self,
        dys: Sequence[np.ndarray | None],
        tape: Tape,
        need_dx: bool = True,
        on_gradients: OnGradients | None = None,
    ) -> tuple[list[np.ndarray | None], dict[int, np.ndarray]]:
        """Return the gradients of the inputs and of the parameters.

        Parameters
        ----------
        dys : sequence of array or None
            Gradient of each output; None for zero.
        tape : Tape
            From :meth:`forward`; can be used once.
        need_dx : bool
            Whether to return the gradients of the inputs.
        on_gradients : callable, optional
            ``on_gradients(parameters, gradients)`` is called as soon as a layer's are complete.

        Returns
        -------
        list of array or None
            One for each input.
        dict of int to array
            Parameter gradients by ``id(parameter)``.
        """
        if tape.used:
            raise RuntimeError("backward: expected an unused cache. Run forward again.")
        tape.used = True
        gradients = _GradientSums()
        learned: dict[int, np.ndarray] = {}
        for i, dy in zip(self.outputs, dys, strict=True):
            if dy is not None:
                gradients.add(i, dy)
        items = [item for item in tape.order.items if not isinstance(item, FrozenSegment)]
        calls = Counter(id(p) for _, node in items for p in node.layer.trainable_weights)
        for i, node in reversed(items):  # no gradient passes through frozen segments
            calls.subtract(id(p) for p in node.layer.trainable_weights)
            dy = gradients.pop(i)
            cache = tape.caches.pop(i, None)
            if dy is None or not tape.needs_gradient[i]:
                continue
            layer = node.layer
            needed = [tape.needs_gradient[j] for j in node.inputs]
            dx, layer_gradients = layer.backward(
                as_dtype(dy, layer.dtype), cache, need_dx=any(needed)
            )
            _add_parameter_gradients(learned, layer, layer_gradients)
            if on_gradients is not None:
                complete = [p for p in layer.trainable_weights if calls[id(p)] == 0]
                on_gradients(complete, [learned[id(p)] for p in complete])
            dxs = dx if layer.capabilities.accepts_list else [dx]
            for j, wanted, d in zip(node.inputs, needed, dxs or [None] * len(needed), strict=True):
                if wanted and not isinstance(d, np.ndarray):
                    raise ShapeError(
                        f"{layer.label}: expected backward to return an input gradient, "
                        f"received {type(d).__name__}"
                    )
                if wanted:
                    gradients.add(j, d)
        return [gradients.pop(i) if need_dx else None for i in self.inputs], learned

    def execution_order(self, needs_gradient: list[bool], training: bool) -> ExecutionOrder:
        """Return the order of live nodes and frozen segments."""
        frozen = tuple(
            not needs_gradient[i] and (not training or node.layer.capabilities.ignores_training)
            for i, node in self.nodes
        )
        if frozen not in self._orders:
            if len(self._orders) == MAX_ORDERS:
                self._orders.pop(next(iter(self._orders)))
            numbers = {i for (i, _), is_frozen in zip(self.nodes, frozen, strict=True) if is_frozen}
            self._orders[frozen] = arrange(self.nodes, self.inputs, self.outputs, numbers)
        return self._orders[frozen]

    def _needs_gradient(self, need_dx: bool) -> list[bool]:
        """Mark the nodes that a gradient has to reach: trainable ones and those above them."""
        needs = [False] * self.node_count
        for i in self.inputs:
            needs[i] = need_dx
        for i, node in self.nodes:
            needs[i] = bool(node.layer.trainable_weights) or any(needs[j] for j in node.inputs)
        return needs


def _run_segment(segment: FrozenSegment, values: list[Any]) -> None:
    ys = segment.plan.run([values[j] for j in segment.inputs])
    for i, y in zip(segment.outputs, ys, strict=True):
        values[i] = y


class _GradientSums:
    """Gradients of tensors, summed over their consumers."""

    def __init__(self) -> None:
        self.values: dict[int, np.ndarray] = {}
        self.owned: set[int] = set()  # sums allocated here, which may be changed in place

    def add(self, i: int, gradient: np.ndarray) -> None:
        if i not in self.values:
            self.values[i] = gradient
        elif i in self.owned:
            activations.add(self.values[i], np.ascontiguousarray(gradient), self.values[i])
        else:
            self.values[i] = activations.add(*map(np.ascontiguousarray, (self.values[i], gradient)))
            self.owned.add(i)

    def pop(self, i: int) -> np.ndarray | None:
        self.owned.discard(i)
        return self.values.pop(i, None)


def _add_parameter_gradients(
    learned: dict[int, np.ndarray], layer: Layer, gradients: Sequence[np.ndarray]
) -> None:
    """Add the gradients of one call of a layer, which other nodes may share."""
    parameters = layer.trainable_weights
    if len(gradients) != len(parameters):
        raise ShapeError(
            f"{layer.label}: expected backward to return {len(parameters)} gradients, one for "
            f"each trainable parameter, received {len(gradients)}"
        )
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if np.shape(gradient) != parameter.shape:
            raise ShapeError(
                f"{layer.label}: expected a gradient of shape {parameter.shape} for "
                f"{parameter.name!r}, received {np.shape(gradient)}"
            )
        known = learned.get(id(parameter))
        learned[id(parameter)] = gradient if known is None else known + gradient
