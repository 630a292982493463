"""The thread pool, the number of threads, and the limit on BLAS' own threads.

Each operation is divided into cache-sized tasks that run on a small pool of Python threads. This
works because kernels release the GIL, and because BLAS is limited to one thread while minidl
computes. (Two pools that spin on the same processors slow small operations down tenfold.)

Results do not depend on the number of threads. Sums over rows or images are divided into spans that
depend on shapes alone, and the sums of the spans are added in a fixed order. The same holds for the
sizes of BLAS' matrix products, because BLAS chooses its order of summation by them.

>>> from minidl.kernels.runtime import thread_pool
>>> done = []
>>> thread_pool.run(done.append, 4)
>>> sorted(done)
[0, 1, 2, 3]
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.kernels.runtime.memory import aligned
from minidl.kernels.runtime.worker_threads import Workers, is_worker, reset_after_fork

__all__ = [
    "available_processors",
    "chunks",
    "computing",
    "get_num_threads",
    "may_spin",
    "run",
    "scratch",
    "set_default_threads",
    "set_num_threads",
    "spans",
]

CGROUP = Path("/sys/fs/cgroup")
MOST_SPANS = 64

_lock = threading.RLock()
_threads: int | None = None  # None until its first use: then from the environment or the machine
_chosen = False  # by set_num_threads
_workers: Workers | None = None
_local = threading.local()  # .scratch: buffers of this thread


def set_num_threads(n: int) -> None:
    """Set the number of threads for later computations, BLAS included.

    The default is the environment variable ``MINIDL_NUM_THREADS``. Without it, the default is the
    number of processors that this process may use, limited by its affinity and its cgroup's quota.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError
        If `n` is not a positive integer.

    Examples
    --------
    >>> import minidl
    >>> before = minidl.get_num_threads()
    >>> minidl.set_num_threads(1)
    >>> minidl.get_num_threads()
    1
    >>> minidl.set_num_threads(before)
    """
    global _chosen
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"set_num_threads: expected an integer >= 1, received {n!r}")
    _chosen = True
    _replace_workers(int(n))


def set_default_threads(n: int) -> None:
    """Set the number of threads, unless the user has set it."""
    if not _chosen and not os.environ.get("MINIDL_NUM_THREADS", "").strip():
        _replace_workers(n)


def _replace_workers(n: int) -> None:
    """Set the number of threads; the next call of `run` creates a new pool."""
    global _threads, _workers
    with _lock:
        _threads = n
        if _workers is not None:
            _workers.stop()  # after its running tasks
        _workers = None


def get_num_threads() -> int:
    """Return the number of threads that minidl computes with.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If the environment variable ``MINIDL_NUM_THREADS`` is not a positive integer.

    Examples
    --------
    >>> import minidl
    >>> minidl.get_num_threads() >= 1
    True
    """
    global _threads
    if _threads is None:
        setting = os.environ.get("MINIDL_NUM_THREADS", "").strip()
        if setting and not (setting.isdigit() and int(setting) > 0):
            raise ValueError(f"MINIDL_NUM_THREADS: expected an integer >= 1, received {setting!r}")
        _threads = int(setting) if setting else available_processors()
    return _threads


def may_spin() -> bool:
    """Return whether each thread has a processor of its own, which spin-waits require."""
    return _get_workers().spinning


def run(task: Callable[[int], object], count: int) -> None:
    """Call ``task(0) ... task(count - 1)`` on the pool and wait for all of them.

    The order is not defined, so tasks must not write to the same memory. A nested call inside a
    task is serial.

    Parameters
    ----------
    task : callable
        Receives the number of the task. Its result is ignored. The first exception of a task is
        raised here.
    count : int
        Number of tasks.
    """
    if is_worker():
        for i in range(count):
            task(i)
        return
    with computing():
        _get_workers().run(task, count)


def chunks(length: int, at_most: int) -> list[tuple[int, int]]:
    """Divide ``range(length)`` into contiguous (start, stop) chunks of similar length.

    Parameters
    ----------
    length : int
    at_most : int
        Length of the longest chunk.

    Examples
    --------
    >>> chunks(10, at_most=4)
    [(0, 3), (3, 6), (6, 10)]
    """
    return _divide(length, -(-length // max(1, at_most)))


def spans(length: int, smallest: int = 1, most: int = MOST_SPANS) -> list[tuple[int, int]]:
    """Divide ``range(length)`` into the spans of a sum, each with an accumulator of its own.

    The division does not depend on the number of threads, so neither does the rounding of the sum.
    There are at least two spans, if `length` allows, and their number is a power of two, which
    suits most numbers of threads.

    Parameters
    ----------
    length : int
    smallest : int
        Length that is worth an accumulator.
    most : int
        Limit on the number of spans, for example by the memory of the accumulators.

    Examples
    --------
    >>> spans(10, smallest=2)
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    count = max(2, min(most, MOST_SPANS, length // max(1, smallest)))
    return _divide(length, 2 ** (min(count, max(1, length)).bit_length() - 1))


def _divide(length: int, count: int) -> list[tuple[int, int]]:
    """Divide ``range(length)`` into `count` parts, or fewer, as none may be empty."""
    count = max(1, min(count, length))
    edges = [length * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def scratch(key: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Return this thread's reusable buffer `key` as an uninitialized array of `shape`.

    The array is valid until the same thread asks for the same key again. It is for memory that
    one task needs.
    """
    buffers = _local.__dict__.setdefault("scratch", {})
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    buffer = buffers.get(key)
    if buffer is None or buffer.size < size:
        buffer = buffers[key] = aligned((size,), np.uint8)
        buffer.fill(0)  # kernels may read a little beyond what they wrote: no denormals there
    return buffer[:size].view(dtype).reshape(shape)


def available_processors() -> int:
    """Return the number of processors for this process, by its affinity and its cgroup's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    return max(1, min(count, _cgroup_quota() or count))


def _cgroup_quota() -> int | None:
    """Return the container's limit of processors, rounded up, or None if there is no limit."""
    version_1, version_2 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"), ("cpu.max",)
    for names in (version_2, version_1):
        with contextlib.suppress(OSError, ValueError):
            # Microseconds, such as "150000 100000"; without a limit "max 100000" or "-1 100000"
            quota, period = " ".join((CGROUP / name).read_text() for name in names).split()
            return None if quota in ("max", "-1") else max(1, -(-int(quota) // int(period)))
    return None


def _get_workers() -> Workers:
    global _workers
    with _lock:
        if _workers is None:  # the calling thread works as well, hence one fewer
            threads = get_num_threads()
            _workers = Workers(threads - 1, spinning=threads <= available_processors())
        return _workers


class _BlasLimit:
    """A limit of one BLAS thread, which holds as long as any computation is active."""

    def __init__(self) -> None:
        self.active = 0  # computations
        self.controller: Any = None
        self.limiter: Any = None

    def enter(self) -> None:
        with _lock:
            if self.active == 0:
                if self.controller is None:
                    from threadpoolctl import ThreadpoolController

                    self.controller = ThreadpoolController().select(user_api="blas")
                self._release_ownership()
                self.limiter = self.controller.limit(limits=1)
            self.active += 1

    def leave(self) -> None:
        with _lock:
            self.active -= 1
            if self.active == 0:
                self.restore()

    def restore(self) -> None:
        """Set the number of BLAS threads that the user had chosen."""
        if self.limiter is not None:
            self._release_ownership()
            self.limiter.restore_original_limits()
            self._release_ownership()
            self.limiter = None

    def _release_ownership(self) -> None:
        """Let any thread set the limit.

        Newer versions of threadpoolctl obey only the thread that first set OpenBLAS' limit, but the
        last computation may end in another thread.
        """
        for blas in self.controller.lib_controllers:
            if hasattr(blas, "clear_controlling_thread"):
                blas.clear_controlling_thread(force=True)


_blas = _BlasLimit()


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """Limit BLAS to one thread inside the block, and restore the user's setting after it.

    Blocks may be nested and may run in several threads: the first one sets the limit, the last one
    restores the setting.
    """
    _blas.enter()
    try:
        yield
    finally:
        _blas.leave()


def _after_fork() -> None:
    """Give a forked child a pool of its own, as it has none of its parent's threads."""
    global _workers, _lock, _blas
    _lock = threading.RLock()
    _workers = None
    _blas.restore()  # another thread may have been computing
    _blas = _BlasLimit()
    _local.__dict__.clear()
    reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
