"""The communicator: messages between the processes of MPI, with a time limit.

All messages are sent point to point, and all waiting is polling. Therefore a wait needs no
processor for itself, and ends with an error that names the rank that did not arrive. mpi4py is
imported only in a process that ``mpiexec`` or ``srun`` has started together with others.

>>> from minidl.distributed.communicator import current
>>> current().all_gather(7, "an example")
[7]
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np

from minidl.kernels.runtime import thread_pool

__all__ = ["Communicator", "DistributedError", "alone", "current", "launched_size", "set_timeout"]

# Variables of the launchers that hold the number of processes: MPICH and Intel MPI, Open MPI,
# MVAPICH, and steps of SLURM.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
POLLS = 200  # before the first pause: a short message arrives within some microseconds
PAUSE = 1e-4  # seconds

_timeout = 600.0  # seconds
_world: Communicator | None = None
_alone: ContextVar[bool] = ContextVar("alone", default=False)


class DistributedError(RuntimeError):
    """A rank did not arrive, or the ranks do not agree."""


class Communicator:
    """The processes of one training; this class is the case of a single one.

    Attributes
    ----------
    rank, size : int
        Number of this process, and number of all processes.
    """

    rank, size = 0, 1

    def send(self, array: np.ndarray, to: int, place: str) -> None:
        """Send a C-contiguous array; `place` is named if the other rank does not arrive."""
        raise NotImplementedError

    def receive(self, array: np.ndarray, source: int, place: str) -> None:
        """Overwrite a C-contiguous array with the one that the rank `source` sends."""
        raise NotImplementedError

    def broadcast(self, array: np.ndarray, root: int, place: str) -> None:
        """Overwrite the array on all ranks with that of the rank `root`."""

    def all_gather(self, value: Any, place: str) -> list[Any]:
        """Return the values of all ranks in their order."""
        return [value]

    def abort(self) -> None:
        """End the processes of all ranks."""

    def duplicate(self) -> Communicator:
        """Return a communicator of the same ranks whose messages are separate from this one's."""
        return self


class MPICommunicator(Communicator):
    """The processes that an MPI launcher has started.

    Parameters
    ----------
    mpi : module
        ``mpi4py.MPI``.
    comm : mpi4py.MPI.Comm
    """

    def __init__(self, mpi: Any, comm: Any) -> None:
        self.mpi, self.comm = mpi, comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()

    def send(self, array: np.ndarray, to: int, place: str) -> None:
        """Send a C-contiguous array."""
        self._wait(self.comm.Isend(_bytes(array), dest=to).Test, to, place)

    def receive(self, array: np.ndarray, source: int, place: str) -> None:
        """Overwrite a C-contiguous array with the one that the rank `source` sends."""
        self._wait(self.comm.Irecv(_bytes(array), source=source).Test, source, place)

    def broadcast(self, array: np.ndarray, root: int, place: str) -> None:
        """Send the array of the rank `root` to all others, along a binomial tree."""
        relative, distance = (self.rank - root) % self.size, 1
        while distance < self.size and not relative & distance:
            distance *= 2
        if relative:
            self.receive(array, (self.rank - distance) % self.size, place)
        while distance > 1:
            distance //= 2
            if relative + distance < self.size:
                self.send(array, (self.rank + distance) % self.size, place)

    def all_gather(self, value: Any, place: str) -> list[Any]:
        """Collect the values of all ranks at rank 0, which sends the list to all."""
        if self.rank == 0:
            values = [value, *(self._receive_value(r, place) for r in range(1, self.size))]
            data = _pickled(values)
            requests = [self.comm.Isend(data, dest=r) for r in range(1, self.size)]
            for r, request in enumerate(requests, start=1):
                self._wait(request.Test, r, place)
            return values
        self._wait(self.comm.Isend(_pickled(value), dest=0).Test, 0, place)
        return self._receive_value(0, place)

    def abort(self) -> None:
        """End the processes of all ranks."""
        self.comm.Abort(1)

    def duplicate(self) -> MPICommunicator:
        """Return a communicator whose messages are separate from this one's."""
        return MPICommunicator(self.mpi, self.comm.Dup())

    def _receive_value(self, source: int, place: str) -> Any:
        status = self.mpi.Status()
        self._wait(lambda: self.comm.Iprobe(source=source, status=status), source, place)
        data = np.empty(status.Get_count(self.mpi.BYTE), np.uint8)
        self._wait(self.comm.Irecv(data, source=source).Test, source, place)
        return pickle.loads(data.data)

    def _wait(self, done: Callable[[], bool], other: int, place: str) -> None:
        """Poll until a message has passed; raise if the other rank does not arrive in time."""
        for _ in range(POLLS):
            if done():
                return
        # Other ranks wait longer than rank 0, which knows better which rank is missing.
        limit = _timeout * (1 if self.rank == 0 else 1.2)
        start = time.monotonic()
        while not done():
            time.sleep(PAUSE)
            if time.monotonic() - start > limit:
                raise DistributedError(
                    f"rank {self.rank} waited {limit:g} s for rank {other} at: {place}. Look for "
                    f"what rank {other} did instead; set_timeout(seconds) allows more time."
                )


