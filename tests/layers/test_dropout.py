"""Dropout: dropped fraction, scale, noise shape and seeds."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import Dropout

X = np.ones((200, 50), "float32")


def dropped(layer, x=X, seed=0):
    return layer.forward(x, training=True, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_fraction_is_dropped_and_the_rest_is_scaled_up(rate):
    y, cache = dropped(Dropout(rate))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-6)
    # 10,000 draws: five standard deviations are at most 0.025
    assert abs(kept.mean() - (1 - rate)) < 0.025
    dx, _ = Dropout(rate).backward(X, cache)
    np.testing.assert_array_equal(dx, y)  # backward drops the same values


def test_inference_and_a_rate_of_zero_are_the_identity():
    for layer, training in ((Dropout(0.5), False), (Dropout(0), True)):
        y, cache = layer.forward(X, training=training)
        assert y is X
        assert layer.backward(X, cache)[0] is X


def test_random_numbers_come_from_the_generator_of_the_step():
    layer = Dropout(0.5)
    np.testing.assert_array_equal(dropped(layer, seed=1)[0], dropped(layer, seed=1)[0])
    assert not np.array_equal(dropped(layer, seed=1)[0], dropped(layer, seed=2)[0])


def test_a_seed_changes_the_mask_which_also_differs_between_steps():
    one, other = Dropout(0.5, seed=1), Dropout(0.5, seed=2)
    np.testing.assert_array_equal(dropped(one)[0], dropped(Dropout(0.5, seed=1))[0])
    assert not np.array_equal(dropped(one)[0], dropped(other)[0])
    assert not np.array_equal(dropped(one, seed=1)[0], dropped(one, seed=2)[0])


def test_noise_shape_drops_along_an_axis_together():
    x = np.ones((8, 5, 4, 16))
    y, _ = dropped(Dropout(0.5, noise_shape=(None, 1, 1, None)), x)
    assert (y == y[:, :1, :1]).all()
    assert len(np.unique(y)) == 2


@pytest.mark.parametrize("noise_shape", [(None, 1), (None, 1, 1, 1), (None, 2, None)])
def test_a_noise_shape_that_does_not_fit_is_rejected(noise_shape):
    layer = Dropout(0.5, noise_shape, name="drop")
    with pytest.raises(ShapeError, match=r"Dropout 'drop': expected noise_shape .*\(2, 3, 4\)"):
        layer(np.ones((2, 3, 4)))


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "half", None, True])
def test_a_wrong_rate_is_rejected(rate):
    with pytest.raises(
        ValueError, match=f"Dropout 'drop'.*rate to be a number >= 0 and < 1, received {rate!r}"
    ):
        Dropout(rate, name="drop")
