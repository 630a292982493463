"""Initializers: variance and limits of each formula, seeds and names."""

import math

import numpy as np
import pytest

from minidl.layers import Dense, initializers
from minidl.layers.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Ones,
    RandomNormal,
    RandomUniform,
    VarianceScaling,
    Zeros,
    compute_fans,
)

SHAPE = (3, 3, 40, 60)  # fan in 360, fan out 540, 21,600 numbers
IN, OUT = 360, 540


def draw(initializer, shape=SHAPE, seed=0):
    return initializer(shape, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("initializer", "variance", "limit"),
    [
        (GlorotUniform(), 2 / (IN + OUT), math.sqrt(6 / (IN + OUT))),
        (GlorotNormal(), 2 / (IN + OUT), None),
        (HeUniform(), 2 / IN, math.sqrt(6 / IN)),
        (HeNormal(), 2 / IN, None),
        (LecunUniform(), 1 / IN, math.sqrt(3 / IN)),
        (LecunNormal(), 1 / IN, None),
        (VarianceScaling(3, "fan_out"), 3 / OUT, None),
        (VarianceScaling(3, "fan_out", "untruncated_normal"), 3 / OUT, math.inf),
        (RandomNormal(), 0.05**2, math.inf),
        (RandomUniform(), 0.1**2 / 12, 0.05),
    ],
    ids=lambda value: type(value).__name__,
)
def test_variance_and_limits(initializer, variance, limit):
    x = draw(initializer)
    if limit is None:  # a normal distribution truncated at two standard deviations
        limit = 2 * math.sqrt(variance) / 0.8796
    # Five standard deviations of the variance of 21,600 numbers, sqrt(2 / 21,600) = 1 %.
    assert x.var() == pytest.approx(variance, rel=0.05)
    assert abs(x.mean()) < 5 * math.sqrt(variance / x.size)
    assert np.abs(x).max() <= limit
    assert limit == math.inf or np.abs(x).max() > 0.98 * limit
    assert x.dtype == np.float64


@pytest.mark.parametrize(
    ("shape", "fans"),
    [
        ((), (1, 1)),
        ((5,), (5, 5)),
        ((4, 7), (4, 7)),
        ((3, 2, 4, 7), (24, 42)),
        ((3, 3, 8, 1), (72, 9)),
    ],
)
def test_fans_are_keras(shape, fans):
    assert compute_fans(shape) == fans


def test_constants():
    assert (draw(Constant(2.5), (2, 3)) == 2.5).all()
    assert (draw(Zeros(), (2, 3)) == 0).all()
    assert (draw(Ones(), (2, 3)) == 1).all()
    assert draw(RandomNormal(mean=10)).mean() == pytest.approx(10, abs=0.01)
    x = draw(RandomUniform(3, 4))
    assert 3 <= x.min() < 3.01 < 3.99 < x.max() <= 4


def test_values_depend_on_the_seed_if_given_else_on_the_generator():
    seeded = HeNormal(seed=5)
    np.testing.assert_array_equal(draw(seeded, seed=1), draw(seeded, seed=2))
    np.testing.assert_array_equal(draw(HeNormal(), seed=1), draw(HeNormal(), seed=1))
    assert not np.array_equal(draw(HeNormal(), seed=1), draw(HeNormal(), seed=2))


def test_the_global_seed_makes_layers_reproducible():
    import minidl

    kernels = []
    for seed in (1, 1, 2):
        minidl.set_random_seed(seed)
        layer = Dense(4)
        layer.build((None, 3))
        kernels.append(layer.kernel.value)
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])


@pytest.mark.parametrize("name", ["he_normal", "HeNormal", "henormal", HeNormal, HeNormal()])
def test_names_classes_and_objects_are_accepted(name):
    assert isinstance(initializers.get(name), HeNormal)


def test_arguments_are_restored_from_the_configuration():
    layer = Dense(2, kernel_initializer=VarianceScaling(0.5, "fan_out", seed=3))
    copy = Dense.from_config(layer.get_config())
    for each in (layer, copy):
        each.build((None, 3))
    np.testing.assert_array_equal(copy.kernel.value, layer.kernel.value)


def test_unknown_names_are_rejected():
    with pytest.raises(ValueError, match="initializer: expected one of zeros, ones.*received 'he'"):
        initializers.get("he")
    with pytest.raises(
        TypeError, match="initializer: expected a name or a Initializer, received 3"
    ):
        initializers.get(3)
    with pytest.raises(ValueError, match="mode to be .* received 'fan'"):
        VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="distribution to be .* received 'normal'"):
        VarianceScaling(distribution="normal")
