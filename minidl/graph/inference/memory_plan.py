"""Where the tensors of an inference plan lie: two that are never needed at once share memory.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.fusion import fuse
>>> from minidl.graph.inference.memory_plan import Schedule
>>> model = Sequential([Input((8, 8, 3)), *(layers.Conv2D(4, 1) for _ in range(5))])
>>> schedule = Schedule(fuse(model.nodes, {5}), {0: (1, 8, 8, 3)}, wanted=[5])
>>> schedule.size == 2 * 8 * 8 * 4 * 4  # of four inner tensors; two at a time are needed
True
"""

from __future__ import annotations

import numpy as np

from minidl.graph.inference.fusion import Program
from minidl.graph.inference.steps import Step
from minidl.kernels.runtime.memory import CACHE_LINE

__all__ = ["Schedule"]


class Schedule:
    """Where each tensor lies, for inputs of given shapes.

    Parameters
    ----------
    program : Program
    given : dict of int to tuple
        The shapes of the plan's inputs.
    wanted : list of int
        Numbers of the tensors that the caller gets.

    Attributes
    ----------
    shapes : dict of int to tuple
    root : dict of int to int
        For the steps that write to a given array: the tensor in whose memory they do.
    last_read : dict of int to list of int
        After each step, the tensors that nobody reads any more.
    size : int
        Bytes that the arena needs.
    items : dict of int to list
        By the number of threads, the steps and stretches of steps to run.
    halves : pair of InferencePlan, empty tuple or None
        For batches that need more than ARENA_LIMIT, once looked for; empty where there are none.
    """

    def __init__(self, program: Program, given: dict[int, tuple], wanted: list[int]):
        self.shapes = dict(given)
        self.dtypes: dict[int, np.dtype] = {}
        for step in program.steps:
            self.shapes[step.number] = step.output_shape([self.shapes[j] for j in step.inputs])
            self.dtypes[step.number] = step.dtype
        self.root = {
            step.number: step.number if step.root is None else step.root
            for step in program.steps
            if step.writes_out
        }
        self.wanted = set(wanted)
        self.items: dict[int, list] = {}
        self.halves: tuple | None = None
        last = self._last_reads(program.steps)
        self.last_read: dict[int, list[int]] = {step.number: [] for step in program.steps}
        for number, position in last.items():
            if number not in self.wanted:
                self.last_read[program.steps[position].number].append(number)
        last = self._with_views(program.steps, last)
        self._overwrite(program.steps, last)
        self.offset, self.size = self._pack(*self._lifetimes(program.steps, last))

    def memory(self, root: int, places: dict[int, np.ndarray], arena: np.ndarray) -> np.ndarray:
        """Return the memory of `root`; what the caller gets is memory of its own."""
        if root not in places:
            shape, dtype = self.shapes[root], self.dtypes[root]
            if root in self.offset:
                places[root] = np.ndarray(shape, dtype, arena, self.offset[root])
            else:
                places[root] = np.empty(shape, dtype)
        return places[root]

    def tensor(self, step: Step, places: dict[int, np.ndarray], arena: np.ndarray) -> np.ndarray:
        """Return the output of a step, which may be some channels of its memory."""
        y = self.memory(self.root[step.number], places, arena)
        if step.root in (None, step.number):
            return y
        return y[..., step.channel : step.channel + self.shapes[step.number][-1]]

    def narrow_place(self, steps: list[Step], limit: int) -> int | None:
        """Return the first position above which all fits into `limit` bytes.

        Only one tensor may be read across it.
        """
        last = self._last_reads(steps)
        made = {step.number: position for position, step in enumerate(steps)}
        for position, step in enumerate(steps[:-1]):
            above = steps[position + 1 :]
            across = {j for j, until in last.items() if until > position >= made.get(j, -1)}
            if (
                across == {step.number}
                and step.root in (None, step.number)
                and self.wanted <= {other.number for other in above}
                and self._bytes(step.number) + max(map(self._bytes_of_step, above)) <= limit
            ):
                return position
        return None

    def _bytes(self, number: int) -> int:
        itemsize = self.dtypes[number].itemsize if number in self.dtypes else 4
        return int(np.prod(self.shapes[number], dtype=np.int64)) * itemsize

    def _bytes_of_step(self, step: Step) -> int:
        return sum(map(self._bytes, (step.number, *step.inputs)))

    def _last_reads(self, steps: list[Step]) -> dict[int, int]:
        """Return the position of the step that reads each tensor last."""
        return {j: i for i, step in enumerate(steps) for j in (step.number, *step.inputs)}

    def _with_views(self, steps: list[Step], last: dict[int, int]) -> dict[int, int]:
        """Return until when the memory of each tensor is read, be it by a view of it."""
        last = {**last, **dict.fromkeys(self.wanted, len(steps))}
        for step in reversed(steps):
            if step.number not in self.root:  # what it returns may be a view of what it read
                for j in step.inputs:
                    last[j] = max(last[j], last[step.number])
        return last

    def _overwrite(self, steps: list[Step], last: dict[int, int]) -> None:
        """Let steps write over an input that they alone still read: one image less to move."""
        alone = {step.number for step in steps if step.root in (None, step.number)}
        for position, step in enumerate(steps):
            other = step.may_overwrite
            if (
                {step.number, other} <= alone & self.root.keys() - self.wanted
                and last[other] == position
                and self.shapes[other] == self.shapes[step.number]
                and self.dtypes[other] == step.dtype
                # What is neither given nor written by a step to a place may be a view of the other.
                and all(j in self.root or j not in self.dtypes for j in step.inputs)
                and step.inputs.count(other) == 1
            ):
                self.root[step.number] = self.root[other]

    def _lifetimes(self, steps: list[Step], last: dict[int, int]) -> tuple[dict, dict]:
        """Return the positions of the steps that write to each root first and read it last."""
        first: dict[int, int] = {}
        until: dict[int, int] = {}
        for position, step in enumerate(steps):
            root = self.root.get(step.number, step.number)
            first.setdefault(root, position)
            until[root] = max(until.get(root, 0), last[step.number])
        return first, until

    def _pack(self, first, last) -> tuple[dict[int, int], int]:
        """Return an offset in the arena for each root, the largest placed first."""
        sizes = {root: self._bytes(root) for root in set(self.root.values()) - self.wanted}
        offset: dict[int, int] = {}
        for root in sorted(sizes, key=lambda root: (-sizes[root], root)):
            together = sorted(
                (offset[other], offset[other] + sizes[other])
                for other in offset
                if first[other] <= last[root] and first[root] <= last[other]
            )
            at = 0
            for begin, end in together:
                if at + sizes[root] <= begin:
                    break
                at = max(at, -(-end // CACHE_LINE) * CACHE_LINE)
            offset[root] = at
        return offset, max((offset[root] + sizes[root] for root in offset), default=0)
