"""SGD, RMSprop, Adam and AdamW against slow twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference_training as reference

from minidl import optimizers
from minidl.kernels import optimizers as kernels
from minidl.kernels.runtime import thread_pool
from minidl.layers import Layer, Parameter
from minidl.optimizers import SGD, Adam, AdamW, RMSprop

CONFIGURATIONS = [
    (SGD, {"learning_rate": 0.1}),
    (SGD, {"learning_rate": 0.1, "momentum": 0.9}),
    (SGD, {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    (RMSprop, {"learning_rate": 0.01}),
    (RMSprop, {"learning_rate": 0.01, "rho": 0.8, "momentum": 0.5}),
    (RMSprop, {"learning_rate": 0.01, "centered": True}),
    (RMSprop, {"learning_rate": 0.01, "momentum": 0.5, "centered": True, "epsilon": 1e-3}),
    (Adam, {"learning_rate": 0.01}),
    (Adam, {"learning_rate": 0.01, "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-4}),
    (Adam, {"learning_rate": 0.01, "amsgrad": True}),
    (AdamW, {"learning_rate": 0.01, "weight_decay": 0.1}),
]


def parameter(value, name="w", multiplier=1.0, dtype="float64"):
    layer = Layer(name="dense", learning_rate_multiplier=multiplier)
    return Parameter(name, np.array(value, dtype), layer=layer)


@pytest.mark.parametrize(("cls", "arguments"), CONFIGURATIONS)
@given(
    seed=st.integers(0, 2**32),
    shape=st.lists(st.integers(1, 4), max_size=3),
    decay=st.sampled_from([None, 0.3]),
)
def test_steps_match_the_obvious_formula(cls, arguments, seed, shape, decay):
    arguments = {"weight_decay": decay, **arguments}
    rng = np.random.default_rng(seed)
    w = parameter(rng.normal(size=shape))
    optimizer = cls(**arguments)
    twin = {"SGD": reference.SGD, "RMSprop": reference.RMSprop}.get(cls.__name__, reference.Adam)
    numbers = w.value.ravel().tolist()
    twins = [twin(**{**arguments, "weight_decay": arguments["weight_decay"] or 0}) for _ in numbers]
    for _ in range(4):
        gradient = rng.normal(size=shape)
        optimizer.apply([w], [gradient])
        pairs = zip(twins, numbers, gradient.ravel().tolist(), strict=True)
        numbers = [one.step(number, g) for one, number, g in pairs]
    assert w.value.shape == tuple(shape)
    np.testing.assert_allclose(w.value.ravel(), numbers, rtol=1e-10, atol=1e-12)
    assert optimizer.iterations == 4


@pytest.mark.parametrize(("cls", "arguments"), CONFIGURATIONS[5:9])
def test_big_arrays_are_split_into_chunks_with_the_same_result(cls, arguments):
    size = kernels.SERIAL + 3
    rng = np.random.default_rng(0)
    start, gradient = rng.normal(size=(2, size)).astype("float32")
    whole = parameter(start, dtype="float32")
    pieces = [
        parameter(part, f"w{i}", dtype="float32")
        for i, part in enumerate(np.split(start, [7, 999]))
    ]
    optimizer, other = cls(**arguments), cls(**arguments)
    for _ in range(2):
        optimizer.apply([whole], [gradient])
        other.apply(pieces, np.split(gradient, [7, 999]))
    expected = np.concatenate([piece.value for piece in pieces])
    np.testing.assert_allclose(whole.value, expected, rtol=1e-6, atol=1e-7)


def test_the_number_of_threads_does_not_change_a_bit():
    rng = np.random.default_rng(0)
    start, gradient = rng.normal(size=(2, kernels.SERIAL + 3)).astype("float32")
    results = []
    before = thread_pool.get_num_threads()
    try:
        for threads in (1, 2):
            thread_pool.set_num_threads(threads)
            w = parameter(start, dtype="float32")
            Adam(0.01, clipnorm=1.0).apply([w], [gradient])
            results.append(w.value)
    finally:
        thread_pool.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])


def test_centered_rmsprop_survives_a_constant_gradient():
    gradient = np.linspace(1e3, 2e3, 500).astype("float32")
    w = parameter(np.zeros(500), dtype="float32")
    optimizer = RMSprop(1e-3, centered=True)
    for _ in range(300):  # the variance, a difference of two equal numbers, rounds below zero
        optimizer.apply([w], [gradient])
    assert np.isfinite(w.value).all()


def test_adam_begins_gently_with_a_layer_unfrozen_late():
    a, late = parameter([0.0], "a"), parameter([0.0], "late")
    optimizer = Adam(0.1)
    for _ in range(50):
        optimizer.apply([a], [np.ones(1)])
    optimizer.apply([a, late], [np.ones(1), np.ones(1)])
    assert late.value[0] == pytest.approx(-0.1, rel=1e-5)  # the first step of Adam is the rate


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: optimizers.get("adamm"),
            "optimizer: expected one of SGD, RMSprop.*received 'adamm'",
        ),
        (lambda: SGD(learning_rate=-0.1), "SGD: expected learning_rate to be a number >= 0"),
        (lambda: SGD(learning_rate=lambda step: 0.1), "learning_rate to be a number"),
        (lambda: SGD(momentum=1.5), "momentum to be a number from 0 to 1, received 1.5"),
        (lambda: Adam(beta_2=1.0), "beta_2 to be a number >= 0 and < 1, received 1.0"),
        (lambda: Adam(clipnorm=1.0, clipvalue=1.0), "expected at most one of clipnorm"),
        (lambda: Adam(clipnorm=0.0), "clipnorm to be a number > 0, received 0.0"),
        (lambda: AdamW(weight_decay=-1.0), "weight_decay to be a number >= 0, received -1"),
        (lambda: Adam(use_ema=True), "unexpected keyword argument 'use_ema'"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_optimizers_are_found_by_name_with_keras_defaults():
    defaults = {"sgd": 0.01, "rmsprop": 0.001, "adam": 0.001, "AdamW": 0.001}
    for name, rate in defaults.items():
        assert optimizers.get(name).learning_rate == rate
    assert optimizers.get("adamw").weight_decay == 0.004
    assert optimizers.get(SGD(0.3)).learning_rate == 0.3
