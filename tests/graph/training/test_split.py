"""Splitting of a partly frozen network into features and a head."""

import numpy as np
import pytest

from minidl import Input, Model, Sequential, layers
from minidl.graph.training.split import split_frozen, trainable_flags

X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def stack(*before):
    base = [layers.Dense(3, name="base"), layers.ReLU(name="relu")]
    head = [layers.Dropout(0.5, name="drop"), layers.Dense(2, name="head")]
    model = Sequential([Input((4,), name="in"), *before, *base, *head])
    model.get_layer("base").trainable = False
    return model


def names(network):
    return [layer.name for layer in network.layers]


def test_the_features_end_below_the_first_random_or_trainable_layer():
    model = stack()
    split = split_frozen(model)
    assert names(split.features) == ["in", "base", "relu"]
    assert names(split.head)[1:] == ["drop", "head"]
    assert not split.is_random
    np.testing.assert_array_equal(split.head.infer(split.features.infer(X)), model.infer(X))


def test_there_is_no_split_without_a_frozen_or_a_trainable_layer():
    model = stack()
    model.unfreeze()
    assert split_frozen(model) is None
    model.freeze()
    assert split_frozen(model) is None


@pytest.mark.parametrize("random_input", [False, True])
def test_augmentation_belongs_to_the_features_on_request_only(random_input):
    model = stack(layers.Dropout(0.1, name="augment"))
    split = split_frozen(model, random_input)
    if not random_input:
        assert split is None  # the random layer is below all frozen ones
    else:
        assert names(split.features) == ["in", "augment", "base", "relu"]
        assert names(split.head)[1:] == ["drop", "head"]
        assert split.is_random


def test_a_head_may_read_several_features():
    x = Input((4,))
    low = layers.Dense(3, trainable=False)(x)
    high = layers.ReLU()(low)
    joined = layers.Concatenate()([layers.Dense(2)(low), layers.Dense(2)(high)])
    model = Model(x, layers.Dense(1)(joined))
    split = split_frozen(model)
    assert len(split.features.outputs) == 2
    np.testing.assert_array_equal(split.head.infer(split.features.infer(X)), model.infer(X))


def test_flags_change_with_the_frozen_layers():
    model = stack()
    flags = split_frozen(model).flags
    assert flags == trainable_flags(model)
    model.unfreeze()
    assert flags != trainable_flags(model)
