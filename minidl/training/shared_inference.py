"""Inference whose batches are shared among the ranks; the results are those of one process.

Each rank computes every n-th batch. All ranks receive all outputs, in the order of the batches, and
update their metrics with them as a single process does. Nothing is padded or repeated, so all
figures are equal to the last bit.

>>> from minidl.training.shared_inference import shared_outputs
>>> list(shared_outputs([1, 2, 3], lambda batch: 10 * batch))
[(1, 10), (2, 20), (3, 30)]
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from minidl.distributed.communicator import current

__all__ = ["shared_outputs"]

T = TypeVar("T")


def shared_outputs(batches: Iterable[T], compute: Callable[[T], Any]) -> Iterator[tuple[T, Any]]:
    """Yield each batch with ``compute(batch)``, which one rank computes for all.

    Parameters
    ----------
    batches : iterable
        The same on all ranks. As many of them as there are ranks are in memory.
    compute : callable
    """
    communicator, source = current(), iter(batches)
    while group := list(itertools.islice(source, communicator.size)):
        mine = group[communicator.rank] if communicator.rank < len(group) else None
        output = None if communicator.rank >= len(group) else compute(mine)  # type: ignore[arg-type]
        outputs = communicator.all_gather(output, "the outputs of a batch")
        yield from zip(group, outputs, strict=False)
