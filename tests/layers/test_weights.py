"""The weights API is the same for a layer and for a network."""

import numpy as np
import pytest

from minidl import Input, Model, layers
from minidl.common.errors import ShapeError


def layer():
    made = layers.BatchNormalization(name="norm")
    made.build((None, 3))
    return made


def network():
    x = Input((3,))
    return Model(x, layers.BatchNormalization(name="norm")(x), name="pets")


@pytest.fixture(params=[layer, network])
def owner(request):
    return request.param()


def test_learned_parameters_come_before_statistics(owner):
    assert [p.name for p in owner.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [p.name for p in owner.trainable_weights] == ["gamma", "beta"]
    assert [p.name for p in owner.non_trainable_weights] == ["moving_mean", "moving_variance"]
    assert owner.count_params() == 12


def test_a_frozen_owner_has_no_trainable_weights(owner):
    owner.trainable = False
    assert owner.trainable_weights == []
    assert owner.non_trainable_weights == owner.weights


def test_get_weights_returns_copies(owner):
    owner.get_weights()[0][...] = 7
    np.testing.assert_array_equal(owner.get_weights()[0], np.ones(3))


def test_set_weights_copies_and_converts(owner):
    given = np.arange(12.0).reshape(4, 3)
    owner.set_weights(given)
    given[...] = -1
    np.testing.assert_array_equal(owner.get_weights(), np.arange(12, dtype="float32").reshape(4, 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros(3)] * 3, r"expected 4 arrays of shapes \[\(3,\), \(3,\), \(3,\), \(3,\)\], rec"),
        ([np.zeros(3)] * 9, r"received 9 of shapes \[(\(3,\), ){6}\.\.\.\]"),
        ([*[np.zeros(3)] * 3, [1]], r"shape \(3,\) for norm/moving_variance, received \(1,\)"),
    ],
)
def test_set_weights_changes_all_or_nothing(owner, arrays, message):
    before = owner.get_weights()
    with pytest.raises(ShapeError, match=message):
        owner.set_weights(arrays)
    np.testing.assert_array_equal(owner.get_weights(), before)
