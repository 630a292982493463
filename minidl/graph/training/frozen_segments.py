"""Frozen segments of a graph, and the order in which they and the live layers run.

A segment is a set of frozen nodes that no gradient has to pass through and that compute the same
in training as in inference. It runs through an inference plan. The live layers in between, such
as random ones, run one by one, or convolutions with their neighbors
(see :mod:`minidl.graph.training.convolution_blocks`).

>>> from minidl import Input, Sequential, layers
>>> from minidl.graph.training.frozen_segments import arrange
>>> model = Sequential([Input((4,)), layers.Dense(3), layers.ReLU(), layers.Dropout(0.5),
...                     layers.Dense(2)])
>>> order = arrange(list(enumerate(model.nodes))[1:], [0], [4], frozen={1, 2})
>>> [item.numbers if hasattr(item, "numbers") else item[0] for item in order.items]
[(1, 2), 3, 4]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from minidl.graph.inference.plan import InferencePlan
from minidl.graph.node import Node, count_consumers
from minidl.graph.training.convolution_blocks import merge_convolutions

__all__ = ["ExecutionOrder", "FrozenSegment", "NumberedNode", "arrange"]

NumberedNode = tuple[int, Node]


@dataclass(frozen=True)
class FrozenSegment:
    """A frozen part of a graph.

    Attributes
    ----------
    numbers : tuple of int
        Numbers of its nodes.
    inputs, outputs : tuple of int
        Numbers of the tensors that it reads from outside, and that others read from it.
    plan : InferencePlan
    """

    numbers: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    plan: InferencePlan


@dataclass(frozen=True)
class ExecutionOrder:
    """Live nodes and frozen segments in the order in which they run.

    Attributes
    ----------
    items : list of (int, Node) or FrozenSegment
    consumers : list of int
        For each tensor, how many items read it; one more for an output of the graph.
    """

    items: list[NumberedNode | FrozenSegment]
    consumers: list[int]


def arrange(
    nodes: list[NumberedNode], inputs: list[int], outputs: list[int], frozen: set[int]
) -> ExecutionOrder:
    """Return the order in which live nodes and frozen segments run.

    Parameters
    ----------
    nodes : list of (int, Node)
        In topological order, without the inputs.
    inputs, outputs : list of int
        Numbers of the graph's inputs and outputs.
    frozen : set of int
        Numbers of the frozen nodes.
    """
    # The level of a node is the number of changes between live and frozen on the way to it.
    # Hence live and frozen nodes of one level do not depend on each other.
    level = dict.fromkeys(inputs, 0)
    live: dict[int, list[NumberedNode]] = defaultdict(list)
    still: dict[int, list[NumberedNode]] = defaultdict(list)
    for i, node in nodes:
        changes = (level[j] + ((j in frozen) != (i in frozen)) for j in node.inputs)
        level[i] = max(changes, default=0)
        (still if i in frozen else live)[level[i]].append((i, node))
    count = max(level) + 1
    consumers = count_consumers((node.inputs for _, node in nodes), count, outputs)
    items: list[NumberedNode | FrozenSegment] = []
    for k in range(1 + max(level.values(), default=0)):
        if k in still:
            items.append(_segment(dict(still[k]), nodes, outputs))
        items += merge_convolutions(live[k], consumers)
    reads = [item.inputs if isinstance(item, FrozenSegment) else item[1].inputs for item in items]
    return ExecutionOrder(items, count_consumers(reads, count, outputs))


def _segment(
    frozen: dict[int, Node], nodes: list[NumberedNode], outputs: Iterable[int]
) -> FrozenSegment:
    reads = dict.fromkeys(j for node in frozen.values() for j in node.inputs if j not in frozen)
    read_outside = {j for i, node in nodes if i not in frozen for j in node.inputs} | set(outputs)
    results = [i for i in frozen if i in read_outside]
    plan = InferencePlan(frozen, list(reads), results)
    return FrozenSegment(tuple(frozen), tuple(reads), tuple(results), plan)
