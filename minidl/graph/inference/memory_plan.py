"""The memory plan: storage for the tensors of a fused graph, shared by those that never coexist.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.inference.fusion import fuse
>>> from minidl.graph.inference.memory_plan import MemoryPlan
>>> model = Sequential([Input((8, 8, 3)), *(layers.Conv2D(4, 1) for _ in range(5))])
>>> memory = MemoryPlan(fuse(model.nodes, [5]), {0: (1, 8, 8, 3)})
>>> memory.size == 2 * 8 * 8 * 4 * 4  # four inner tensors, of which two coexist
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minidl.graph.inference.fusion import FusedGraph
from minidl.graph.inference.steps import Step
from minidl.kernels.runtime.memory import CACHE_LINE

__all__ = ["MemoryPlan", "Tensor", "Workspace"]


@dataclass(eq=False)
class Tensor:
    """One tensor of a fused graph, for inputs of given shapes.

    Uses are positions in the list of steps; inputs of the plan are first used at -1.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    first_use : int
        Position of the step that writes the tensor.
    last_read : int
        Position of the last step that reads it.
    view_of : list of Tensor
        Tensors whose memory this one may share because a layer returned it.
    storage : Tensor or None
        Tensor in whose memory this one is written: itself, the output of a concatenation or an
        overwritten input. None for inputs of the plan and for arrays that layers allocate.
    channel : int
        First channel within `storage`.
    is_slice : bool
        Whether `storage` is the output of a concatenation that this tensor is a part of.
    is_output : bool
        Whether the caller receives the tensor. It then has memory of its own.
    last_use : int
        Position of the last step that reads the memory of this tensor, also through views.
    offset : int or None
        Bytes from the start of the arena; None for memory outside it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    first_use: int
    last_read: int
    view_of: list[Tensor]
    storage: Tensor | None = None
    channel: int = 0
    is_slice: bool = False
    is_output: bool = False
    last_use: int = -1
    offset: int | None = None

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_overwritable(self) -> bool:
        """Whether the memory of this tensor holds nothing else and may be written again."""
        return self.storage is not None and not self.is_slice and not self.is_output


