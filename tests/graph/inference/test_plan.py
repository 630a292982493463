"""The inference plan against the training executor: the same numbers, in less memory."""

import threading
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inference import arena_size, image_network, randomize, run_layers

from minidl import Input, Model, Sequential, layers
from minidl.common.errors import ShapeError
from minidl.graph.inference import plan

RNG = np.random.default_rng(0)


@given(
    batch=st.integers(1, 3), height=st.integers(5, 20), width=st.integers(5, 20),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_plan_computes_what_the_layers_compute(batch, height, width, seed):
    model = image_network()
    x = np.random.default_rng(seed).uniform(0, 255, (batch, height, width, 3))
    np.testing.assert_allclose(model.infer(x), run_layers(model, x), rtol=1e-10)


@pytest.mark.parametrize("change", ["assign", "set_weights", "in place", "training"])
def test_changed_weights_are_seen(change):
    stack = [Input((6, 6, 1)), layers.Conv2D(2, 3), layers.BatchNormalization(), layers.Flatten()]
    model = randomize(Sequential([*stack, layers.Dense(1)]))
    model.compile("sgd", "mse")
    x = RNG.normal(size=(4, 6, 6, 1)).astype(np.float32)
    before = model.infer(x)
    if change == "assign":
        model.weights[0].assign(model.weights[0].value * 2)
    elif change == "set_weights":
        model.get_layer("batch_normalization").set_weights([np.full(2, 3.0)] * 4)
    elif change == "in place":
        with model.weights[0].editing() as kernel:
            kernel *= 2
    else:
        model.train_on_batch(x, np.ones((4, 1)))
    after = model.infer(x)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, run_layers(model, x), rtol=1e-4, atol=1e-5)


def test_several_threads_may_predict_at_a_time():
    model = image_network()
    xs = [RNG.uniform(0, 255, (2, 12 + i % 3, 16, 3)) for i in range(8)]
    expected = [model.infer(x) for x in xs]
    results = [None] * len(xs)

    def work(i):
        results[i] = [model.infer(xs[i]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, wanted in zip(results, expected, strict=True):
        for y in result:
            np.testing.assert_array_equal(y, wanted)


def test_images_that_do_not_fit_are_refused_by_name():
    x = Input((None, None, 2))
    y = layers.Add(name="sum")([layers.Conv2D(2, 3, name="small")(x), x])
    with pytest.raises(ShapeError, match="'sum'"):
        Model(x, y).infer(np.zeros((1, 6, 6, 2)))
    net = Model(x, layers.ReLU()(layers.Conv2D(2, 3, name="small")(x)))
    with pytest.raises(ShapeError, match="'small'"):
        net.infer(np.zeros((1, 2, 2, 2)))


@pytest.mark.parametrize("batch", [2, 5])
def test_a_large_batch_is_computed_in_parts(batch, monkeypatch):
    model = image_network()
    x = RNG.uniform(0, 255, (batch, 12, 16, 3))
    whole = model.infer(x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", arena_size(model, [(1, 12, 16, 3)]))
    np.testing.assert_allclose(model.infer(x), whole, rtol=1e-10)
    assert max(arena.size for arena in model._plan._arenas) <= arena_size(model, [x.shape])
    model._plan._arenas.clear()
    model.infer(x)
    assert model._plan._arenas[0].size == plan.ARENA_LIMIT


class Counting(layers.Dense):
    """Notes the batches that it sees."""

    seen: ClassVar[list[int]] = []

    def infer(self, x, out=None):
        self.seen.append(len(x))
        return super().infer(x, out)


def narrowing(tap_low=False):
    """Wide images below, a dense layer above; nothing but a pooling's output in between."""
    x = Input((16, 16, 4))
    low = y = layers.ReLU()(layers.Conv2D(16, 3, padding="same")(x))
    y = layers.Add()([y, layers.Conv2D(16, 1)(y)])
    y = layers.MaxPooling2D(4)(y)
    for _ in range(2):
        y = layers.ReLU()(layers.Add()([y, layers.Conv2D(16, 3, padding="same")(y)]))
    y = Counting(3)(layers.Flatten()(y))
    return randomize(Model(x, [y, layers.GlobalAveragePooling2D()(low)] if tap_low else y))


def test_of_a_large_batch_only_the_wide_layers_are_computed_in_parts(monkeypatch):
    model = narrowing()
    x = RNG.normal(size=(12, 16, 16, 4)).astype(np.float32)
    whole = model.infer(x)
    one = 2 * 16 * 16 * 16 * 4  # of one sample: what the widest step reads and writes
    monkeypatch.setattr(plan, "ARENA_LIMIT", 4 * one)
    model._plan._arenas.clear()
    Counting.seen.clear()
    np.testing.assert_allclose(model.infer(x), whole, rtol=1e-4, atol=1e-4)
    assert Counting.seen == [12]
    (arena,) = model._plan._arenas
    assert arena.size <= plan.ARENA_LIMIT
    # Where parameters change, the parts are made anew.
    model.layers[1].set_weights([2 * w for w in model.layers[1].get_weights()])
    np.testing.assert_allclose(model.infer(x), run_layers(model, x), rtol=1e-4, atol=1e-3)


def test_a_graph_that_does_not_narrow_is_computed_in_parts_as_a_whole(monkeypatch):
    model = narrowing(tap_low=True)
    x = RNG.normal(size=(12, 16, 16, 4)).astype(np.float32)
    whole = model.infer(x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", arena_size(model, [x.shape]) // 3)
    Counting.seen.clear()
    for part, expected in zip(model.infer(x), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-4)
    assert sum(Counting.seen) == 12
    assert len(Counting.seen) >= 3


def test_very_large_batches_go_through_some_at_a_time(monkeypatch):
    model = narrowing()
    x = RNG.normal(size=(12, 16, 16, 4)).astype(np.float32)
    whole = model.infer(x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", 8 * 16 * 16 * 16 * 4)
    monkeypatch.setattr(plan, "MAX_BATCH", 6)
    Counting.seen.clear()
    np.testing.assert_allclose(model.infer(x), whole, rtol=1e-4, atol=1e-4)
    assert Counting.seen == [6, 6]


def test_layers_of_ones_own_see_the_whole_batch(monkeypatch):
    class BatchMean(layers.Layer):
        def forward(self, x, training=False, rng=None):
            return x - x.mean(axis=0), None

    model = randomize(Sequential([Input((8, 8, 2)), layers.Conv2D(3, 3), BatchMean()]))
    x = RNG.normal(size=(4, 8, 8, 2)).astype(np.float32)
    expected = run_layers(model, x)
    monkeypatch.setattr(plan, "ARENA_LIMIT", 1)
    np.testing.assert_allclose(model.infer(x), expected, atol=1e-5)


def test_an_edit_of_a_single_weight_is_seen():
    model = randomize(Sequential([Input((9, 9, 8)), layers.Conv2D(7, 3), layers.ReLU()]))
    model = Model(model.input, layers.BatchNormalization()(model.output))
    x = RNG.normal(size=(2, 9, 9, 8)).astype(np.float32)
    model.infer(x)
    kernel = model.weights[0]
    with kernel.editing() as array:
        array[1, 2, 3, 4] = 50
    np.testing.assert_allclose(model.infer(x), run_layers(model, x), rtol=1e-3, atol=1e-4)
    kernel.assign(np.asfortranarray(np.full(kernel.shape, 5)))
    np.testing.assert_allclose(model.infer(x), run_layers(model, x), rtol=1e-3, atol=1e-2)
