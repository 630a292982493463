"""The inference plan: a graph rewritten for speed, and buffers that are used again and again.

The plan runs a graph, or the frozen part of one, outside training. It is made of fused steps
(see :mod:`minidl.graph.inference.fusion`), whose outputs lie in one block of memory: two that are
never needed at the same time share a place. Where a parameter has changed, the plan is made anew.

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
import time

import numpy as np

from minidl.graph.inference.fusion import Program, fuse
from minidl.graph.inference.memory_plan import Schedule
from minidl.graph.inference.step_groups import Stretch, cut
from minidl.graph.inference.steps import Step
from minidl.graph.inference.weight_versions import WeightVersions
from minidl.graph.node import Node
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.memory import aligned
from minidl.layers.base import as_dtype

__all__ = ["InferencePlan"]

ARENA_LIMIT = 2**26  # bytes: larger batches are computed in parts
CHUNK = 32  # samples of which no part needs to be smaller for the sake of the last layers
SCHEDULES_KEPT = 8  # for so many shapes of the inputs


class InferencePlan:
    """Computes some tensors of a graph from others.

    It may be run from several threads at a time.

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
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._program: Program | None = None
        self._versions: WeightVersions | None = None
        self._schedules: dict[tuple, Schedule] = {}
        self._arenas: list[np.ndarray] = []  # those that no call is using

    def __getstate__(self) -> dict:
        """A copy of a model has a plan of its own, made when it is needed."""
        return {"nodes": self.nodes, "inputs": self.inputs, "outputs": self.outputs}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()

    def run(self, xs: list[np.ndarray], seconds: dict[int, float] | None = None):
        """Return the outputs, as arrays of the caller's own.

        Parameters
        ----------
        xs : list of arrays
            C-contiguous, one for each of `inputs`.
        seconds : dict, optional
            Gets the time of each step added under its number.
        """
        program, schedule = self._prepare(tuple(x.shape for x in xs))
        if schedule.size > ARENA_LIMIT and len(xs[0]) > 1 and program.independent_samples:
            return self._run_large(xs, program, schedule, seconds)
        arena = self._take_arena(schedule.size)
        results = self._run(program, schedule, arena, xs, seconds)
        self._arenas.append(arena)  # not after an exception: a thread may still be writing to it
        return results

    def _run_large(self, xs, program, schedule, seconds) -> list[np.ndarray]:
        """Compute a large batch a few samples at a time: it takes as long, and less memory.

        Where the graph narrows, as most do on their way up, only what lies below is computed so:
        the few large images of the first layers, not the many weights of the last ones.
        """
        if len(xs[0]) > CHUNK:
            return self._run_in_parts(xs, -(-len(xs[0]) // CHUNK), seconds)
        if schedule.halves is None:
            schedule.halves = self._halves(program, schedule) or ()
        if not schedule.halves:
            return self._run_in_parts(xs, -(-schedule.size // ARENA_LIMIT), seconds)
        lower, upper = schedule.halves
        size = lower.arena_bytes([x.shape for x in xs])
        between = lower._run_in_parts(xs, -(-size // ARENA_LIMIT), seconds)
        return upper.run(between, seconds)

    def _halves(self, program: Program, schedule: Schedule):
        """Return the plans below and above a place where the graph narrows, None without one."""
        position = schedule.narrow_place(program.steps, ARENA_LIMIT)
        if position is None:
            return None
        lower, upper = program.steps[: position + 1], program.steps[position + 1 :]
        between = [lower[-1].number]
        return (
            self._part(Program(lower, program.source), self.inputs, between),
            self._part(Program(upper, program.source), between, self.outputs),
        )

    def _part(self, program: Program, inputs: list[int], outputs: list[int]) -> InferencePlan:
        """Return a plan of some of this one's steps, which lives as long as they are valid."""
        part = InferencePlan({}, inputs, outputs)
        part._program, part._versions, part._arenas = program, WeightVersions([]), self._arenas
        return part

    def _run_in_parts(self, xs, parts: int, seconds) -> list[np.ndarray]:
        count = len(xs[0])
        parts = min(parts, count)
        results: list[np.ndarray] = []
        for i in range(parts):
            part = slice(count * i // parts, count * (i + 1) // parts)
            ys = self.run([x[part] for x in xs], seconds)
            if not results:
                results = [np.empty((count, *y.shape[1:]), y.dtype) for y in ys]
            for result, y in zip(results, ys, strict=True):
                result[part] = y
        return results

    def steps(self, shapes: list[tuple[int, ...]]) -> list[tuple[Step, list, tuple]]:
        """Return each step with the shapes of its inputs and of its output."""
        program, schedule = self._prepare(tuple(map(tuple, shapes)))
        return [
            (step, [schedule.shapes[j] for j in step.inputs], schedule.shapes[step.number])
            for step in program.steps
        ]

    def place_of(self, step: Step, shapes: list[tuple[int, ...]]) -> str:
        """Say where a step writes: at an offset of the arena, or to memory of its own."""
        schedule = self._prepare(tuple(map(tuple, shapes)))[1]
        offset = schedule.offset.get(schedule.root.get(step.number))
        return "own memory" if offset is None else f"+{offset / 2**20:.2f} MiB"

    def arena_bytes(self, shapes: list[tuple[int, ...]]) -> int:
        """Return the size of the block of memory that all inner tensors share."""
        return self._prepare(tuple(map(tuple, shapes)))[1].size

    def _prepare(self, shapes: tuple) -> tuple[Program, Schedule]:
        with self._lock:
            if self._program is None or self._versions.have_changed():
                self._program = fuse(self.nodes, set(self.outputs))
                self._versions = WeightVersions(
                    [p for step in self._program.steps for p in step.parameters]
                )
                self._schedules.clear()
            if shapes not in self._schedules:
                if len(self._schedules) == SCHEDULES_KEPT:
                    self._schedules.pop(next(iter(self._schedules)))
                given = dict(zip(self.inputs, shapes, strict=True))
                self._schedules[shapes] = Schedule(self._program, given, self._wanted())
            return self._program, self._schedules[shapes]

    def _wanted(self) -> list[int]:
        return [self._program.source.get(i, i) for i in self.outputs]

    def _take_arena(self, size: int) -> np.ndarray:
        try:
            arena = self._arenas.pop()
        except IndexError:
            arena = aligned((0,), np.uint8)
        return arena if arena.size >= size else aligned((size,), np.uint8)

    def items(self, shapes: list[tuple[int, ...]]) -> list[Step | Stretch]:
        """Return the steps, those that run as one chain together."""
        program, schedule = self._prepare(tuple(map(tuple, shapes)))
        return self._items(program, schedule)

    def _items(self, program: Program, schedule: Schedule) -> list[Step | Stretch]:
        if not thread_pool.may_spin():
            return program.steps
        threads = thread_pool.get_num_threads()
        if threads not in schedule.items:
            schedule.items[threads] = cut(program.steps, schedule, self.inputs, threads)
        return schedule.items[threads]

    def _run(self, program, schedule, arena, xs, seconds):
        values: dict[int, np.ndarray] = dict(zip(self.inputs, xs, strict=True))
        places: dict[int, np.ndarray] = {}  # the memory of each root
        for item in self._items(program, schedule) if seconds is None else program.steps:
            start = time.perf_counter()
            if isinstance(item, Stretch):
                item.run(values, places, arena)
            else:
                _run_step(item, schedule, values, places, arena)
            if seconds is not None:
                elapsed = time.perf_counter() - start
                seconds[item.number] = seconds.get(item.number, 0.0) + elapsed
        results = [values[program.source.get(i, i)] for i in self.outputs]
        # Some layers return a view of what they were given.
        taken = [arena, *xs]
        return [
            y.copy() if any(np.may_share_memory(y, memory) for memory in taken) else y
            for y in results
        ]


def _run_step(step: Step, schedule: Schedule, values, places, arena) -> None:
    """Run a step, put its output into `values`, and forget what nobody reads any more."""
    x = [values[j] if j in step.in_place else as_dtype(values[j], step.dtype) for j in step.inputs]
    if step.writes_out:
        step.run(x, schedule.memory(schedule.root[step.number], places, arena))
        values[step.number] = schedule.tensor(step, places, arena)
    else:
        values[step.number] = step.run(x, None)
    for j in schedule.last_read[step.number]:
        values.pop(j, None)
