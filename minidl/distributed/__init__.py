"""Several processes of MPI that train, evaluate and predict together.

A script started by ``mpiexec -n 4 python script.py`` runs in four processes, the ranks 0 to 3.
``fit``, ``evaluate`` and ``predict`` share the work among them without a change of the script.
Without MPI there is one process, rank 0 of 1, and every function returns at once.

>>> from minidl import distributed
>>> distributed.rank(), distributed.size(), distributed.is_main()
(0, 1, True)
>>> distributed.all_gather("a")
['a']
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.distributed.communicator import DistributedError, alone, current, set_timeout
from minidl.distributed.tree import tree_sum

__all__ = [
    "DistributedError",
    "all_gather",
    "all_sum",
    "alone",
    "barrier",
    "is_main",
    "rank",
    "set_timeout",
    "size",
]


def rank() -> int:
    """Return the number of this process, from 0 to ``size() - 1``."""
    return current().rank


def size() -> int:
    """Return the number of processes."""
    return current().size


def is_main() -> bool:
    """Return whether this process is rank 0, which prints and writes files."""
    return current().rank == 0


def all_sum(array: ArrayLike) -> np.ndarray:
    """Return the sum of all ranks' arrays, the same bits on all ranks.

    The order of the sum is a binary tree over the ranks.

    Parameters
    ----------
    array : array_like
        Of one shape and dtype on all ranks.

    Examples
    --------
    >>> from minidl import distributed
    >>> distributed.all_sum([1.0, 2.0])
    array([1., 2.])
    """
    return tree_sum(current(), np.array(array), "all_sum")


def all_gather(value: Any) -> list[Any]:
    """Return the values of all ranks in their order.

    Parameters
    ----------
    value : object
        Anything that pickle supports.
    """
    return current().all_gather(value, "all_gather")


def barrier() -> None:
    """Wait until all ranks have called this function."""
    current().all_gather(None, "barrier")
