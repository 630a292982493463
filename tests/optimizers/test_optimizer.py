"""The base class of optimizers: clipping, weight decay, slots, saved state."""

import copy
import json

import numpy as np
import pytest

from minidl import optimizers
from minidl.common.errors import ShapeError
from minidl.kernels import optimizers as kernels
from minidl.layers import Layer, Parameter
from minidl.optimizers import SGD, Adam, AdamW, RMSprop
from minidl.optimizers.schedules import ExponentialDecay

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


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"clipvalue": 3.5}, [[3, -3.5], [0, 3.5]]),
        ({"clipnorm": 10.0}, [[3, -4], [0, 10]]),
        ({"global_clipnorm": 6.5}, [[1.5, -2], [0, 6]]),
        ({"global_clipnorm": 13.5}, [[3, -4], [0, 12]]),
    ],
)
def test_clipping_cuts_copies_of_the_gradients(clip, expected):
    gradients = [np.array([3.0, -4.0]), np.array([0.0, 12.0])]  # norms 5 and 12: together 13
    kept = [gradient.copy() for gradient in gradients]
    weights = [parameter(np.zeros(2), name) for name in "ab"]
    SGD(1.0, **clip).apply(weights, gradients)
    np.testing.assert_allclose([-w.value for w in weights], expected, rtol=1e-12)
    np.testing.assert_array_equal(gradients, kept)


def test_the_norm_of_a_big_array_is_summed_over_all_chunks():
    x = np.random.default_rng(0).normal(size=(2, kernels.SERIAL)).astype("float32")
    assert kernels.norm(x) == pytest.approx(np.linalg.norm(x.astype("float64")), rel=1e-12)


def test_clipping_survives_huge_gradients_and_shows_infinite_ones():
    w = parameter([0.0, 0.0], dtype="float32")
    SGD(1.0, clipnorm=1.0).apply([w], [np.array([3e30, 4e30], "float32")])
    np.testing.assert_allclose(w.value, [-0.6, -0.8], rtol=1e-6)
    for clip in ("clipnorm", "global_clipnorm"):
        w = parameter([0.0, 0.0])
        SGD(1.0, **{clip: 1.0}).apply([w], [np.array([1.0, np.inf])])
        assert np.isnan(w.value).all()  # not zeros, with which training would silently stop


def test_weight_decay_shrinks_by_the_rate_and_spares_what_is_excluded():
    kernel, bias = parameter([2.0], "kernel", multiplier=0.5), parameter([2.0], "bias")
    zero = np.zeros(1)
    optimizer = SGD(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([kernel, bias], [zero, zero])
    assert kernel.value[0] == pytest.approx(2 - 2 * 0.5 * 0.1 * 0.5)
    assert bias.value[0] == 2.0
    optimizer.exclude_from_weight_decay(var_list=[kernel])
    optimizer.apply([kernel, bias], [zero, zero])
    assert kernel.value[0] == pytest.approx(1.95)
    assert bias.value[0] == pytest.approx(2 - 2 * 0.5 * 0.1)


@pytest.mark.parametrize("cls", [SGD, RMSprop, Adam, AdamW])
def test_a_multiplier_scales_the_whole_step(cls):
    full, tenth, none = (
        parameter([1.0], n, multiplier=m) for n, m in [("a", 1), ("b", 0.1), ("c", 0)]
    )
    cls(0.01).apply([full, tenth, none], [np.array([2.0])] * 3)
    assert 1 - tenth.value[0] == pytest.approx((1 - full.value[0]) / 10)
    assert none.value[0] == 1.0


def test_parameters_are_changed_in_place():
    w = parameter(np.ones((2, 3)))
    array, version = w.array, w.version
    SGD(1.0).apply([w], [np.ones((2, 3))])
    assert w.array is array
    assert w.version > version
    w.assign(np.ones((3, 2)).T)
    SGD(1.0).apply([w], [np.asfortranarray([[1.0, 2, 3], [4, 5, 6]])])
    np.testing.assert_array_equal(w.value, [[0, -1, -2], [-3, -4, -5]])


def test_a_parameter_keeps_its_slots_while_it_is_frozen():
    a, b = parameter([1.0], "a"), parameter([1.0], "b")
    optimizer = Adam(0.1)
    optimizer.apply([a, b], [np.ones(1), np.ones(1)])
    kept = {name: array.copy() for name, array in optimizer.get_state()["slots"]["dense/b"].items()}
    value = b.value.copy()
    for _ in range(3):
        optimizer.apply([a], [np.ones(1)])
    assert b.value == value
    assert optimizer.get_state()["slots"]["dense/b"] == kept
    optimizer.apply([a, b], [np.ones(1), np.ones(1)])
    assert b.value < value


@pytest.mark.parametrize(("cls", "arguments"), CONFIGURATIONS)
def test_a_restored_optimizer_continues_bit_by_bit(cls, arguments):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 5)).astype("float32")
    w = parameter(np.ones(5), dtype="float32")
    optimizer = cls(**arguments)
    for gradient in gradients[:3]:
        optimizer.apply([w], [gradient])
    optimizer.learning_rate = 0.02
    state, value = optimizer.get_state(), w.value.copy()
    saved = copy.deepcopy(state)
    other = parameter(value, dtype="float32")
    config = json.loads(json.dumps({"class_name": cls.__name__, "config": optimizer.get_config()}))
    restored = optimizers.get(config)
    restored.set_state(state)
    for gradient in gradients[3:]:
        optimizer.apply([w], [gradient])
        restored.apply([other], [gradient])
    np.testing.assert_array_equal(w.value, other.value)
    assert restored.iterations == 6
    assert restored.learning_rate == 0.02
    np.testing.assert_equal(state, saved)  # the later steps of both left it alone


