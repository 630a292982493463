"""The memory plan: small, and no tensor is overwritten while it is needed."""

import numpy as np
import pytest
from support.inference import arena_size, image_network, randomize, run_layers

from minidl import Input, Model, Sequential, layers
from minidl.graph.inference.fusion import fuse
from minidl.graph.inference.memory_plan import MemoryPlan

RNG = np.random.default_rng(0)


def occupied(tensor):
    """Return the range of bytes of a tensor's storage."""
    return range(tensor.storage.offset, tensor.storage.offset + tensor.storage.nbytes)


@pytest.mark.parametrize("size", [12, 21])
def test_tensors_that_coexist_do_not_overlap(size):
    """Compare all pairs of tensors by the positions at which steps write and read them."""
    model = image_network()
    graph = fuse(model.nodes, model.output_numbers)
    memory = MemoryPlan(graph, {0: (2, size, size, 3)})
    last_read = {j: k for k, step in enumerate(graph.steps) for j in (step.number, *step.inputs)}
    written = {step.number: k for k, step in enumerate(graph.steps)}
    in_arena = {
        number: tensor
        for number, tensor in memory.tensors.items()
        if tensor.storage is not None and tensor.storage.offset is not None
    }
    assert len(in_arena) > 5
    for i, one in in_arena.items():
        assert occupied(one).stop <= memory.size
        for j, other in in_arena.items():
            if one.storage is other.storage:
                continue
            coexist = written[i] <= last_read[j] and written[j] <= last_read[i]
            disjoint = occupied(one).stop <= occupied(other).start
            disjoint = disjoint or occupied(other).stop <= occupied(one).start
            assert disjoint or not coexist


def test_tensors_are_released_after_their_last_read():
    model = image_network()
    graph = fuse(model.nodes, model.output_numbers)
    memory = MemoryPlan(graph, {0: (1, 12, 12, 3)})
    released = [number for step in graph.steps for number in memory.released[step.number]]
    assert sorted(released) == sorted(set(memory.tensors) - set(graph.outputs))
    for k, step in enumerate(graph.steps):
        later = {number for other in graph.steps[k + 1 :] for number in other.inputs}
        assert later.isdisjoint(memory.released[step.number])


def test_results_belong_to_the_caller():
    """Buffers are used again in the next call; what was returned must not change with them."""
    x = Input((4, 4, 2))
    y = layers.Conv2D(3, 1)(x)
    model = Model(x, [y, layers.Flatten()(layers.ReLU()(y)), layers.Flatten()(x)])
    first = model.infer(np.ones((2, 4, 4, 2), np.float32))
    kept = [item.copy() for item in first]
    model.infer(np.full((2, 4, 4, 2), 7, np.float32))
    for item, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(item, copy)


def test_buffers_are_shared_and_used_again():
    stack = [Input((32, 32, 4)), *[layers.Conv2D(4, 1) for _ in range(10)], layers.Flatten()]
    model = Sequential([*stack, layers.Dense(1)])
    x = np.ones((2, 32, 32, 4), np.float32)
    model.infer(x)
    one = 2 * 32 * 32 * 4 * 4
    assert arena_size(model, [x.shape]) == 2 * one
    (arena,) = model._plan._arenas
    model.infer(x)
    assert model._plan._arenas[0] is arena


def conv(x):
    return layers.Conv2D(8, 1)(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_takes_the_place_of_what_is_added(dtype):
    x = Input((6, 6, 8), dtype=dtype)
    y = layers.ReLU()(conv(x))
    for _ in range(3):
        y = layers.ReLU()(layers.Add()([y, conv(layers.ReLU()(conv(y)))]))
    images = RNG.normal(size=(3, 6, 6, 8)).astype(dtype)
    model = randomize(Model(x, layers.Flatten()(y)))
    np.testing.assert_allclose(model.infer(images), run_layers(model, images), rtol=1e-4, atol=1e-4)
    size = 6 * 6 * 8 * 3 * images.itemsize
    # Two instead of three: a block's input, which becomes its output, and what is in between.
    assert arena_size(model, [images.shape]) == (2 if dtype == "float32" else 3) * size


def read_later(x, y):
    return layers.Flatten()(layers.Concatenate()([layers.Add()([y, conv(y)]), y]))


def also_wanted(x, y):
    return [layers.Add()([y, conv(y)]), y]


class Same(layers.Layer):
    def forward(self, x, training=False, rng=None):
        return x, None


def its_own_view(x, y):
    return layers.Flatten()(layers.Add()([y, layers.Conv2D(8, 3, padding="same")(Same()(y))]))


def read_through_a_view(x, y):
    flat = layers.Flatten()(y)
    total = layers.Flatten()(layers.Add()([y, conv(x)]))
    return layers.Concatenate()([total, flat])


def the_callers(x, y):
    return layers.Flatten()(layers.Add()([x, conv(y)]))


@pytest.mark.parametrize(
    "ending", [read_later, also_wanted, its_own_view, read_through_a_view, the_callers]
)
def test_what_is_still_needed_is_not_overwritten(ending):
    x = Input((6, 6, 8))
    model = randomize(Model(x, ending(x, layers.ReLU()(conv(x)))))
    images = RNG.normal(size=(3, 6, 6, 8)).astype(np.float32)
    before = images.copy()
    results, expected = model.infer(images), run_layers(model, images)
    if not isinstance(results, list):
        results, expected = [results], [expected]
    for result, exact in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("stack", [[layers.Flatten()], [layers.Dropout(0.5)]])
def test_a_result_shares_no_memory_with_the_input(stack):
    x = np.ones((2, 3, 3), np.float32)
    y = Sequential([Input((3, 3)), *stack]).infer(x)
    y[...] = 7
    assert (x == 1).all()
