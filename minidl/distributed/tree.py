"""The binary tree that fixes the order of sums over shards, whichever rank computes them.

The leaves are the shards 0 to S - 1. A node is the sum of a range of shards; its left part has the
largest power of two of them that leaves something for the right part. Floating-point sums depend on
their order, so this tree, not the number of ranks, determines the bits::

    ((g0 + g1) + (g2 + g3)) + ((g4 + g5) + (g6 + g7))

>>> from minidl.distributed.tree import middle, shard_range
>>> middle(0, 8), middle(0, 6), [shard_range(r, 4, 8) for r in range(4)]
(4, 4, [(0, 2), (2, 4), (4, 6), (6, 8)])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.distributed.communicator import Communicator

__all__ = ["PartialSums", "Range", "middle", "rank_of", "shard_range", "sum_over_ranks", "tree_sum"]

Range = tuple[int, int]  # of shards: first, and last + 1


def middle(first: int, last: int) -> int:
    """Return the shard at which the right part of a node begins; it has two shards or more."""
    return first + 2 ** ((last - first - 1).bit_length() - 1)


def shard_range(rank: int, size: int, shards: int) -> Range:
    """Return the shards of a rank: contiguous ones."""
    return shards * rank // size, shards * (rank + 1) // size


def rank_of(shard: int, size: int, shards: int) -> int:
    """Return the rank that computes a shard."""
    return next(r for r in range(size) if shard < shard_range(r, size, shards)[1])


class PartialSums:
    """Sums of the shards that one rank has computed so far, merged as early as the tree allows.

    Shards are added in their order, so at most about ``log2(S)`` sums are in memory.

    Parameters
    ----------
    shards : int
        S.
    merge : callable
        ``merge(left, right)`` returns the sum of two values.

    Examples
    --------
    >>> sums = PartialSums(4, lambda left, right: f"({left}+{right})")
    >>> for shard in range(1, 4):
    ...     sums.add(shard, shard)
    >>> sums.nodes
    {(1, 2): 1, (2, 4): '(2+3)'}
    """

    def __init__(self, shards: int, merge: Callable[[Any, Any], Any]) -> None:
        self.shards, self.merge = shards, merge
        self.nodes: dict[Range, Any] = {}

    def add(self, shard: int, value: Any) -> None:
        """Add the value of the next shard."""
        node = shard, shard + 1
        while (parent := self._parent(node)) is not None and parent[0] < node[0]:
            left = parent[0], node[0]
            if left not in self.nodes:
                break
            value, node = self.merge(self.nodes.pop(left), value), parent
        self.nodes[node] = value

    def _parent(self, node: Range) -> Range | None:
        """Return the node of which this one is a part, None for the root."""
        first, last = 0, self.shards
        while (first, last) != node:
            split = middle(first, last)
            part = (first, split) if node[0] < split else (split, last)
            if part == node:
                return first, last
            first, last = part
        return None


def sum_over_ranks(
    communicator: Communicator,
    nodes: dict[Range, np.ndarray],
    shards: int,
    place: str,
    number: int = 0,
    payload: DTypeLike | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return the sum of the nodes of all ranks, in the tree's order, on all ranks.

    Parameters
    ----------
    communicator : Communicator
    nodes : dict of (int, int) to array
        This rank's sums, from :class:`PartialSums`; at least one.
    shards : int
    place : str
        Named if a rank does not arrive.
    number : int
        Determines which rank computes which node. Consecutive sums are spread over the ranks.
    payload : dtype, optional
        Dtype of the messages, by default that of the nodes.
    out : array, optional
        Receives messages and the result, which has the dtype of the payload then.
    """
    me, size = communicator.rank, communicator.size
    some = next(iter(nodes.values()))
    message = np.empty(some.shape, payload or some.dtype) if out is None else out

    def rank_at(first: int, last: int, level: int = 0) -> int:
        """Return the rank that computes a node."""
        lower, upper = (rank_of(shard, size, shards) for shard in (first, last - 1))
        if lower == upper:
            return lower
        split = middle(first, last)
        part = (split, last) if number >> level & 1 else (first, split)
        return rank_at(*part, level + 1)

    def total(first: int, last: int, level: int = 0) -> np.ndarray:
        """Return the sum of a node on the rank that computes it, anything on the others."""
        if rank_of(first, size, shards) == rank_of(last - 1, size, shards):
            return nodes.get((first, last), some)
        split = middle(first, last)
        parts = (first, split), (split, last)
        left = total(*parts[0], level + 1)
        left = left.copy() if left is message else left  # the right part may receive a message
        right = total(*parts[1], level + 1)
        ranks = [rank_at(*part, level + 1) for part in parts]
        here = ranks[number >> level & 1]
        if ranks[0] == ranks[1] == me:
            return rounded(left, message.dtype) + rounded(right, message.dtype)
        own = left if ranks[0] == me else right
        if me == here:
            own = own.copy() if own is message else own
            communicator.receive(message, ranks[1] if ranks[0] == me else ranks[0], place)
            if message.dtype == own.dtype:
                return np.add(own, message, out=message)
            return rounded(own, message.dtype) + message.astype(own.dtype)
        if me in ranks:
            communicator.send(own.astype(message.dtype, copy=False), here, place)
        return some

    result, root = total(0, shards), rank_at(0, shards)
    if me == root and result is not message:
        message[...] = result
    communicator.broadcast(message, root, place)
    return message if out is not None else message.astype(some.dtype, copy=False)


def rounded(array: np.ndarray, payload: DTypeLike) -> np.ndarray:
    """Return the array, rounded to the payload's precision.

    Rounding is a part of the sum, whether or not a message is sent. Otherwise the bits would depend
    on the number of ranks.
    """
    return array if array.dtype == payload else array.astype(payload).astype(array.dtype)


def tree_sum(communicator: Communicator, array: np.ndarray, place: str) -> np.ndarray:
    """Return the sum of one array of each rank, on all ranks; `array` may be overwritten."""
    if communicator.size == 1:
        return array
    nodes = {(communicator.rank, communicator.rank + 1): np.ascontiguousarray(array)}
    return sum_over_ranks(communicator, nodes, communicator.size, place)
