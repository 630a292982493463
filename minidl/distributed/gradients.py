"""Sums of gradients over the shards of a batch, sent while backpropagation still runs.

The gradients of a rank's last shard complete its sums layer by layer, from the top of the network.
They are collected in buckets of some megabytes. One thread sends each full bucket along the tree of
:mod:`minidl.distributed.tree`, while the layers below are still computed.

>>> import numpy as np
>>> from minidl.distributed.communicator import Communicator
>>> from minidl.distributed.gradients import GradientSums
>>> sums = GradientSums(Communicator(), shards=2)
>>> sums.begin({"kernel": np.zeros(3)})
>>> for shard in range(2):
...     sums.add(shard, "kernel", np.ones(3))
>>> sums.finish()
[array([2., 2., 2.])]
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.distributed.communicator import Communicator
from minidl.distributed.tree import PartialSums, Range, rounded, shard_range, sum_over_ranks
from minidl.kernels import activations

__all__ = ["GradientSums"]

BUCKET_BYTES = 2**22


class GradientSums:
    """Sums over all shards of the gradients of a step; used again for each step.

    Parameters
    ----------
    communicator : Communicator
    shards : int
        Number of shards of each batch, on all ranks together.
    payload : dtype, optional
        Dtype of the messages, by default that of the gradients. Sums keep the gradients' dtype.
    """

    def __init__(
        self, communicator: Communicator, shards: int, payload: DTypeLike | None = None
    ) -> None:
        self.communicator, self.shards, self.payload = communicator, shards, payload
        self.first, last = shard_range(communicator.rank, communicator.size, shards)
        self.last = last - 1
        self._courier = _Courier(communicator, shards, payload) if communicator.size > 1 else None
        self._sums: dict[Hashable, PartialSums] = {}

    def begin(self, parameters: Mapping[Hashable, np.ndarray]) -> None:
        """Begin a step.

        Parameters
        ----------
        parameters : dict of hashable to array
            The parameters to which the gradients belong; on all ranks in the same order.
        """
        self._sums = {key: PartialSums(self.shards, self._merge) for key in parameters}
        self._buckets = _buckets(parameters)
        self._complete: set[Hashable] = set()
        self._sent = 0  # buckets

    def add(self, shard: int, key: Hashable, gradient: np.ndarray) -> None:
        """Add the gradient of one of this rank's shards, which come in order."""
        self._sums[key].add(shard, gradient)
        if shard < self.last or self._courier is None:
            return
        self._complete.add(key)
        # All ranks send the buckets in the same order, even if one of them has an empty shard.
        while self._sent < len(self._buckets) and self._complete.issuperset(
            self._buckets[self._sent]
        ):
            items = [(k, self._sums[k].nodes) for k in self._buckets[self._sent]]
            self._courier.send(self._sent, items)
            self._sent += 1

    def finish(self) -> list[np.ndarray]:
        """Return the sums in the order of the parameters, when all of them have arrived."""
        if self._courier is None:
            totals = [sums.nodes[0, self.shards] for sums in self._sums.values()]
            if self.payload is not None:  # the message in which ranks would receive the sum
                return [total.astype(self.payload).astype(total.dtype) for total in totals]
            return totals
        received = self._courier.results(len(self._buckets))
        return [received[key] for key in self._sums]

    def close(self) -> None:
        """End the communication thread."""
        if self._courier is not None:
            self._courier.close()

    def _merge(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        # Into new memory: gradients may be views of arrays that their layers still need.
        if self.payload is not None:
            return rounded(left, self.payload) + rounded(right, self.payload)
        return activations.add(left, right)


def _buckets(parameters: Mapping[Hashable, np.ndarray]) -> list[list[Hashable]]:
    """Divide the parameters, from the last one down, into buckets of one dtype."""
    buckets: list[list[Hashable]] = []
    size, dtype = BUCKET_BYTES, None
    for key, array in reversed(list(parameters.items())):
        if size >= BUCKET_BYTES or array.dtype != dtype:
            buckets.append([])
            size, dtype = 0, array.dtype
        buckets[-1].append(key)
        size += array.nbytes
    return buckets


class _Courier:
    """The thread that sums buckets over the ranks."""

    def __init__(self, communicator: Communicator, shards: int, payload: DTypeLike | None) -> None:
        self.communicator, self.shards, self.payload = communicator.duplicate(), shards, payload
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="minidl-gradients", daemon=True).start()

    def send(self, number: int, items: list[tuple[Hashable, dict[Range, np.ndarray]]]) -> None:
        self._waiting.put((number, items))

    def results(self, count: int) -> dict[Hashable, np.ndarray]:
        """Return the sums of `count` buckets by key; raise the thread's exception."""
        totals: dict[Hashable, np.ndarray] = {}
        for _ in range(count):
            result = self._done.get()
            if isinstance(result, BaseException):
                raise result
            totals.update(result)
        return totals

    def close(self) -> None:
        self._waiting.put(None)

    def _serve(self) -> None:
        while (job := self._waiting.get()) is not None:
            try:
                self._done.put(self._sum(*job))
            except BaseException as error:
                self._done.put(error)
            del job

    def _sum(
        self, number: int, items: list[tuple[Hashable, dict[Range, np.ndarray]]]
    ) -> dict[Hashable, np.ndarray]:
        arrays = [next(iter(nodes.values())) for _, nodes in items]
        flat = {
            node: _concatenated([nodes[node].reshape(-1) for _, nodes in items])
            for node in items[0][1]
        }
        total = np.empty(sum(array.size for array in arrays), arrays[0].dtype)
        place = f"the sum of gradients (bucket {number + 1})"
        # Pieces of large parameters stay in the cache, and consecutive ones use different ranks.
        for i, piece in enumerate(_pieces(total)):
            parts_of = {node: array[piece] for node, array in flat.items()}
            out = total[piece] if self.payload is None else None
            result = sum_over_ranks(
                self.communicator, parts_of, self.shards, place, number + i, self.payload, out
            )
            if out is None:
                total[piece] = result
        edges = np.cumsum([array.size for array in arrays])[:-1]
        parts = np.split(total, edges)
        return {
            key: part.reshape(array.shape)
            for (key, _), part, array in zip(items, parts, arrays, strict=True)
        }


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _pieces(array: np.ndarray) -> list[slice]:
    """Return the slices of a flat array that are sent one by one."""
    length = max(1, BUCKET_BYTES // array.itemsize)
    return [slice(i, i + length) for i in range(0, array.size, length)]