def current() -> Communicator:
    """Return the communicator of this process.

    Raises
    ------
    ImportError
        If several processes were started together, but mpi4py is missing.
    """
    global _world
    if _alone.get():
        return Communicator()
    if _world is None:
        count = launched_size(os.environ)
        _world = Communicator() if count == 1 else _connect(count)
    return _world


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Compute in this process alone inside the block, for example in one that only rank 0 runs.

    >>> from minidl import distributed
    >>> with distributed.alone():
    ...     distributed.size()
    1
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def set_timeout(seconds: float) -> None:
    """Set how long a rank waits for another one before all are ended; 600 s by default.

    >>> from minidl import distributed
    >>> distributed.set_timeout(600)
    """
    global _timeout
    if not seconds > 0:
        raise ValueError(f"set_timeout: expected seconds > 0, received {seconds!r}")
    _timeout = float(seconds)


def launched_size(variables: Mapping[str, str]) -> int:
    """Return the number of processes that an MPI launcher has started, 1 without a launcher.

    >>> launched_size({"PMI_SIZE": "4"}), launched_size({})
    (4, 1)
    """
    for name in SIZES:
        if variables.get(name, "").isdigit():
            return max(1, int(variables[name]))
    return 1


def _connect(count: int) -> Communicator:
    """Return the communicator of all processes, after the setup that several ranks need."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            f"minidl: started by an MPI launcher with {count} processes, but mpi4py cannot be "
            f"imported ({error}). Install it with: pip install 'minidl[mpi]'"
        ) from None
    if MPI.COMM_WORLD.Get_size() == 1:
        raise DistributedError(
            f"minidl: the launcher started {count} processes, but each is alone in mpi4py's MPI "
            f"({MPI.get_vendor()[0]}). Use the mpiexec of that MPI."
        )
    world = MPICommunicator(MPI, MPI.COMM_WORLD.Dup())
    sys.excepthook = _abort_on_exception(world)
    processors = sorted(_affinity())
    everyone = world.all_gather((socket.gethostname(), processors), "the first call")
    allowed = thread_pool.available_processors() / len(processors)  # a container's quota
    share = _processor_share(everyone, world.rank)
    thread_pool.set_default_threads(max(1, int(share * allowed + 1e-9)))
    return world


def _abort_on_exception(world: Communicator) -> Callable[..., None]:
    """Return an exception hook that prints the traceback and ends all ranks."""

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
        print("\n".join(f"[rank {world.rank}] {line}" for line in lines), file=sys.stderr)
        sys.stderr.flush()
        sys.stdout.flush()
        world.abort()

    return hook


def _affinity() -> set[int]:
    """Return the processors that this process may use."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # macOS, Windows
        return set(range(os.cpu_count() or 1))


def _processor_share(everyone: list[tuple[str, list[int]]], rank: int) -> float:
    """Return a rank's share of its host's processors, which the ranks that may use one divide.

    >>> _processor_share([("a", [0, 1, 2, 3]), ("a", [0, 1, 2, 3]), ("b", [0, 1, 2, 3])], 0)
    2.0
    >>> _processor_share([("a", [0, 1]), ("a", [2, 3])], 0)
    2.0
    """
    host, own = everyone[rank]
    neighbors = [processors for name, processors in everyone if name == host]
    return sum(1 / sum(p in processors for processors in neighbors) for p in own)


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _pickled(value: Any) -> np.ndarray:
    return np.frombuffer(pickle.dumps(value, protocol=5), np.uint8)
