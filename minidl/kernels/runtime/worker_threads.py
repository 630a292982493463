"""Worker threads with a short delay between a call and its first task.

A network computes a hundred layers, each in a fraction of a millisecond. The executors of the
standard library are too slow for this: they create a future with a condition for each thread.
Here, a caller that has finished all tasks itself does not wait for threads that still wake up.
Threads with a processor each spin for a moment before they sleep
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

__all__ = ["Workers", "is_worker", "reset_after_fork"]

_local = threading.local()  # .busy: this thread executes a task


def is_worker() -> bool:
    """Return whether the calling thread executes a task."""
    return getattr(_local, "busy", False)


def reset_after_fork() -> None:
    """Note in a forked child that its only thread executes no task."""
    _local.__dict__.clear()


class Workers:
    """Threads that end with the process.

    Parameters
    ----------
    count : int
        Number of threads, without the calling thread of :meth:`run`, which works as well.
    spinning : bool
        Whether idle threads spin before they sleep. This needs a processor for each thread.
    """

    def __init__(self, count: int, spinning: bool = False):
        self.count, self.spinning = count, spinning
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._generation = np.zeros(1, np.int64)  # each wake-up adds 1
        for _ in range(count):
            threading.Thread(target=self._serve, name="minidl", daemon=True).start()

    def run(self, task: Callable[[int], object], count: int) -> None:
        """Call ``task(0) ... task(count - 1)`` on the workers and on the calling thread.

        The first exception is raised here, after all threads have left their tasks. Tasks that had
        not started by then are skipped.
        """
        job = _Job(task, count)
        try:
            for _ in range(min(self.count, count - 1)):
                self._jobs.put(job)
            self._generation += 1
            _local.busy = True
            job.work()
        except BaseException:
            job.count = 0
            raise
        finally:
            _local.busy = False
            job.close(self.spinning)
        if job.error is not None:
            raise job.error

    def stop(self) -> None:
        """End the threads after the jobs in the queue."""
        for _ in range(self.count):
            self._jobs.put(None)
        self._generation += 1

    def _serve(self) -> None:
        _local.busy = True
        while (job := self._jobs.get()) is not None:
            departed = job.departed if job.help() else None
            del job  # the arrays that its task refers to can be freed now
            if self.spinning:
                with importing_numba:
                    from minidl.kernels.runtime.spin_wait import depart_and_spin

                seen = int(self._generation[0])  # read before the queue, or a wake-up could be lost
                depart_and_spin(departed, self._generation, seen if self._jobs.empty() else -1)


class _Job:
    """The tasks of one call of ``run``, and the helpers that execute them."""

    def __init__(self, task: Callable[[int], object], count: int):
        self.task, self.count = task, count
        self.numbers = itertools.count()
        self.error: BaseException | None = None
        self.departed = np.zeros(1, np.int64)  # helpers that no longer need the GIL
        self._lock = threading.Lock()
        self._helpers, self._joined, self._closed = 0, 0, False
        self._all_done = threading.Lock()  # released by the last helper
        self._all_done.acquire()

    def work(self) -> None:
        # The training loop reports infinite numbers. NumPy's setting is local to a thread.
        with np.errstate(over="ignore", invalid="ignore"):
            while (i := next(self.numbers)) < self.count:
                self.task(i)

    def help(self) -> bool:
        """Work in a thread other than the caller's, unless the job is closed."""
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
                self._all_done.release()
        return True

    def close(self, spinning: bool) -> None:
        """Accept no more helpers, and wait for the active ones, even after Ctrl-C."""
        interrupt = None
        with self._lock:
            self._closed = True
            waiting = self._helpers > 0
        while waiting:
            try:
                if not (spinning and self._spin_until_departed()):
                    self._all_done.acquire()
                waiting = False
            except KeyboardInterrupt as error:
                interrupt, self.count = error, 0
        if interrupt is not None:
            raise interrupt

    def _spin_until_departed(self) -> bool:
        with importing_numba:
            from minidl.kernels.runtime.spin_wait import spin_until_equal

        return spin_until_equal(self.departed, self._joined)
