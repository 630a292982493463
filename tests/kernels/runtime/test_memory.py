"""Freed memory: kept while training needs it again and again, given back in the end."""

import subprocess
import sys

import pytest

from minidl.kernels.runtime import memory

CODE = """
import resource
import numpy as np
from minidl.kernels.runtime import memory

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
memory.keep()
faults()
kept = faults()
held = resident()
memory.give_back()
print(before, kept, held - resident())
"""


@pytest.mark.skipif(memory._glibc() is None, reason="not glibc")
def test_memory_is_kept_and_given_back():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    before, kept, given_back = map(float, done.stdout.split())
    assert kept < before / 10
    assert given_back > 60


def test_elsewhere_than_on_glibc_nothing_happens(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    for function in (memory._glibc, memory.keep):
        function.cache_clear()
    memory.keep()
    memory.give_back()
    for function in (memory._glibc, memory.keep):
        function.cache_clear()
