"""Pipelines compute what their steps compute one by one, whenever threads join."""

import numpy as np
import pytest

from minidl.kernels.convolution.dispatch import convolve, prepare_kernel
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.geometry import Convolution, Window
from minidl.kernels.pooling import average_pool, max_pool
from minidl.kernels.runtime import thread_pool

RNG = np.random.default_rng(0)
SAME, ONE = Convolution((3, 3), padding="same"), Convolution((1, 1))


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Memories:
    """Arrays, each a memory of its own."""

    def __init__(self):
        self.arrays = []

    def locate(self, array):
        self.arrays.append(array)
        return TensorLocation(len(self.arrays) - 1, 0, array.shape)


def direct(w, convolution=SAME):
    return prepare_kernel(w, "direct", convolution)


def winograd(w, convolution=SAME):
    return prepare_kernel(w, "winograd", convolution)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_each_kind_of_step_computes_the_same_alone(threads):
    thread_pool.set_num_threads(threads)
    x, bias = normal(3, 11, 13, 20), normal(40)
    square, line, one = normal(3, 3, 20, 40), normal(1, 7, 40, 12), normal(1, 1, 40, 40)
    grouped, strided = normal(3, 3, 10, 40), Convolution((3, 3), (2, 2), groups=2)
    seven = Convolution((1, 7), padding="same")
    a = convolve(x, square, bias, SAME, True, algorithm="winograd")
    expected = [
        a,
        convolve(a, line, None, seven, algorithm="winograd"),
        convolve(a, one, None, ONE, True, a, algorithm="direct"),
        convolve(x, grouped, bias, strided, algorithm="direct"),
        max_pool(a, Window((3, 3), (2, 2)))[0],
        average_pool(a, Window((3, 3), padding="same")),
    ]
    found = [np.full_like(y, np.nan) for y in expected]
    memories, pipeline = Memories(), Pipeline(threads)
    source, (y, *others) = memories.locate(x), [memories.locate(y) for y in found]
    pipeline.convolve(source, winograd(square), bias, y, bounds=(0, np.inf))
    pipeline.convolve(y, winograd(line, seven), None, others[0])
    pipeline.convolve(y, direct(one, ONE), None, others[1], (0, np.inf), residual=y)
    pipeline.convolve(source, direct(grouped, strided), bias, others[2])
    pipeline.pool("max", y, Window((3, 3), (2, 2)), others[3])
    pipeline.pool("average", y, Window((3, 3), padding="same"), others[4])
    pipeline.run(memories.arrays)
    for now, then in zip(found, expected, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("threads", [2, 3])
def test_steps_that_alternate_between_two_buffers_are_ordered(threads):
    # Each step reads the output of the previous one and overwrites its input.
    thread_pool.set_num_threads(threads)
    x, kernels = normal(2, 14, 14, 32), [normal(3, 3, 32, 32) / 17 for _ in range(12)]
    expected = x
    for w in kernels:
        expected = convolve(expected, w, None, SAME, algorithm="direct")
    arena, size = np.zeros(2 * x.size, np.float32), x.nbytes
    pipeline = Pipeline(threads)
    for i, w in enumerate(kernels):
        source, target = (TensorLocation(0, size * (j % 2), x.shape) for j in (i, i + 1))
        pipeline.convolve(source, direct(w), None, target)
    assert pipeline.dependencies == list(range(12))
    for _ in range(50):
        arena[: x.size] = x.ravel()
        pipeline.run([arena])
        np.testing.assert_array_equal(arena[: x.size], expected.ravel())


def test_a_pipeline_runs_on_other_memories_and_grows():
    memories, pipeline, w = Memories(), Pipeline(2), normal(3, 3, 4, 4)
    x, y, z = (memories.locate(normal(1, 8, 8, 4)) for _ in range(3))
    pipeline.convolve(x, direct(w), None, y)
    pipeline.run(memories.arrays)
    pipeline.convolve(y, direct(w), None, z)
    arrays = [normal(1, 8, 8, 4) for _ in range(3)]
    pipeline.run(arrays)
    once = convolve(arrays[0], w, None, SAME, algorithm="direct")
    np.testing.assert_array_equal(arrays[1], once)
    np.testing.assert_array_equal(arrays[2], convolve(once, w, None, SAME, algorithm="direct"))


def test_branches_do_not_wait_for_each_other():
    memories, pipeline = Memories(), Pipeline(2)
    x, a, b = (memories.locate(normal(1, 8, 8, 4)) for _ in range(3))
    joined = memories.locate(np.zeros((1, 8, 8, 8), np.float32))
    kernel = direct(normal(3, 3, 4, 4))
    for source, target, channel in ((x, a, 0), (x, b, 0), (a, joined, 0), (b, joined, 4)):
        pipeline.convolve(source, kernel, None, target, channel=channel)
    # Not even where they write to channels of one tensor.
    assert pipeline.dependencies == [0, 0, 1, 2]
    pipeline.convolve(joined, direct(normal(3, 3, 8, 4)), None, a)  # reads both branches
    pipeline.convolve(b, kernel, None, x)  # overwrites what the first two steps read
    pipeline.convolve(a, kernel, None, b, residual=b)  # overwrites its own residual
    assert pipeline.dependencies[4:] == [4, 2, 6]


def test_parts_of_a_memory_are_told_apart():
    pipeline = Pipeline(2)
    locations = [TensorLocation(0, 256 * i, (1, 4, 4, 4)) for i in range(4)]
    for x, y in ((0, 1), (2, 3), (3, 0)):
        pipeline.pool("max", locations[x], Window((1, 1)), locations[y])
    assert pipeline.dependencies == [0, 0, 2]
    overlapping = TensorLocation(0, 252, (1, 4, 4, 4))
    pipeline.pool("max", locations[0], Window((1, 1)), overlapping)
    assert pipeline.dependencies[3] == 3


def test_a_view_makes_steps_wait_for_all_memories():
    pipeline = Pipeline(2)
    shape = (1, 4, 4, 4)
    view = TensorLocation(1, 0, shape, may_overlap=True)
    locations = [TensorLocation(0, 256 * i, shape) for i in range(4)]
    pipeline.pool("max", locations[0], Window((1, 1)), locations[1])
    pipeline.pool("max", view, Window((1, 1)), locations[2])
    pipeline.pool("max", locations[0], Window((1, 1)), locations[3])
    assert pipeline.dependencies == [0, 1, 2]


def test_an_empty_batch_has_no_jobs():
    memories, pipeline = Memories(), Pipeline(2)
    x, y = (memories.locate(np.empty((0, 8, 8, 32), np.float32)) for _ in range(2))
    for prepare in (direct, winograd):
        pipeline.convolve(x, prepare(normal(3, 3, 32, 32)), None, y)
    pipeline.pool("max", y, Window((1, 1)), x)
    pipeline.run(memories.arrays)