class MemoryPlan:
    """The tensors of a fused graph and their places in one block of memory, the arena.

    Parameters
    ----------
    graph : FusedGraph
    input_shapes : dict of int to tuple
        Shapes of the plan's inputs by their numbers.

    Attributes
    ----------
    tensors : dict of int to Tensor
    released : dict of int to list of int
        For each step, by its number, the tensors that no later step reads.
    size : int
        Size of the arena in bytes.
    """

    def __init__(self, graph: FusedGraph, input_shapes: dict[int, tuple[int, ...]]):
        self.steps, self.inputs = graph.steps, list(input_shapes)
        self.tensors = {
            number: Tensor(shape, np.dtype(np.float32), -1, -1, [])
            for number, shape in input_shapes.items()
        }
        for position, step in enumerate(self.steps):
            self._add_output(step, position)
        for step in self.steps:
            if step.writes_out:
                tensor = self.tensors[step.number]
                tensor.storage, tensor.channel = self.tensors[step.storage], step.channel
                tensor.is_slice = step.joined_in is not None
        for number in graph.outputs:
            self.tensors[number].is_output = True
        self.released: dict[int, list[int]] = {step.number: [] for step in self.steps}
        for number, tensor in self.tensors.items():
            if not tensor.is_output and tensor.last_read >= 0:
                self.released[self.steps[tensor.last_read].number].append(number)
        self._extend_lifetimes_by_views()
        for step in self.steps:
            self._overwrite_input(step)
        self.size = self._assign_offsets()

    def narrowest_point(self, limit: int) -> int | None:
        """Return the first position after which all memory needs are below `limit` bytes.

        Only one tensor may be read across that position.
        """
        for position, step in enumerate(self.steps[:-1]):
            tensor = self.tensors[step.number]
            crossing = [
                other
                for other in self.tensors.values()
                if other.last_read > position >= other.first_use
            ]
            outputs = [other for other in self.tensors.values() if other.is_output]
            if (
                crossing == [tensor]
                and not tensor.is_slice
                and all(other.first_use > position for other in outputs)
                and tensor.nbytes + max(map(self._step_nbytes, self.steps[position + 1 :])) <= limit
            ):
                return position
        return None

    def _step_nbytes(self, step: Step) -> int:
        return sum(self.tensors[number].nbytes for number in (step.number, *step.inputs))

    def _add_output(self, step: Step, position: int) -> None:
        inputs = [self.tensors[number] for number in step.inputs]
        for tensor in inputs:
            tensor.last_read = position
        shape = step.output_shape([tensor.shape for tensor in inputs])
        # An array that a layer returns may be a view of the layer's input.
        views = [] if step.writes_out else inputs
        self.tensors[step.number] = Tensor(shape, step.dtype, position, position, views)

    def _extend_lifetimes_by_views(self) -> None:
        for tensor in self.tensors.values():
            tensor.last_use = len(self.steps) if tensor.is_output else tensor.last_read
        for tensor in reversed(self.tensors.values()):
            for other in tensor.view_of:
                other.last_use = max(other.last_use, tensor.last_use)

    def _overwrite_input(self, step: Step) -> None:
        """Let a step write over an input that no later step reads: less memory traffic."""
        if step.overwritable_input is None:
            return
        target, source = self.tensors[step.number], self.tensors[step.overwritable_input]
        if (
            target.is_overwritable
            and source.is_overwritable
            and source.last_use == target.first_use
            and (source.shape, source.dtype) == (target.shape, target.dtype)
            # An input that is a view could show the overwritten memory.
            and not any(self.tensors[number].view_of for number in step.inputs)
            and step.inputs.count(step.overwritable_input) == 1
        ):
            target.storage = source.storage

    def _assign_offsets(self) -> int:
        """Place the largest storages first; return the number of bytes needed."""
        for tensor in self.tensors.values():
            if tensor.storage is not None:
                storage = tensor.storage
                storage.first_use = min(storage.first_use, tensor.first_use)
                storage.last_use = max(storage.last_use, tensor.last_use)
        placed: list[tuple[int, int, Tensor]] = []  # begin and end in bytes
        for _, tensor in sorted(self.tensors.items(), key=lambda item: (-item[1].nbytes, item[0])):
            if tensor.storage is not tensor or tensor.is_output:
                continue
            begin = 0
            for other_begin, other_end, _ in sorted(
                (item for item in placed if _coexist(item[2], tensor)), key=lambda item: item[:2]
            ):
                if begin + tensor.nbytes <= other_begin:
                    break
                begin = max(begin, -(-other_end // CACHE_LINE) * CACHE_LINE)
            tensor.offset = begin
            placed.append((begin, begin + tensor.nbytes, tensor))
        return max((end for _, end, _ in placed), default=0)


def _coexist(one: Tensor, other: Tensor) -> bool:
    return one.first_use <= other.last_use and other.first_use <= one.last_use


class Workspace:
    """The arrays of one run.

    Parameters
    ----------
    memory : MemoryPlan
    arena : array of uint8
        At least ``memory.size`` bytes.
    xs : list of array
        The inputs.

    Attributes
    ----------
    values : dict of int to array
        Tensors that later steps read.
    """

    def __init__(self, memory: MemoryPlan, arena: np.ndarray, xs: list[np.ndarray]):
        self.tensors, self.released = memory.tensors, memory.released
        self.arena = arena
        self.values = dict(zip(memory.inputs, xs, strict=True))
        self._storages: dict[int, np.ndarray] = {}  # by id of their owners

    def storage(self, number: int) -> np.ndarray:
        """Return the whole memory to which tensor `number` is written."""
        tensor = self.tensors[number].storage
        if tensor is None:
            raise RuntimeError(f"tensor {number}: expected storage of its own, received none")
        array = self._storages.get(id(tensor))
        if array is None:
            if tensor.offset is None:
                array = np.empty(tensor.shape, tensor.dtype)
            else:
                array = np.ndarray(tensor.shape, tensor.dtype, self.arena, tensor.offset)
            self._storages[id(tensor)] = array
        return array

    def publish(self, number: int) -> None:
        """Put the tensor that a step has written to its storage into `values`."""
        tensor, array = self.tensors[number], self.storage(number)
        if array.shape != tensor.shape:  # some channels of a concatenation
            array = array[..., tensor.channel : tensor.channel + tensor.shape[-1]]
        self.values[number] = array
