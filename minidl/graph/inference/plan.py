"""The inference plan: a graph rewritten for speed, with preplanned memory.

The plan runs a graph, or the frozen part of one, outside training. Layers are fused into steps
(see :mod:`minidl.graph.inference.fusion`), and the tensors of all steps share one block of memory
(see :mod:`minidl.graph.inference.memory_plan`). When a parameter changes, the plan is renewed.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.plan import InferencePlan
>>> model = Sequential([Input((2,)), layers.Dense(3), layers.ReLU()])
>>> plan = InferencePlan(dict(enumerate(model.nodes)), inputs=[0], outputs=[2])
>>> plan.run([np.zeros((1, 2), "float32")])[0].shape
(1, 3)
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.graph.inference.block_steps import merge_blocks
from minidl.graph.inference.fusion import FusedGraph, fuse
from minidl.graph.inference.memory_plan import MemoryPlan, Workspace
from minidl.graph.inference.step_groups import StepGroup, group_steps
from minidl.graph.inference.steps import SizedShape, Step
from minidl.graph.inference.weight_versions import WeightVersions
from minidl.graph.node import Node
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.memory import aligned

__all__ = ["InferencePlan", "PreparedPlan"]

ARENA_LIMIT = 2**26  # bytes; larger batches are computed in parts
MAX_BATCH = 32  # samples; larger batches are computed in parts even by narrow layers
MAX_PREPARED = 8  # input shapes for which memory plans are kept


@dataclass
class PreparedPlan:
    """A fused graph and its memory plan for inputs of given shapes.

    Attributes
    ----------
    graph : FusedGraph
    memory : MemoryPlan
    halves : list of InferencePlan or None
        Plans below and above the point where the graph narrows, empty if there is no such point;
        None until a large batch needs them.
    """

    graph: FusedGraph
    memory: MemoryPlan
    halves: list[InferencePlan] | None = None
    _groups: dict[int, list[Step | StepGroup]] = field(default_factory=dict)

    def step_groups(self) -> Sequence[Step | StepGroup]:
        """Return the steps in order, grouped into pipelines if threads may spin-wait."""
        if not thread_pool.may_spin():
            return self.graph.steps
        threads = thread_pool.get_num_threads()
        if threads not in self._groups:
            self._groups[threads] = group_steps(self.memory, threads)
        return self._groups[threads]


class InferencePlan:
    """Computes some tensors of a graph from others; several threads may call it at a time.

    Parameters
    ----------
    nodes : dict of int to Node
        In topological order.
    inputs, outputs : list of int
        Numbers of the tensors that are given and wanted.
    """

    def __init__(self, nodes: dict[int, Node], inputs: list[int], outputs: list[int]):
        self.nodes = nodes
        self.inputs, self.outputs = list(inputs), list(outputs)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._graph: FusedGraph | None = None
        self._versions = WeightVersions([])
        self._prepared: dict[tuple[SizedShape, ...], PreparedPlan] = {}
        self._arenas: list[np.ndarray] = []  # those that no call uses now

    def __getstate__(self) -> dict[str, Any]:
        """Leave out everything that can be computed again."""
        return {"nodes": self.nodes, "inputs": self.inputs, "outputs": self.outputs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def run(self, xs: list[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs, which share no memory with the plan or the inputs.

        Parameters
        ----------
        xs : list of arrays
            C-contiguous, one for each of `inputs`.
        """
        prepared = self.prepare([x.shape for x in xs])
        size = prepared.memory.size
        if size > ARENA_LIMIT and len(xs[0]) > 1 and prepared.graph.independent_samples:
            return self._run_large(xs, prepared)
        arena = self._take_arena(size)
        workspace = Workspace(prepared.memory, arena, xs)
        for item in prepared.step_groups():
            item.execute(workspace)
        # Some layers return a view of their input.
        results = [
            y.copy() if any(np.may_share_memory(y, memory) for memory in (arena, *xs)) else y
            for y in (workspace.values[i] for i in prepared.graph.outputs)
        ]
        self._arenas.append(arena)  # not after an exception: a thread may still write to it
        return results

    def prepare(self, shapes: Sequence[SizedShape]) -> PreparedPlan:
        """Return the fused graph and its memory plan for inputs of `shapes`, batch first."""
        key = tuple(map(tuple, shapes))
        with self._lock:
            if self._graph is None or self._versions.have_changed():
                self._graph = fuse(self.nodes, self.outputs)
                self._versions = WeightVersions(
                    [parameter for step in self._graph.steps for parameter in step.parameters]
                )
                self._prepared.clear()
            if key not in self._prepared:
                if len(self._prepared) == MAX_PREPARED:
                    self._prepared.pop(next(iter(self._prepared)))
                sizes = dict(zip(self.inputs, key, strict=True))
                graph = merge_blocks(self._graph, sizes)
                self._prepared[key] = PreparedPlan(graph, MemoryPlan(graph, sizes))
            return self._prepared[key]

    def _take_arena(self, size: int) -> np.ndarray:
        try:
            arena = self._arenas.pop()
        except IndexError:
            arena = aligned((0,), np.uint8)
        return arena if arena.size >= size else aligned((size,), np.uint8)

    def _run_large(self, xs: list[np.ndarray], prepared: PreparedPlan) -> list[np.ndarray]:
        """Compute a large batch in parts, which saves memory and takes no longer.

        If the graph narrows, only the layers below that point compute parts: the first layers
        have large images, the last ones have large weights, which are better read once.
        """
        if len(xs[0]) > MAX_BATCH:
            return self._run_in_parts(xs, -(-len(xs[0]) // MAX_BATCH))
        if prepared.halves is None:
            prepared.halves = self._split(prepared)
        if not prepared.halves:
            return self._run_in_parts(xs, -(-prepared.memory.size // ARENA_LIMIT))
        lower, upper = prepared.halves
        size = lower.prepare([x.shape for x in xs]).memory.size
        return upper.run(lower._run_in_parts(xs, -(-size // ARENA_LIMIT)))

    def _split(self, prepared: PreparedPlan) -> list[InferencePlan]:
        """Return plans below and above the point where the graph narrows, if there is one."""
        position = prepared.memory.narrowest_point(ARENA_LIMIT)
        if position is None:
            return []
        graph = prepared.graph
        between = [graph.steps[position].number]
        lower = InferencePlan({}, self.inputs, between)
        upper = InferencePlan({}, between, self.outputs)
        lower._graph = FusedGraph(graph.steps[: position + 1], between)
        upper._graph = FusedGraph(graph.steps[position + 1 :], graph.outputs)
        lower._arenas = upper._arenas = self._arenas
        return [lower, upper]

    def _run_in_parts(self, xs: list[np.ndarray], parts: int) -> list[np.ndarray]:
        count = len(xs[0])
        parts = min(parts, count)
        results: list[np.ndarray] = []
        for i in range(parts):
            part = slice(count * i // parts, count * (i + 1) // parts)
            ys = self.run([x[part] for x in xs])
            if not results:
                results = [np.empty((count, *y.shape[1:]), y.dtype) for y in ys]
            for result, y in zip(results, ys, strict=True):
                result[part] = y
        return results
