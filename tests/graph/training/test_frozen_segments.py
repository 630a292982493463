"""Frozen parts in training: through the plan, without caches, and only where that is right."""

import numpy as np
import pytest

from minidl import Input, Model, Sequential, layers
from minidl.graph.training.frozen_segments import FrozenSegment

X = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype(np.float32)
Y = np.arange(6) % 2


def frozen_base_model(*before):
    base = [layers.Conv2D(4, 3, name="low"), layers.BatchNormalization(name="norm"), layers.ReLU()]
    stack = [Input((8, 8, 2)), *before, *base, layers.Conv2D(3, 3, name="high")]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(1)]
    model = Sequential([*stack, *head])
    model.freeze(until="high")
    model.compile("sgd", "mse")
    return model


def segments(model):
    """Return the names of the layers in each frozen part of a training step."""
    executor = model._executor
    order = executor.execution_order(executor._needs_gradient(need_dx=False), training=True)
    return [
        [model.nodes[i].layer.name for i in item.numbers]
        for item in order.items
        if isinstance(item, FrozenSegment)
    ]


def test_the_frozen_part_runs_through_the_plan_and_the_head_does_not():
    low = ["low", "norm", "re_lu", "high", "global_average_pooling2d"]
    assert segments(frozen_base_model()) == [low]


def test_random_layers_are_live_and_cut_the_frozen_part():
    model = frozen_base_model(layers.Rescaling(2.0), layers.RandomFlip())
    assert segments(model) == [
        ["rescaling"],
        ["low", "norm", "re_lu", "high", "global_average_pooling2d"],
    ]


def test_flags_act_at_the_next_step():
    model = frozen_base_model()
    before = model.get_weights()
    model.train_on_batch(X, Y)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [False] * 8 + [True] * 2
    model.unfreeze(from_layer="high")
    assert segments(model)[0] == ["low", "norm", "re_lu"]
    model.train_on_batch(X, Y)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [False] * 6 + [True] * 4


def test_a_trainable_batch_normalization_is_live_even_without_gamma_and_beta():
    stack = [Input((3,)), layers.BatchNormalization(center=False, scale=False), layers.Dense(1)]
    model = Sequential(stack)
    assert segments(model) == []
    model.get_layer("batch_normalization").trainable = False
    assert segments(model) == [["batch_normalization"]]


def test_a_frozen_part_trains_the_head_as_it_would_layer_by_layer():
    gradients = []
    for need_dx in (False, True):  # with need_dx nothing is left to the plan
        model = frozen_base_model()
        model.set_weights(
            [
                np.ones(w.shape)
                if w.path == "norm/moving_variance"
                else np.linspace(-1, 1, w.value.size).reshape(w.shape)
                for w in model.weights
            ]
        )
        model.get_layer("norm").set_weights([np.ones(4), np.ones(4), np.ones(4), np.ones(4)])
        y, tape = model.forward(X, training=True, rng=np.random.default_rng(1), need_dx=need_dx)
        gradients.append(model.backward(np.ones_like(y), tape, need_dx=need_dx)[1])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_layer_of_ones_own_is_left_live_unless_it_declares_otherwise():
    class Noise(layers.Layer):
        def forward(self, x, training=False, rng=None):
            return (x + rng.normal(size=x.shape) if training else x), None

        def backward(self, dy, cache, need_dx=True):
            return dy, []

    class Quiet(Noise):
        capabilities = layers.Capabilities(ignores_training=True)

    class LoudAgain(Quiet):
        def forward(self, x, training=False, rng=None):
            return super().forward(x, training, rng)

    for cls, expected in ((Noise, []), (Quiet, [["quiet"]]), (LoudAgain, [])):
        assert segments(Sequential([Input((3,)), cls(), layers.Dense(1)])) == expected


def test_branches_frozen_and_live():
    x = Input((4,))
    low = layers.Dense(3, name="low", trainable=False)(x)
    live = layers.Dense(3, name="live")(low)
    frozen = layers.Dense(3, name="frozen", trainable=False)(layers.Dropout(0.5, name="drop")(low))
    model = Model(x, layers.Add()([live, frozen]))
    assert segments(model) == [["low"], ["frozen"]]
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))


@pytest.mark.parametrize("seed", range(5))
def test_unfreezing_gives_back_the_exact_weights(seed):
    model = frozen_base_model()
    model.set_weights(
        [np.random.default_rng(seed).uniform(0.5, 1, w.shape) for w in model.get_weights()]
    )
    before = model.get_weights()
    model.evaluate(X, Y, verbose=0)
    model.forward(X, training=True, need_dx=False)
    model.unfreeze()
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
