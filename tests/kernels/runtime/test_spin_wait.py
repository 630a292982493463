"""Spin-waits: they see the change of another thread, without the GIL, and end after a timeout."""

import threading
import time

import numpy as np
import pytest

from minidl.kernels.runtime import spin_wait
from minidl.kernels.runtime.spin_wait import depart_and_spin, spin_until_equal


def counter(value=0):
    return np.array([value])


def wait_until_one(generation):
    return spin_until_equal(generation, 1)


def wait_for_a_change(generation):
    return depart_and_spin(None, generation, seen=0)


waits = pytest.mark.parametrize("wait", [wait_until_one, wait_for_a_change])


def test_a_condition_that_holds_needs_no_waiting():
    assert spin_until_equal(counter(3), 3)
    assert depart_and_spin(None, counter(4), seen=3)


@waits
def test_the_change_of_another_thread_is_seen(wait, monkeypatch):
    monkeypatch.setattr(spin_wait, "TIMEOUT", 10_000_000)
    generation = counter()
    # The timer's thread needs the GIL to run.
    timer = threading.Timer(0.02, lambda: generation.__iadd__(1))
    timer.start()
    start = time.perf_counter()
    assert wait(generation)
    assert time.perf_counter() - start < 5
    timer.join()


@waits
def test_a_wait_ends_after_the_timeout(wait):
    wait(counter())  # compiles
    start = time.perf_counter()
    assert not wait(counter())
    assert 1e-6 * spin_wait.TIMEOUT / 10 < time.perf_counter() - start < 0.5


def test_a_departure_is_counted_once():
    departed, generation = counter(5), counter()
    depart_and_spin(departed, generation, 0)
    assert departed[0] == 6
    depart_and_spin(departed, generation, 1)
    assert departed[0] == 7