def test_the_config_holds_schedule_clipping_and_exclusions():
    optimizer = AdamW(ExponentialDecay(0.1, 10, 0.5), 0.01, clipnorm=2.0)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.iterations = 10
    config = json.loads(json.dumps({"class_name": "AdamW", "config": optimizer.get_config()}))
    again = optimizers.get(config)
    again.set_state(optimizer.get_state())
    assert again.current_learning_rate() == pytest.approx(0.05)
    assert (again.weight_decay, again.clipnorm) == (0.01, 2.0)
    bias = parameter([1.0], "bias")
    again.apply([bias], [np.zeros(1)])
    assert bias.value[0] == 1.0


def test_a_state_that_does_not_fit_changes_nothing():
    w = parameter([1.0, 2.0])
    optimizer = Adam(0.1)
    optimizer.apply([w], [np.ones(2)])
    before = optimizer.get_state()
    wrong = optimizer.get_state()
    wrong["iterations"] = 99
    wrong["learning_rate"] = 0.5
    wrong["slots"]["dense/w"]["v"] = np.zeros(3)
    with pytest.raises(ShapeError, match=r"shape \(2,\) for 'v' of 'dense/w', received \(3,\)"):
        optimizer.set_state(wrong)
    of_rmsprop = _state_of(RMSprop(0.1), w)
    with pytest.raises(ValueError, match=r"expected the state \['m', 'step', 'v'\]"):
        optimizer.set_state(of_rmsprop)
    with pytest.raises(ValueError, match="the state has no 'iterations'"):
        optimizer.set_state({"learning_rate": 1.0, "slots": {}})
    after = optimizer.get_state()
    assert (after["iterations"], after["learning_rate"]) == (1, 0.1)
    np.testing.assert_equal(after["slots"], before["slots"])


def test_a_state_for_another_shape_is_refused_before_anything_changes():
    small, large = parameter([1.0, 2.0]), parameter([1.0, 2.0, 3.0])
    fresh = Adam(0.1)
    fresh.set_state(_state_of(Adam(0.1), small))
    other = parameter([5.0], "other")
    with pytest.raises(ShapeError, match=r"'dense/w' was saved for shape \(2,\).*shape \(3,\)"):
        fresh.apply([other, large], [np.ones(1), np.ones(3)])
    assert other.value[0] == 5.0


def _state_of(optimizer, w):
    optimizer.apply([w], [np.ones(w.shape)])
    return optimizer.get_state()


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        ([np.ones(1), None], ValueError, "Adam: the gradient of 'dense/b' is None"),
        ([np.ones(1), np.ones(3)], ShapeError, r"shape \(2,\) for 'dense/b', received \(3,\)"),
        ([np.ones(1)], ValueError, "received 1 gradients for 2 parameters"),
    ],
)
def test_wrong_gradients_are_refused_before_anything_changes(gradients, error, message):
    a, b = parameter([1.0], "a"), parameter([1.0, 2.0], "b")
    optimizer = Adam(0.1)
    with pytest.raises(error, match=message):
        optimizer.apply([a, b], gradients)
    assert a.value[0] == 1.0
    assert optimizer.iterations == 0


def test_two_parameters_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two parameters are called 'dense/w'"):
        SGD().apply([parameter([1.0]), parameter([1.0])], [np.ones(1)] * 2)


def test_another_model_does_not_inherit_the_slots():
    optimizer = Adam(0.1)
    first, second = (Parameter("w", np.zeros(2)) for _ in range(2))  # both called "w"
    for _ in range(3):
        optimizer.apply([first], [np.ones(2)])
    optimizer.apply([second], [np.ones(2)])
    fresh, alone = Adam(0.1), Parameter("w", np.zeros(2))
    fresh.apply([alone], [np.ones(2)])
    assert (second.value == alone.value).all()
