"""Aligned arrays, and memory that is retained during training and returned afterwards."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from minidl import Input, Sequential, layers
from minidl.kernels.runtime import memory
from minidl.training import find_learning_rate

CODE = """
import resource
import numpy as np
from minidl.kernels.runtime.memory import retain_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**24, np.uint8)[:] = 2
        np.ones(2**26, np.uint8)[:] = 2
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
with retain_freed_memory():
    faults()
    retained = faults()
    held = resident()
print(before, retained, held - resident(), faults())
"""

needs_glibc = pytest.mark.skipif(memory._glibc() is None, reason="not glibc")


@pytest.fixture
def thresholds(monkeypatch):
    """Record the values that are passed to mallopt, in place of the calls."""
    calls = []
    monkeypatch.setattr(memory, "_set_thresholds", calls.append)
    return calls


@pytest.mark.parametrize("shape", [(3, 5), (1,), (0, 4), ()])
def test_arrays_are_aligned(shape):
    arrays = [memory.aligned(shape, "float32") for _ in range(5)]
    assert {a.ctypes.data % memory.CACHE_LINE for a in arrays if a.size} <= {0}
    assert {(a.shape, a.dtype, a.flags.c_contiguous) for a in arrays} == {
        (shape, np.dtype("float32"), True)
    }


@needs_glibc
def test_memory_is_retained_inside_the_block_and_returned_after_it():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    before, retained, returned, after = map(float, done.stdout.split())
    assert retained < before / 10
    assert returned > 60  # MiB; the larger array alone has 64
    assert after > 2**26 / 2**16  # page faults: the thresholds are no longer infinite


def test_only_the_outermost_block_sets_and_restores(thresholds):
    with memory.retain_freed_memory(), memory.retain_freed_memory():
        assert thresholds == [memory.RETAINING]
    assert thresholds == [memory.RETAINING, memory.DEFAULT]


def test_an_exception_restores(thresholds):
    with pytest.raises(KeyError), memory.retain_freed_memory():
        raise KeyError
    assert thresholds == [memory.RETAINING, memory.DEFAULT]


def test_blocks_of_several_threads_are_counted(thresholds):
    entered, leave = threading.Event(), threading.Event()

    def train():
        with memory.retain_freed_memory():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=train)
    with memory.retain_freed_memory():
        thread.start()
        entered.wait(30)
    assert thresholds == [memory.RETAINING]
    leave.set()
    thread.join(30)
    assert thresholds == [memory.RETAINING, memory.DEFAULT]


def test_a_loop_of_blocks_trims_only_on_request(monkeypatch, thresholds):
    trimmed = []
    monkeypatch.setattr(memory, "trim_heap", lambda: trimmed.append(True))
    with memory.retain_freed_memory(trim=False):
        pass
    assert trimmed == []
    with memory.retain_freed_memory():
        pass
    assert trimmed == [True]


def test_nothing_happens_without_glibc(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    memory._glibc.cache_clear()
    with memory.retain_freed_memory():
        assert memory._glibc() is None
    memory._glibc.cache_clear()


@pytest.mark.parametrize(
    "train",
    [
        lambda model, x, y: model.fit(x, y, verbose=0),
        lambda model, x, y: model.train_on_batch(x, y),
        lambda model, x, y: find_learning_rate(model, x, y, verbose=0),
    ],
    ids=["fit", "train_on_batch", "find_learning_rate"],
)
def test_training_retains_memory_and_restores_the_thresholds(train, thresholds):
    model = Sequential([Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    train(model, np.ones((4, 2)), np.ones((4, 1)))
    assert thresholds == [memory.RETAINING, memory.DEFAULT]
