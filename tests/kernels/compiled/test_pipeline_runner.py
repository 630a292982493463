"""The compiled runner of pipelines: jobs, dependencies and counters."""

import threading

import numpy as np

from minidl.kernels.compiled.pipeline_runner import run_pipeline
from minidl.kernels.convolution.step_tables import (
    CONVOLUTION,
    DEPTHWISE,
    JOB,
    MAX_POOL,
    POOLING,
    STEP,
)
from minidl.kernels.geometry import Window

BUFFERS = [np.empty(0, np.float32)] * 3


def pooling_tables(steps, rows):
    """Return tables of steps that each copy the previous tensor, one row of it per job."""
    geometry = Window((1, 1)).loop_geometry(rows, 3)
    poolings = [((i, 0, 1, rows, 3, 2), (i + 1, 0, 1, rows, 3, 2), geometry) for i in range(steps)]
    table = [(MAX_POOL, i, i, rows) for i in range(steps)]
    jobs = [(step, 0, row, row + 1, 0, 0) for step in range(steps) for row in range(rows)]
    return (
        np.array(table, STEP),
        np.empty(0, CONVOLUTION),
        np.empty(0, DEPTHWISE),
        np.array(poolings, POOLING),
        np.array(jobs, JOB),
    )


def memories_of(x, steps):
    tensors = [x, *(np.zeros_like(x) for _ in range(steps))]
    return tensors, np.array([tensor.ctypes.data for tensor in tensors])


def test_each_job_is_executed_once_and_counted():
    x = np.random.default_rng(0).normal(size=(1, 4, 3, 2)).astype(np.float32)
    tensors, addresses = memories_of(x, 5)
    completed, next_job = np.zeros(5, np.int64), np.zeros(1, np.int64)
    run_pipeline(*pooling_tables(5, 4), addresses, completed, next_job, *BUFFERS)
    np.testing.assert_array_equal(tensors[-1], x)
    assert completed.tolist() == [4] * 5
    assert next_job[0] == 4 * 5 + 1  # one more for the thread that found no job


def test_jobs_taken_before_are_not_executed_again():
    x = np.ones((1, 4, 3, 2), np.float32)
    tensors, addresses = memories_of(x, 1)
    completed, next_job = np.array([3]), np.array([3])
    run_pipeline(*pooling_tables(1, 4), addresses, completed, next_job, *BUFFERS)
    assert (tensors[1][:, :3] == 0).all()
    assert (tensors[1][:, 3] == 1).all()


def test_a_job_waits_until_the_steps_before_are_complete():
    x = np.ones((1, 2, 3, 2), np.float32)
    tensors, addresses = memories_of(x, 2)
    tables = pooling_tables(2, 2)
    # All jobs of the first step are taken, as if by another thread that has not completed the last.
    completed, next_job = np.array([1, 0]), np.array([2])
    arguments = (*tables, addresses, completed, next_job, *BUFFERS)
    run_pipeline(*pooling_tables(1, 1), addresses, *np.zeros((2, 1), np.int64), *BUFFERS)
    thread = threading.Thread(target=run_pipeline, args=arguments)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    assert (tensors[2] == 0).all()
    tensors[1][...] = 5
    completed[0] = 2
    thread.join(30)
    assert not thread.is_alive()
    assert (tensors[2] == 5).all()


def test_several_threads_share_the_jobs():
    x = np.random.default_rng(0).normal(size=(1, 50, 3, 2)).astype(np.float32)
    tensors, addresses = memories_of(x, 20)
    completed, next_job = np.zeros(20, np.int64), np.zeros(1, np.int64)
    arguments = (*pooling_tables(20, 50), addresses, completed, next_job, *BUFFERS)
    threads = [threading.Thread(target=run_pipeline, args=arguments) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert next_job[0] == 20 * 50 + 3
    assert completed.tolist() == [50] * 20
    np.testing.assert_array_equal(tensors[-1], x)
