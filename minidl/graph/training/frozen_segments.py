"""Which parts of a graph are frozen, and in what order live layers and frozen parts take turns.

A frozen part is a set of nodes that no gradient has to cross and that compute in training what
they compute outside it. Each such part runs through an inference plan; the live layers in
between, such as random ones, run one by one.

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.training.frozen_segments import arrange
>>> model = Sequential([Input((4,)), layers.Dense(3), layers.ReLU(), layers.Dropout(0.5),
...                     layers.Dense(2)])
>>> timetable = arrange(list(enumerate(model.nodes))[1:], [0], [4], {1, 2}, count=5)
>>> [item.numbers if hasattr(item, "numbers") else item[0] for item in timetable.items]
[(1, 2), 3, 4]
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from minidl.graph.inference.plan import InferencePlan
from minidl.graph.node import Node, count_readers

__all__ = ["Segment", "Timetable", "arrange"]


@dataclass(frozen=True)
class Segment:
    """A frozen part of a graph.

    Attributes
    ----------
    numbers : tuple of int
        Its nodes.
    inputs, outputs : tuple of int
        The tensors that it reads from outside, and those that others read.
    plan : InferencePlan
    """

    numbers: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    plan: InferencePlan


@dataclass(frozen=True)
class Timetable:
    """What to run, one after the other.

    Attributes
    ----------
    items : list of (int, Node) or Segment
    readers : list of int
        How many of the items read each tensor; one more for the graph's outputs.
    """

    items: list[tuple[int, Node] | Segment]
    readers: list[int]

    @property
    def segments(self) -> list[Segment]:
        return [item for item in self.items if isinstance(item, Segment)]


def arrange(
    steps: list[tuple[int, Node]], inputs: list[int], outputs: list[int], frozen: set[int],
    count: int,
) -> Timetable:  # fmt: skip
    """Return the order in which live nodes and frozen segments run.

    Parameters
    ----------
    steps : list of (int, Node)
        In topological order, without the inputs.
    inputs, outputs : list of int
    frozen : set of int
        Numbers of the frozen nodes among the steps.
    count : int
        Number of nodes of the whole graph.
    """
    live_at, frozen_at = _levels(steps, inputs, frozen)
    items: list[tuple[int, Node] | Segment] = []
    for level in range(1 + max([*live_at, *frozen_at], default=0)):
        if level in frozen_at:
            items.append(_segment(dict(frozen_at[level]), steps, outputs))
        items += live_at[level]
    return Timetable(items, count_readers(_reading(items), count, outputs))


def _levels(steps, inputs, frozen):
    """Return live and frozen steps by level: the changes between the two on the way there.

    Steps of one level and of different kinds do not read each other.
    """
    level = dict.fromkeys(inputs, 0)
    live_at: dict[int, list] = defaultdict(list)
    frozen_at: dict[int, list] = defaultdict(list)
    for i, step in steps:
        level[i] = max(
            (level[j] + ((j in frozen) != (i in frozen)) for j in step.inputs), default=0
        )
        (frozen_at if i in frozen else live_at)[level[i]].append((i, step))
    return live_at, frozen_at


def _segment(nodes: dict[int, Node], steps, outputs) -> Segment:
    given = dict.fromkeys(j for node in nodes.values() for j in node.inputs if j not in nodes)
    read = {j for i, step in steps if i not in nodes for j in step.inputs} | set(outputs)
    wanted = [i for i in nodes if i in read]
    return Segment(
        tuple(nodes), tuple(given), tuple(wanted), InferencePlan(nodes, list(given), wanted)
    )


def _reading(items):
    """Return something with `inputs` for each item."""
    return [item if isinstance(item, Segment) else item[1] for item in items]
