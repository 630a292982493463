"""Step groups: consecutive steps that run as one pipeline of compiled kernels.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.plan import InferencePlan
>>> from minidl.graph.inference.step_groups import StepGroup
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.MaxPooling2D(2),
...                     layers.Flatten()])
>>> plan = InferencePlan(dict(enumerate(model.nodes)), inputs=[0], outputs=[3])
>>> prepared = plan.prepare([(1, 8, 8, 3)])
>>> [len(item.steps) if isinstance(item, StepGroup) else item.layers[0].name
...  for item in prepared.step_groups()]
[2, 'flatten']
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from minidl.graph.inference.memory_plan import MemoryPlan, Tensor, Workspace
from minidl.graph.inference.steps import Step
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.layers.base import as_dtype

__all__ = ["StepGroup", "group_steps"]

ARENA = -1  # number of the arena among the memories of a pipeline


def group_steps(memory: MemoryPlan, threads: int) -> list[Step | StepGroup]:
    """Return the steps in order, each run of steps that support pipelines as one group.

    Parameters
    ----------
    memory : MemoryPlan
    threads : int
        Number of threads that share the work.
    """
    items: list[Step | StepGroup] = []
    for supported, group in groupby(memory.steps, lambda step: _supports_pipeline(step, memory)):
        steps = list(group)
        items += [StepGroup(steps, memory, threads)] if supported else steps
    return items


def _supports_pipeline(step: Step, memory: MemoryPlan) -> bool:
    """Whether a step can run in a pipeline.

    It cannot if it reads a slice of a joined tensor, or numbers of another dtype in place.
    """
    inputs = [memory.tensors[j] for j in step.inputs if j not in step.in_place]
    shape = memory.tensors[step.inputs[0]].shape if step.inputs else ()
    return (
        len(shape) == 4
        and step.writes_out
        and step.supports_pipeline(shape)
        and all(_is_whole_float32(tensor) for tensor in inputs)
    )


def _is_whole_float32(tensor: Tensor) -> bool:
    storage = tensor.storage
    return storage is None or (storage.shape == tensor.shape and tensor.dtype == np.float32)


class StepGroup:
    """Steps that run as one pipeline.

    Parameters
    ----------
    steps : list of Step
    memory : MemoryPlan
    threads : int

    Attributes
    ----------
    steps : list of Step
    released : list of int
        Tensors that no later step reads.
    """

    def __init__(self, steps: list[Step], memory: MemoryPlan, threads: int):
        self.steps, self.memory = steps, memory
        self._memories: list[int] = []  # numbers of tensors, or ARENA
        self.pipeline = Pipeline(threads)
        for step in steps:
            xs = [self._location(j) for j in step.inputs if j not in step.in_place]
            step.append_to(self.pipeline, xs, self._location(step.number))
        self.released = [j for step in steps for j in memory.released[step.number]]
        self._published = [step.number for step in steps if step.number not in self.released]

    def _location(self, number: int) -> TensorLocation:
        """Return the location of the whole memory that contains a tensor."""
        tensor = self.memory.tensors[number]
        storage = tensor.storage or tensor
        if storage.offset is not None:
            memory = ARENA
        else:
            memory = next(n for n, other in self.memory.tensors.items() if other is storage)
        if memory not in self._memories:
            self._memories.append(memory)
        return TensorLocation(
            self._memories.index(memory),
            storage.offset or 0,
            storage.shape,
            may_overlap=bool(tensor.view_of),  # possibly with the arena
        )

    def execute(self, workspace: Workspace) -> None:
        """Run the steps; publish the tensors that later steps read."""
        self.pipeline.run([self._array(number, workspace) for number in self._memories])
        for number in self._published:
            workspace.publish(number)
        for number in self.released:
            workspace.values.pop(number, None)

    def _array(self, number: int, workspace: Workspace) -> np.ndarray:
        if number == ARENA:
            return workspace.arena
        if self.memory.tensors[number].storage is not None:
            return workspace.storage(number)
        return as_dtype(workspace.values[number], np.dtype(np.float32))
