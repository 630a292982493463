"""Worker threads: jobs, exceptions, Ctrl-C, and threads that end."""

import threading
import time
import weakref

import numpy as np
import pytest

from minidl.kernels.runtime.worker_threads import Workers, is_worker

TIMEOUT = 20  # seconds


@pytest.fixture(params=[False, True], ids=["sleeping", "spinning"])
def workers(request):
    created = Workers(2, spinning=request.param)
    yield created
    created.stop()


def workers_alive():
    return {thread for thread in threading.enumerate() if thread.name == "minidl"}


def test_tasks_run_on_the_workers_and_on_the_caller(workers):
    together, threads = threading.Barrier(3), set()

    def task(i):
        together.wait(TIMEOUT)
        threads.add(threading.get_ident())
        assert is_worker()

    for _ in range(3):
        workers.run(task, 3)
    assert len(threads) == 3
    assert threading.get_ident() in threads
    assert not is_worker()


def test_tasks_after_an_exception_are_skipped(workers):
    started = []

    def task(i):
        started.append(i)
        raise KeyError(i)

    with pytest.raises(KeyError):
        workers.run(task, 1000)
    assert len(started) <= 3  # one on each thread


def test_ctrl_c_in_a_task_is_raised_after_the_helpers_have_finished(workers):
    caller, together, finished = threading.get_ident(), threading.Barrier(2), []

    def task(i):
        together.wait(TIMEOUT)
        if threading.get_ident() == caller:
            raise KeyboardInterrupt
        time.sleep(0.05)
        finished.append(i)

    with pytest.raises(KeyboardInterrupt):
        workers.run(task, 2)
    assert len(finished) == 1


def test_idle_workers_keep_no_reference_to_the_last_task(workers):
    together = threading.Barrier(3)
    image = np.zeros(3)

    def make_task(image):
        return lambda i: (together.wait(TIMEOUT), image.sum())

    reference = weakref.ref(image)
    workers.run(make_task(image), 3)
    del image
    deadline = time.monotonic() + TIMEOUT
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert reference() is None


def test_stop_ends_the_threads():
    before = workers_alive()  # those of other tests may end at any time
    workers = Workers(3)
    started = workers_alive() - before
    assert len(started) == 3
    workers.stop()
    for thread in started:
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in started)
