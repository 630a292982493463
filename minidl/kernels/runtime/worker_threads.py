"""Threads that wait for work: as little as possible between a call and its first task.

A network computes a hundred layers in a few milliseconds each. What the standard library's
executor does for every call, such as a future with its condition for each thread, would then
be felt; and a caller that has done all tasks itself need not wait for threads to wake up. Threads
with a processor each look out for a moment before they sleep
(:mod:`minidl.kernels.runtime.spin_wait`).

>>> from minidl.kernels.runtime.worker_threads import Workers
>>> done = []
>>> Workers(2).run(done.append, 3)
>>> sorted(done)
[0, 1, 2]
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable

import numpy as np

from minidl.kernels.runtime.jit import importing_numba

__all__ = ["Workers", "forget", "is_worker"]

_local = threading.local()  # .busy: this thread is inside a task


def is_worker() -> bool:
    """Whether the calling thread is inside a task."""
    return getattr(_local, "busy", False)


def forget() -> None:
    """After a fork: the child's only thread is inside no task, whatever its parent's was."""
    _local.__dict__.clear()


class Workers:
    """A number of threads that end with the process.

    Parameters
    ----------
    count : int
        The calling thread of :meth:`run` works, too, and is not counted.
    watchful : bool
        Whether threads without work look out for more for a moment before they sleep: right where
        each has a processor to itself.
    """

    def __init__(self, count: int, watchful: bool = False):
        self.count, self.watchful = count, watchful
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._bell = np.zeros(1, np.int64)  # rings when there are jobs
        arguments = (self._jobs, self._bell, watchful)
        for _ in range(count):
            threading.Thread(target=_serve, args=arguments, name="minidl", daemon=True).start()

    def run(self, task: Callable[[int], object], count: int) -> None:
        """Call ``task(0) ... task(count - 1)`` on the threads and the caller's own.

        The first exception is raised here, when no thread is inside a task any more; tasks that
        had not begun by then are left out.
        """
        job = _Job(task, count)
        try:
            for _ in range(min(self.count, count - 1)):
                self._jobs.put(job)
            self._bell += 1
            _local.busy = True
            job.work()
        except BaseException:
            job.count = 0
            raise
        finally:
            _local.busy = False
            job.close(self.watchful)
        if job.error is not None:
            raise job.error

    def stop(self) -> None:
        """Let the threads end after the jobs that are waiting."""
        for _ in range(self.count):
            self._jobs.put(None)
        self._bell += 1


class _Job:
    """One call of ``run``; threads that come too late to help do not touch it."""

    def __init__(self, task: Callable[[int], object], count: int):
        self.task, self.count = task, count
        self.numbers = itertools.count()
        self.error: BaseException | None = None
        self.left = np.zeros(1, np.int64)  # helpers that are not even about to take the GIL
        self._lock = threading.Lock()
        self._helpers, self._joined, self._closed = 0, 0, False
        self._all_gone = threading.Lock()  # held until the last helper has left
        self._all_gone.acquire()

    def work(self) -> None:
        # Numbers that have become infinite are the training loop's to tell, and once: NumPy's
        # own setting holds for one thread only, so it would warn in some threads and not in others.
        with np.errstate(over="ignore", invalid="ignore"):
            while (i := next(self.numbers)) < self.count:
                self.task(i)

    def help(self) -> bool:
        """Work in another thread than the caller's; say whether it was not too late."""
        with self._lock:
            if self._closed:
                return False
            self._helpers += 1
            self._joined += 1
        try:
            self.work()
        except BaseException as error:
            self.error = self.error or error
            self.count = 0
        finally:
            with self._lock:
                self._helpers -= 1
                is_last = self._closed and self._helpers == 0
            if is_last:
                self._all_gone.release()
        return True

    def close(self, watchful: bool) -> None:
        """Accept no more helpers, and wait for those that are at work, Ctrl-C or not."""
        interrupt = None
        with self._lock:
            self._closed = True
            waiting = self._helpers > 0
        while waiting:
            try:
                waiting = not (watchful and self._are_seen_to_leave())
                if waiting:
                    self._all_gone.acquire()
                    waiting = False
            except KeyboardInterrupt as error:
                interrupt, self.count = error, 0
        if interrupt is not None:
            raise interrupt

    def _are_seen_to_leave(self) -> bool:
        with importing_numba:
            from minidl.kernels.runtime.spin_wait import reaches

        return reaches(self.left, self._joined)


def _serve(jobs, bell: np.ndarray, watchful: bool) -> None:
    _local.busy = True
    while (job := jobs.get()) is not None:
        joined = job.help()
        left = job.left if joined else None
        del job  # what its task refers to, such as images, must not wait for the next one
        if watchful:
            with importing_numba:
                from minidl.kernels.runtime.spin_wait import leave_and_watch

            rung = int(bell[0])
            leave_and_watch(left, bell, rung if jobs.empty() else -1)
