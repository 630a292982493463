"""Which steps of a plan run as one chain, without Python between them.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.plan import InferencePlan
>>> from minidl.graph.inference.step_groups import Stretch
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.MaxPooling2D(2),
...                     layers.Flatten()])
>>> plan = InferencePlan(dict(enumerate(model.nodes)), inputs=[0], outputs=[3])
>>> [len(item.steps) if isinstance(item, Stretch) else item.layers[0].name
...  for item in plan.items([(1, 8, 8, 3)])]
[2, 'flatten']
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from minidl.graph.inference.memory_plan import Schedule
from minidl.graph.inference.steps import Step
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.layers.base import as_dtype

__all__ = ["Stretch", "cut"]

ARENA = -1  # as the number of a memory


def cut(
    steps: list[Step], schedule: Schedule, inputs: list[int], threads: int
) -> list[Step | Stretch]:
    """Return steps, those that can be linked and follow one another as one item.

    Parameters
    ----------
    steps : list of Step
    schedule : Schedule
    inputs : list of int
        Numbers of the tensors that the plan is given.
    threads : int
    """
    items: list[Step | Stretch] = []
    for linkable, group in groupby(steps, lambda step: _can_link(step, schedule)):
        part = list(group)
        items += [Stretch(part, schedule, inputs, threads)] if linkable else part
    return items


def _can_link(step: Step, schedule: Schedule) -> bool:
    """Whether a step can be linked: not if it reads some channels of a wider tensor, or numbers
    of another type where they lie."""
    shape = schedule.shapes[step.inputs[0]] if step.inputs else ()
    return (
        len(shape) == 4
        and step.writes_out
        and step.can_link(shape)
        and all(
            schedule.shapes[schedule.root.get(j, j)] == schedule.shapes[j]
            and (j not in schedule.root or schedule.dtypes[j] == np.float32)
            for j in step.inputs
            if j not in step.in_place
        )
    )


class Stretch:
    """Some steps that are one chain.

    Attributes
    ----------
    steps : list of Step
    """

    def __init__(self, steps: list[Step], schedule: Schedule, inputs: list[int], threads: int):
        self.steps, self.schedule, self.inputs = steps, schedule, inputs
        self._memories: list[int] = []  # numbers of tensors, or ARENA
        self.chain = Pipeline(threads)
        for step in steps:
            xs = [self._place(j) for j in step.inputs if j not in step.in_place]
            step.link(self.chain, xs, self._place(step.number))
        inner = {step.number for step in steps}
        dropped = {j for step in steps for j in schedule.last_read[step.number]}
        self._made = [step for step in steps if step.number not in dropped]
        self._dropped = dropped - inner

    def _place(self, number: int) -> TensorLocation:
        """Return the place of the whole memory in which a tensor lies."""
        root = self.schedule.root.get(number, number)
        offset = self.schedule.offset.get(root)
        memory = root if offset is None else ARENA
        if memory not in self._memories:
            self._memories.append(memory)
        # What a step returns that writes to no given array may be a view of the arena.
        may_overlap = number not in self.schedule.root and number not in self.inputs
        shape = self.schedule.shapes[root]
        return TensorLocation(self._memories.index(memory), offset or 0, shape, may_overlap)

    def run(self, values: dict[int, np.ndarray], places: dict[int, np.ndarray], arena) -> None:
        """Run the steps; put into `values` what others read, and into `places` where it lies."""
        memories = list(self._memory_arrays(values, places, arena))
        self.chain.run(memories)
        for step in self._made:
            values[step.number] = self.schedule.tensor(step, places, arena)
        for j in self._dropped:
            values.pop(j, None)

    def _memory_arrays(self, values, places, arena) -> Iterator[np.ndarray]:
        for number in self._memories:
            if number == ARENA:
                yield arena
            elif number in self.schedule.root:
                yield self.schedule.memory(number, places, arena)
            else:
                yield np.ascontiguousarray(as_dtype(values[number], np.dtype(np.float32)))
