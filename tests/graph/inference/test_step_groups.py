"""Step groups compute the same bits as their steps one by one."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minidl import Input, Model, layers
from minidl.graph.inference.memory_plan import Workspace
from minidl.graph.inference.step_groups import StepGroup
from minidl.kernels.runtime import thread_pool

RNG = np.random.default_rng(0)


def block(x, filters):
    """Branches that are joined, one by pooling; then an addition."""
    one = layers.Conv2D(filters, 1, padding="same", activation="relu")(x)
    lines = layers.Conv2D(filters, (1, 7), padding="same")(one)
    lines = layers.ReLU()(layers.BatchNormalization()(lines))
    lines = layers.Conv2D(filters, (7, 1), padding="same", activation="relu")(lines)
    pooled = layers.AveragePooling2D(3, 1, padding="same")(x)
    pooled = layers.Conv2D(filters, 1, activation="relu")(pooled)
    x = layers.Concatenate()([layers.Conv2D(filters, 3, padding="same")(x), lines, pooled])
    x = layers.Conv2D(3 * filters, 1)(x)
    shortcut = layers.Conv2D(3 * filters, 1)(one)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def network(outputs=1):
    x = Input((21, 19, 3))
    y = layers.MaxPooling2D(2, padding="same")(layers.Conv2D(32, 3, activation="relu")(x))
    first = block(y, 32)
    y = layers.Dropout(0.1)(block(first, 16))
    y = layers.Dense(5)(layers.GlobalAveragePooling2D()(y))
    model = Model(x, [y, first][:outputs] if outputs > 1 else y)
    model.set_weights([RNG.normal(size=a.shape) * 0.1 + (a == 1) for a in model.get_weights()])
    return model


def one_by_one(model, x):
    """Return the outputs of the plan's steps, run one by one."""
    prepared = model._plan.prepare([x.shape])
    workspace = Workspace(prepared.memory, np.empty(prepared.memory.size, np.uint8), [x])
    for step in prepared.graph.steps:
        step.execute(workspace)
    return [workspace.values[i].copy() for i in prepared.graph.outputs]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_same_bits_with_and_without(threads, batch):
    thread_pool.set_num_threads(threads)
    model = network(outputs=2)
    x = RNG.normal(size=(batch, 21, 19, 3)).astype(np.float32)
    model.infer(x)
    groups = [i for i in model._plan.prepare([x.shape]).step_groups() if isinstance(i, StepGroup)]
    assert max(len(group.steps) for group in groups) > 15
    for _ in range(20):
        for now, then in zip(model.infer(x), one_by_one(model, x), strict=True):
            assert_array_equal(now, then)


def test_callers_in_several_threads_do_not_disturb_each_other():
    thread_pool.set_num_threads(2)
    model = network()
    xs = [RNG.normal(size=(n, 21, 19, 3)).astype(np.float32) for n in (1, 1, 2, 3)]
    expected = [model.infer(x) for x in xs]
    wrong = []

    def call(x, y):
        for _ in range(20):
            if not np.array_equal(model.infer(x), y):
                wrong.append(len(x))

    threads = [threading.Thread(target=call, args=pair) for pair in zip(xs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_new_weights_are_used():
    model = network()
    x = RNG.normal(size=(1, 21, 19, 3)).astype(np.float32)
    before = model.infer(x)
    model.set_weights([2 * array for array in model.get_weights()])
    (expected,) = one_by_one(model, x)
    assert_array_equal(model.infer(x), expected)
    assert not np.allclose(before, expected)


def test_threads_without_a_processor_each_take_steps_one_by_one():
    thread_pool.set_num_threads(thread_pool.available_processors() + 1)
    model = network()
    prepared = model._plan.prepare([(1, 21, 19, 3)])
    assert not any(isinstance(item, StepGroup) for item in prepared.step_groups())


def test_float64_and_empty_batches():
    model = network()
    assert model.infer(np.zeros((0, 21, 19, 3), np.float32)).shape == (0, 5)
    x = RNG.normal(size=(1, 21, 19, 3))
    assert_array_equal(model.infer(x), model.infer(x.astype(np.float32)))


def test_a_view_is_read_before_what_it_shows_is_written_over():
    # A layer of one's own that returns a view: its memory is the arena's.
    class Halves(layers.Layer):
        def forward(self, x, training=False, rng=None):
            return x[: len(x)], None

    x = Input((16, 16, 8))
    y = layers.Conv2D(8, 3, padding="same")(x)
    y = Halves()(layers.Conv2D(8, 3, padding="same")(y))
    for _ in range(4):
        y = layers.Conv2D(8, 3, padding="same", activation="relu")(y)
    model = Model(x, y)
    thread_pool.set_num_threads(2)
    x = RNG.normal(size=(2, 16, 16, 8)).astype(np.float32)
    (expected,) = one_by_one(model, x)
    for _ in range(20):
        assert_array_equal(model.infer(x), expected)
