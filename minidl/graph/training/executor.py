"""The training executor: runs a graph forward with explicit caches, and backward.

Forward keeps of each layer what its ``backward`` needs (the tape) and lets an activation go
as soon as its last reader is done. Frozen parts that no gradient has to cross are left to
inference plans (see :mod:`minidl.graph.training.frozen_segments`). Backward walks the tape in
reverse and stops at the lowest trainable layer: below it nothing is computed, and nothing was kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.common.seeding import as_generator
from minidl.graph.node import Node, count_readers
from minidl.graph.training.frozen_segments import Segment, Timetable, arrange
from minidl.kernels import activations
from minidl.layers.augmentation import AffineChain
from minidl.layers.base import Layer, as_dtype
from minidl.layers.parameter import Parameter

__all__ = ["Tape", "TrainingExecutor"]

TIMETABLES_KEPT = 4  # for so many patterns of frozen layers


@dataclass
class Tape:
    """What one forward pass leaves for its backward pass; can be used once."""

    needs: list[bool]  # per node: does a gradient have to arrive here?
    caches: dict[int, Any] = field(default_factory=dict)
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    used: bool = False


class TrainingExecutor:
    """Runs the nodes of one model.

    Parameters
    ----------
    nodes : list of Node
        In topological order; model inputs have no inputs of their own.
    inputs, outputs : list of int
        Numbers of the nodes where data goes in and comes out.
    """

    def __init__(self, nodes: list[Node], inputs: list[int], outputs: list[int]):
        self.inputs, self.outputs = inputs, outputs
        self.steps = _merge_affine_chains(nodes, outputs)
        self.node_count = len(nodes)
        self._timetables: dict[tuple[bool, ...], Timetable] = {}
        # Where a size is known only with the data, the graph's own check could not see it.
        self.unsettled = {
            i for i, step in self.steps if any(None in nodes[j].shape[1:] for j in step.inputs)
        }

    def forward(
        self, xs: list[np.ndarray], training: bool = False, rng=None, *, need_dx: bool = True
    ) -> tuple[list[np.ndarray], Tape]:
        """Return the outputs and the tape.

        Parameters
        ----------
        xs : list of arrays
            One for each model input.
        need_dx : bool
            Whether backward shall reach the model's inputs.
        """
        tape = Tape(self._needs(need_dx))
        timetable = self.timetable(tape.needs, training)
        values: list[Any] = [None] * self.node_count
        readers = timetable.readers.copy()
        for i, x in zip(self.inputs, xs, strict=True):
            values[i] = x
        seed = int(as_generator(rng).integers(2**63)) if training else 0
        for item in timetable.items:
            if isinstance(item, Segment):
                ys = item.plan.run([values[j] for j in item.inputs])
                for i, y in zip(item.outputs, ys, strict=True):
                    values[i] = y
                _let_go(values, readers, item.inputs)
                continue
            i, step = item
            xs = [values[j] for j in step.inputs]
            if i in self.unsettled:
                step.layer.compute_output_shape(step.layer.as_input([x.shape for x in xs]))
            # Numbers of its own for each node: independent of what other layers draw.
            layer_rng = np.random.default_rng([seed, i]) if training else None
            x = step.layer.as_input(as_dtype(xs, step.layer.dtype))
            y, cache = step.layer.forward(x, training=training, rng=layer_rng)
            values[i] = as_dtype(y, step.layer.dtype)  # kernels count on contiguous arrays
            if tape.needs[i]:
                tape.caches[i] = cache
            del xs, x, y, cache
            _let_go(values, readers, step.inputs)
        ys = [values[i] for i in self.outputs]
        tape.output_shapes = [y.shape for y in ys]
        return ys, tape

    def backward(self, dys: list[np.ndarray | None], tape: Tape, need_dx: bool = True):
        """Return the inputs' gradients and a dict ``id(parameter) -> gradient``."""
        if tape.used:
            raise RuntimeError("backward: this cache was used already; run forward again")
        tape.used = True
        gradients = _Accumulator()
        learned: dict[int, np.ndarray] = {}
        for i, dy in zip(self.outputs, dys, strict=True):
            if dy is not None:
                gradients.add(i, dy)
        for i, step in reversed(self.steps):
            dy = gradients.pop(i)
            cache = tape.caches.pop(i, None)
            if dy is None or not tape.needs[i]:
                continue
            wanted = [tape.needs[j] for j in step.inputs]
            dy = as_dtype(dy, step.layer.dtype)
            dx, parameter_gradients = step.layer.backward(dy, cache, need_dx=any(wanted))
            _collect(learned, step.layer, parameter_gradients)
            dxs = dx if step.layer.capabilities.accepts_list else [dx]
            for j, needed, d in zip(step.inputs, wanted, dxs or [None] * len(wanted), strict=True):
                if needed and not isinstance(d, np.ndarray):
                    raise ShapeError(f"{step.layer.label}: backward returned no input gradient")
                if needed:
                    gradients.add(j, d)
        return [gradients.pop(i) if need_dx else None for i in self.inputs], learned

    def timetable(self, needs: list[bool], training: bool) -> Timetable:
        """Return what runs one by one and what as frozen segments."""
        frozen = tuple(
            not needs[i] and (not training or step.layer.capabilities.ignores_training)
            for i, step in self.steps
        )
        if frozen not in self._timetables:
            if len(self._timetables) == TIMETABLES_KEPT:
                self._timetables.pop(next(iter(self._timetables)))
            numbers = {i for (i, _), is_frozen in zip(self.steps, frozen, strict=True) if is_frozen}
            self._timetables[frozen] = arrange(
                self.steps, self.inputs, self.outputs, numbers, self.node_count
            )
        return self._timetables[frozen]

    def _needs(self, need_dx: bool) -> list[bool]:
        """Mark the nodes that a gradient has to reach: trainable ones and all above them."""
        needs = [False] * self.node_count
        for i in self.inputs:
            needs[i] = need_dx
        for i, step in self.steps:
            below = any(needs[j] for j in step.inputs)
            needs[i] = below or bool(step.layer.trainable_weights)
        return needs


