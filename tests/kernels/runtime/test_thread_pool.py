"""The thread pool: tasks, exceptions, the number of threads, the limit on BLAS, and forks."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from threadpoolctl import threadpool_info, threadpool_limits

from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.thread_pool import (
    available_processors,
    chunks,
    computing,
    get_num_threads,
    run,
    scratch,
    set_num_threads,
    spans,
)

TIMEOUT = 20  # seconds


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
def test_every_task_runs_exactly_once(threads, count):
    set_num_threads(threads)
    calls = np.zeros(count, int)

    def task(i):
        calls[i] += 1

    run(task, count)
    assert (calls == 1).all()


@pytest.mark.parametrize("threads", [2, 5])
def test_all_threads_work_at_the_same_time(threads):
    set_num_threads(threads)
    together = threading.Barrier(threads)
    run(lambda i: together.wait(TIMEOUT), threads)  # a missing thread breaks the barrier


def test_a_single_thread_is_the_calling_one():
    set_num_threads(1)
    seen = []
    run(lambda i: seen.append((i, threading.get_ident())), 3)
    assert seen == [(i, threading.get_ident()) for i in range(3)]


@pytest.mark.parametrize("in_caller", [True, False])
def test_an_exception_is_raised_after_all_threads_have_finished(in_caller):
    set_num_threads(2)
    caller, together, finished = threading.get_ident(), threading.Barrier(2), []

    def task(i):
        together.wait(TIMEOUT)  # one task on each thread
        if (threading.get_ident() == caller) is in_caller:
            raise KeyError("wrong")
        time.sleep(0.05)
        finished.append(i)

    with pytest.raises(KeyError, match="wrong"):
        run(task, 2)
    assert len(finished) == 1
    calls = []
    run(calls.append, 10)  # the pool has survived
    assert sorted(calls) == list(range(10))


def test_a_nested_run_is_serial_and_in_order():
    set_num_threads(3)
    order = {i: [] for i in range(6)}

    def task(i):
        thread = threading.get_ident()
        run(lambda j: order[i].append((j, threading.get_ident() == thread)), 4)

    run(task, 6)
    assert all(calls == [(j, True) for j in range(4)] for calls in order.values())


def test_the_caller_is_no_worker_after_a_run():
    set_num_threads(2)
    with pytest.raises(ZeroDivisionError):
        run(lambda i: 1 // 0, 2)
    together = threading.Barrier(2)
    run(lambda i: together.wait(TIMEOUT), 2)  # would hang if it ran as a nested call


def test_several_threads_may_call_run():
    set_num_threads(3)
    sums = np.zeros((4, 50))

    def user(k):
        for _ in range(5):
            run(lambda i: sums[k].__setitem__(i, sums[k, i] + 1), 50)

    users = [threading.Thread(target=user, args=(k,)) for k in range(4)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join(TIMEOUT)
    assert (sums == 5).all()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True, None])
def test_an_invalid_number_of_threads_is_rejected(wrong):
    before = get_num_threads()
    with pytest.raises(ValueError, match=f"expected an integer >= 1, received {wrong!r}"):
        set_num_threads(wrong)
    assert get_num_threads() == before


def test_numpy_integers_are_accepted():
    set_num_threads(np.int64(3))
    assert get_num_threads() == 3


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.parametrize("value", ["3", " 3 "])
def test_the_environment_variable_sets_the_threads(value):
    code = "import minidl; print(minidl.get_num_threads())"
    assert run_python(code, MINIDL_NUM_THREADS=value).stdout.split() == ["3"]


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5"])
def test_an_invalid_environment_variable_is_named(value, monkeypatch):
    monkeypatch.setattr(thread_pool, "_threads", None)
    monkeypatch.setenv("MINIDL_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"MINIDL_NUM_THREADS.*>= 1, received '{value}'"):
        get_num_threads()


def test_the_default_is_the_number_of_processors(monkeypatch):
    monkeypatch.setattr(thread_pool, "_threads", None)
    monkeypatch.setenv("MINIDL_NUM_THREADS", "")
    monkeypatch.setattr(thread_pool, "available_processors", lambda: 7)
    assert get_num_threads() == 7


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),  # one and a half, rounded up
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),  # more than the machine has
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_the_quota_of_a_container_limits_the_processors(files, processors, tmp_path, monkeypatch):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(thread_pool, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert available_processors() == processors


def test_all_processors_count_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(thread_pool, "_cgroup_quota", lambda: None)
    assert available_processors() == 6


def blas_threads():
    return {
        backend["num_threads"] for backend in threadpool_info() if backend["user_api"] == "blas"
    }


def test_blas_has_one_thread_inside_and_the_users_setting_after():
    with threadpool_limits(2, user_api="blas"):
        with computing():
            with computing():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == {2}
    with threadpool_limits(3, user_api="blas"):
        with pytest.raises(KeyError), computing():
            raise KeyError
        assert blas_threads() == {3}


def test_run_restores_blas_after_an_exception():
    set_num_threads(2)
    seen = []
    with threadpool_limits(2, user_api="blas"):
        run(lambda i: seen.append(blas_threads()), 2)
        assert seen == [{1}, {1}]
        assert blas_threads() == {2}
        with pytest.raises(ZeroDivisionError):
            run(lambda i: 1 // 0, 2)
        assert blas_threads() == {2}


def test_the_last_of_several_computations_restores_blas():
    entered, leave = threading.Event(), threading.Event()

    def user():
        with computing():
            entered.set()
            leave.wait(TIMEOUT)

    thread = threading.Thread(target=user)
    with threadpool_limits(2, user_api="blas"):
        with computing():
            thread.start()
            assert entered.wait(TIMEOUT)
        assert blas_threads() == {1}  # the other one is still computing
        leave.set()
        thread.join(TIMEOUT)
        assert blas_threads() == {2}


def test_any_thread_can_limit_blas():
    done, leave = threading.Event(), threading.Event()

    def user():
        with computing():
            pass
        done.set()
        leave.wait(TIMEOUT)  # stays alive

    thread = threading.Thread(target=user)
    thread.start()
    assert done.wait(TIMEOUT)
    with threadpool_limits(2, user_api="blas"):
        with computing():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
    leave.set()
    thread.join(TIMEOUT)


@thorough
@given(st.integers(0, 300), st.integers(1, 50))
def test_chunks_cover_a_range_without_gaps(length, at_most):
    parts = chunks(length, at_most)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(length))
    sizes = [stop - start for start, stop in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= at_most


@thorough
@given(st.integers(0, 300), st.integers(0, 50), st.integers(0, 80))
def test_spans_depend_on_the_length_alone(length, smallest, most):
    parts = spans(length, smallest, most)
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(length))
    assert len(parts) in (1, 2, 4, 8, 16, 32, 64)
    assert len(parts) >= min(2, length)
    if len(parts) > 2:
        assert len(parts) <= most
        assert min(stop - start for start, stop in parts) >= smallest
    set_num_threads(5)
    assert spans(length, smallest, most) == parts


def test_scratch_is_the_same_memory_each_time():
    first = scratch("test", (4, 5), np.float64)
    assert (first.shape, first.dtype, first.flags.c_contiguous) == ((4, 5), np.float64, True)
    smaller = scratch("test", (7,), np.float32)
    assert (smaller.shape, smaller.dtype) == ((7,), np.float32)
    assert np.shares_memory(first, smaller)
    assert not np.shares_memory(first, scratch("other", (4, 5), np.float64))
    larger = scratch("test", (100,), np.float64)
    larger[...] = 1  # the buffer is large enough
    assert np.shares_memory(larger, scratch("test", (4, 5), np.float64))


def test_each_thread_has_its_own_scratch():
    set_num_threads(2)
    together, buffers = threading.Barrier(2), []

    def task(i):
        buffers.append(scratch("test", (8,), np.float64))
        together.wait(TIMEOUT)

    run(task, 2)
    assert not np.shares_memory(*buffers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_can_compute():
    set_num_threads(3)
    a = np.random.default_rng(0).normal(size=(60, 60))
    results = np.zeros((2, 6))

    def compute(row):
        run(lambda i: results[row].__setitem__(i, (a @ a * i).sum()), 6)

    compute(0)
    together = threading.Barrier(3)
    run(lambda i: together.wait(TIMEOUT), 3)  # starts all threads of the pool
    time.sleep(0.05)  # until they are idle
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(TIMEOUT)
            compute(1)
            os._exit(0 if np.array_equal(results[0], results[1]) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_infinite_numbers_cause_no_warning_in_any_thread(threads):
    # pytest turns NumPy's warnings into errors.
    set_num_threads(threads)
    infinite = np.full((4, 4), np.inf)
    together = threading.Barrier(threads)

    def task(i):
        together.wait(TIMEOUT)
        assert np.isnan(np.matmul(infinite, -infinite) - infinite * 0).all()

    run(task, threads)
