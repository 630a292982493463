"""One thread pool, one knob, and BLAS kept out of its way.

Every heavy operation is cut into cache-sized tasks. The tasks run on a small pool of
Python threads; that works because the kernels release the GIL and because BLAS is limited
to one thread while minidl computes. (Two pools that busy-wait on the same cores slow small
operations down tenfold.)

>>> from minidl.kernels.runtime import thread_pool
>>> done = []
>>> thread_pool.run(done.append, 4)
>>> sorted(done)
[0, 1, 2, 3]
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np

from minidl.kernels.runtime.memory import aligned
from minidl.kernels.runtime.worker_threads import Workers, forget, is_worker

__all__ = [
    "available_processors",
    "chunks",
    "computing",
    "get_num_threads",
    "may_spin",
    "run",
    "scratch",
    "set_num_threads",
]

_lock = threading.RLock()
_threads: int | None = None  # None until first asked for: then the environment or the machine
_workers: Workers | None = None
_local = threading.local()  # .scratch: this thread's buffers


def set_num_threads(n: int) -> None:
    """Use `n` threads for every later computation, BLAS included.

    The default is the environment variable ``MINIDL_NUM_THREADS`` or, without it, the
    number of processors that this process may use (affinity and cgroup quota respected).

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
    global _threads, _workers
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"set_num_threads: expected an integer >= 1, received {n!r}")
    with _lock:
        _threads = int(n)
        if _workers is not None:
            _workers.stop()  # once running tasks are done; the next call makes new ones
        _workers = None


def get_num_threads() -> int:
    """Return the number of threads that minidl computes with."""
    global _threads
    if _threads is None:
        asked = os.environ.get("MINIDL_NUM_THREADS", "").strip()
        if asked and not (asked.isdigit() and int(asked) > 0):
            raise ValueError(f"MINIDL_NUM_THREADS: expected an integer >= 1, received {asked!r}")
        _threads = int(asked) if asked else available_processors()
    return _threads


def may_spin() -> bool:
    """Whether each thread has a processor to itself, so that one may look until another is done."""
    return _get_workers().watchful


def run(task: Callable[[int], object], count: int) -> None:
    """Call ``task(0) ... task(count - 1)`` on the pool and wait for all of them.

    The order is not defined, so tasks must not write to the same memory. Inside a task a
    nested `run` is serial. The first exception of a task is raised here.
    """
    if is_worker():
        for i in range(count):
            task(i)
        return
    with computing():
        _get_workers().run(task, count)


def chunks(length: int, at_most: int | None = None) -> list[tuple[int, int]]:
    """Cut ``range(length)`` into contiguous (start, stop) spans.

    With `at_most`, no span is longer than that; without, there is one span per thread (for
    sums that need an accumulator each and must not depend on which thread was quicker).
    """
    pieces = get_num_threads() if at_most is None else -(-length // max(1, at_most))
    pieces = max(1, min(pieces, length))
    edges = [length * i // pieces for i in range(pieces + 1)]
    return list(itertools.pairwise(edges))


def scratch(key: str, shape: tuple[int, ...], dtype) -> np.ndarray:
    """Return this thread's reusable buffer `key` as an uninitialised array of `shape`.

    Valid until the same thread asks for the same key again: for memory that does not
    outlive one task.
    """
    buffers = _local.__dict__.setdefault("scratch", {})
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    buffer = buffers.get(key)
    if buffer is None or buffer.size < size:
        buffer = buffers[key] = aligned((size,), np.uint8)
        buffer.fill(0)  # kernels may read a little beyond what they wrote: no denormals there
    return buffer[:size].view(dtype).reshape(shape)


def available_processors() -> int:
    """Return how many processors this process may use: affinity and cgroup quota counted."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        count = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, quota) if quota else count)


def _cgroup_quota() -> int | None:
    """Return the container's processor limit, rounded up, or None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu.max") as file:  # version 2: "max 100000" or "150000 100000"
            quota, period = file.read().split()
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    with contextlib.suppress(OSError, ValueError):
        with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:  # version 1
            quota = int(file.read())
        with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
            period = int(file.read())
        return max(1, -(-quota // period)) if quota > 0 else None
    return None


def _get_workers() -> Workers:
    global _workers
    with _lock:
        if _workers is None:  # the calling thread works too, hence one fewer
            threads = get_num_threads()
            _workers = Workers(threads - 1, watchful=threads <= available_processors())
        return _workers


class _BlasGuard:
    """Counts the computations under way; BLAS has one thread while there is any."""

    def __init__(self) -> None:
        self.depth = 0
        self.controller = None
        self.limiter = None

    def enter(self) -> None:
        with _lock:
            if self.depth == 0:
                if self.controller is None:
                    from threadpoolctl import ThreadpoolController

                    self.controller = ThreadpoolController().select(user_api="blas")
                self._disown()
                self.limiter = self.controller.limit(limits=1)
            self.depth += 1

    def leave(self) -> None:
        with _lock:
            self.depth -= 1
            if self.depth == 0:
                self._disown()
                self.limiter.restore_original_limits()
                self._disown()
                self.limiter = None

    def _disown(self) -> None:
        """Let any thread set the limit.

        Newer versions of threadpoolctl heed only the thread that set OpenBLAS' limit first,
        but the last computation to end may belong to another one.
        """
        for blas in self.controller.lib_controllers:
            if hasattr(blas, "clear_controlling_thread"):
                blas.clear_controlling_thread(force=True)


_blas = _BlasGuard()


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """Limit BLAS to one thread inside the block; give the user's setting back after it.

    Nested and concurrent blocks are counted: the first one in limits, the last one out
    restores.
    """
    _blas.enter()
    try:
        yield
    finally:
        _blas.leave()


def _after_fork() -> None:
    """A forked child has none of its parent's threads: it starts with a pool of its own."""
    global _workers, _lock, _blas
    _lock = threading.RLock()
    _workers = None
    if _blas.limiter is not None:  # forked by a thread while another one computed
        _blas.limiter.restore_original_limits()
    _blas = _BlasGuard()
    _local.__dict__.clear()
    forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