def _let_go(values: list[Any], readers: list[int], read) -> None:
    """Count down who still waits for the tensors `read`; forget those that nobody waits for."""
    for j in read:
        readers[j] -= 1
        if readers[j] == 0:
            values[j] = None


class _Accumulator:
    """Gradients that wait at nodes; several that meet are added."""

    def __init__(self) -> None:
        self.values: dict[int, np.ndarray] = {}
        self.owned: set[int] = set()  # made here, so that they may be added to in place

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


def _collect(learned: dict[int, np.ndarray], layer: Layer, gradients) -> None:
    """Add a layer's gradients to those of its other calls (a layer can be shared)."""
    parameters: list[Parameter] = layer.trainable_weights
    if len(gradients) != len(parameters):
        raise ShapeError(
            f"{layer.label}: backward returned {len(gradients)} gradients for "
            f"{len(parameters)} trainable parameters"
        )
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if np.shape(gradient) != parameter.shape:
            raise ShapeError(
                f"{layer.label}: the gradient of {parameter.name!r} has shape "
                f"{np.shape(gradient)}, expected {parameter.shape}"
            )
        known = learned.get(id(parameter))
        learned[id(parameter)] = gradient if known is None else known + gradient


def _merge_affine_chains(nodes: list[Node], outputs: list[int]) -> list[tuple[int, Node]]:
    """Return the steps (number, node); runs of affine augmentations become one resampling.

    A run can be merged where nothing else reads the pictures in between.
    """
    readers = count_readers(nodes, len(nodes), outputs)
    steps: dict[int, Node] = {}
    chains: dict[int, list[Layer]] = {}
    for i, node in enumerate(nodes):
        if not node.inputs:
            continue
        below = node.inputs[0]
        previous = steps.get(below)
        mergeable = (
            previous is not None
            and readers[below] == 1
            and AffineChain.can_follow(chains[below], node.layer)
        )
        chains[i] = [*chains[below], node.layer] if mergeable else [node.layer]
        if mergeable:
            steps[i] = Node(AffineChain(chains[i]), previous.inputs, node.shape)
            del steps[below]
        else:
            steps[i] = node
    return list(steps.items())
