"""Threads that look out for one another: without the GIL, and not for ever."""

import threading
import time

import numpy as np
import pytest

from minidl.kernels.runtime import spin_wait as module
from minidl.kernels.runtime.spin_wait import leave_and_watch, reaches


def counter(value=0):
    return np.array([value])


def later(function, seconds=0.02):
    thread = threading.Timer(seconds, function)
    thread.start()
    return thread


def test_what_is_so_already_needs_no_waiting():
    assert reaches(counter(3), 3)
    assert leave_and_watch(None, counter(4), seen=3)


@pytest.mark.parametrize("wait", [
    lambda bell: reaches(bell, 1), lambda bell: leave_and_watch(None, bell, 0)
])  # fmt: skip
def test_another_thread_is_seen_which_needs_the_gil(wait, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 10_000_000)
    bell = counter()
    thread = later(lambda: bell.__iadd__(1))
    start = time.perf_counter()
    assert wait(bell)
    assert time.perf_counter() - start < 5
    thread.join()


@pytest.mark.parametrize("wait", [
    lambda bell: reaches(bell, 1), lambda bell: leave_and_watch(None, bell, 0)
])  # fmt: skip
def test_patience_ends(wait):
    wait(counter())  # compiled
    start = time.perf_counter()
    assert not wait(counter())
    assert 1e-6 * module.PATIENCE / 10 < time.perf_counter() - start < 0.5


def test_leaving_is_counted_once():
    left, bell = counter(5), counter()
    leave_and_watch(left, bell, 0)
    assert left[0] == 6
    leave_and_watch(left, bell, 1)
    assert left[0] == 7
