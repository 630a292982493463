"""Ranks for tests: processes of MPI, or threads of this process with queues between them."""

import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from minidl.distributed.communicator import Communicator

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120  # seconds


def run_ranks(size, code, *arguments, **variables):
    """Run Python code in `size` processes of MPI and return the completed process."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("mpiexec is missing: pip install 'minidl[mpi]'")
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}
    command = [mpiexec, "-n", str(size), sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def output_of_ranks(size, code, *arguments, **variables):
    """Return the lines that the ranks have printed, sorted; fail if a rank failed."""
    done = run_ranks(size, code, *arguments, **variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return sorted(done.stdout.splitlines())


class ThreadCommunicator(Communicator):
    """A rank that is a thread of this process."""

    def __init__(self, rank, size, queues):
        self.rank, self.size, self.queues = rank, size, queues
        self.sent = 0  # bytes

    def send(self, array, to, place):
        self.sent += array.nbytes
        self.queues[self.rank, to].put(array.copy())

    def receive(self, array, source, place):
        received = self.queues[source, self.rank].get(timeout=TIMEOUT)
        assert (received.shape, received.dtype) == (array.shape, array.dtype)
        array[...] = received

    def broadcast(self, array, root, place):
        if self.rank == root:
            for other in set(range(self.size)) - {root}:
                self.send(array, other, place)
        else:
            self.receive(array, root, place)


def in_threads(size, function):
    """Return ``[function(communicator) for each rank]``, computed at the same time."""
    queues = {(a, b): queue.SimpleQueue() for a in range(size) for b in range(size)}
    ranks = [ThreadCommunicator(rank, size, queues) for rank in range(size)]
    results = [None] * size

    def work(rank):
        results[rank] = function(ranks[rank])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    return results


def tree_reference(values):
    """Return the sum of a list in the order of the binary tree, written recursively."""
    if len(values) == 1:
        return values[0]
    half = 1
    while 2 * half < len(values):
        half *= 2
    return np.add(tree_reference(values[:half]), tree_reference(values[half:]))
