"""Chains compute what their steps compute one by one, in whatever order threads come."""

import numpy as np
import pytest

from minidl.kernels.convolution.dispatch import convolve, prepare_kernel
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.geometry import Convolution, Window
from minidl.kernels.pooling import average_pool, max_pool
from minidl.kernels.runtime import thread_pool

RNG = np.random.default_rng(0)
SAME = Convolution((3, 3), padding="same")


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Memories:
    """Arrays, each a memory of its own."""

    def __init__(self):
        self.arrays = []

    def place(self, array):
        self.arrays.append(array)
        return TensorLocation(len(self.arrays) - 1, 0, array.shape)


def add(chain, algorithm, x, w, bias, convolution, relu, residual, y, channel=0):
    prepared = prepare_kernel(w, algorithm, convolution.groups)
    method = chain.convolve_winograd if algorithm == "winograd" else chain.convolve_direct
    method(x, prepared, bias, convolution, w.shape[3], relu, residual, y, channel)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_each_kind_of_step_computes_what_it_does_alone(threads):
    thread_pool.set_num_threads(threads)
    x, bias = normal(3, 11, 13, 20), normal(40)
    square, line = normal(3, 3, 20, 40), normal(1, 7, 40, 12)
    grouped, strided = normal(3, 3, 10, 40), Convolution((3, 3), (2, 2), groups=2)
    seven = Convolution((1, 7), padding="same")
    a = convolve(x, square, bias, SAME, True, algorithm="winograd")
    expected = [
        a,
        convolve(a, line, None, seven, algorithm="winograd"),
        convolve(a, normal_one, None, ONE, True, a, algorithm="direct"),
        convolve(x, grouped, bias, strided, algorithm="direct"),
        max_pool(a, Window((3, 3), (2, 2)))[0],
        average_pool(a, Window((3, 3), padding="same")),
    ]
    found = [np.full_like(y, np.nan) for y in expected]
    memories, chain = Memories(), Pipeline(threads)
    at, (y, *others) = memories.place(x), [memories.place(y) for y in found]
    add(chain, "winograd", at, square, bias, SAME, True, None, y)
    add(chain, "winograd", y, line, None, seven, False, None, others[0])
    add(chain, "direct", y, normal_one, None, ONE, True, y, others[1])
    add(chain, "direct", at, grouped, bias, strided, False, None, others[2])
    chain.pool("max", y, Window((3, 3), (2, 2)), others[3])
    chain.pool("average", y, Window((3, 3), padding="same"), others[4])
    chain.run(memories.arrays)
    for now, then in zip(found, expected, strict=True):
        np.testing.assert_array_equal(now, then)


ONE, normal_one = Convolution((1, 1)), normal(1, 1, 40, 40)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_long_chain_in_two_places_is_right_every_time(threads):
    # Each step reads what the last one wrote, and writes over what that one read.
    thread_pool.set_num_threads(threads)
    x, kernels = normal(2, 14, 14, 32), [normal(3, 3, 32, 32) / 17 for _ in range(12)]
    expected = x
    for w in kernels:
        expected = convolve(expected, w, None, SAME, algorithm="direct")
    arena, size = np.zeros(2 * x.size, np.float32), x.nbytes
    chain = Pipeline(threads)
    for i, w in enumerate(kernels):
        here, there = (TensorLocation(0, size * (j % 2), x.shape) for j in (i, i + 1))
        add(chain, "direct", here, w, None, SAME, False, None, there)
    assert chain.dependencies == list(range(12))
    for _ in range(50):
        arena[: x.size] = x.ravel()
        chain.run([arena])
        np.testing.assert_array_equal(arena[: x.size], expected.ravel())


def test_only_what_is_needed_is_waited_for():
    memories, chain = Memories(), Pipeline(2)
    x, a, b = (memories.place(normal(1, 8, 8, 4)) for _ in range(3))
    joined = memories.place(np.zeros((1, 8, 8, 8), np.float32))
    w = normal(3, 3, 4, 4)
    for place, to, channel in ((x, a, 0), (x, b, 0), (a, joined, 0), (b, joined, 4)):
        add(chain, "direct", place, w, None, SAME, False, None, to, channel)
    # Two branches, which do not wait for each other, not even where they are joined.
    assert chain.dependencies == [0, 0, 1, 2]
    add(chain, "direct", joined, normal(3, 3, 8, 4), None, SAME, False, None, a)  # all of it
    add(chain, "direct", b, w, None, SAME, False, None, x)  # over what the first two have read
    add(chain, "direct", a, w, None, SAME, False, b, b)  # over its own residual
    assert chain.dependencies[4:] == [4, 2, 6]


def test_half_of_a_memory_is_not_the_other_half():
    chain = Pipeline(2)
    places = [TensorLocation(0, 256 * i, (1, 4, 4, 4)) for i in range(4)]
    for x, y in ((0, 1), (2, 3), (3, 0)):
        chain.pool("max", places[x], Window((1, 1)), places[y])
    assert chain.dependencies == [0, 0, 2]
    chain.pool("max", places[0], Window((1, 1)), TensorLocation(0, 252, (1, 4, 4, 4)))
    assert chain.dependencies[3] == 3


def test_what_may_overlap_with_anything_is_waited_for():
    chain = Pipeline(2)
    shape = (1, 4, 4, 4)
    view = TensorLocation(1, 0, shape, may_overlap=True)
    places = [TensorLocation(0, 256 * i, shape) for i in range(3)]
    for x, y in ((places[0], places[1]), (view, places[2])):
        chain.pool("max", x, Window((1, 1)), y)
    chain.pool("max", places[0], Window((1, 1)), TensorLocation(0, 768, shape))
    assert chain.dependencies == [0, 1, 2]


def test_an_empty_batch_has_no_jobs():
    memories, chain = Memories(), Pipeline(2)
    x, y = normal(0, 8, 8, 32), np.empty((0, 8, 8, 32), np.float32)
    at, to = memories.place(x), memories.place(y)
    for algorithm in ("direct", "winograd"):
        add(chain, algorithm, at, normal(3, 3, 32, 32), None, SAME, False, None, to)
    chain.pool("max", to, Window((1, 1)), at)
    chain.run(memories.arrays)
