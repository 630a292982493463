import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import numpy as np  # noqa: E402

from minidl import optimizers  # noqa: E402
from minidl.layers import Layer, Parameter  # noqa: E402
from minidl.optimizers import schedules  # noqa: E402

CONFIGURATIONS = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"learning_rate": 0.1, "clipvalue": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "momentum": 0.9}),
    ("RMSprop", {"learning_rate": 0.01, "centered": True, "epsilon": 1e-4}),
    ("RMSprop", {"learning_rate": 0.01, "momentum": 0.5, "centered": True, "weight_decay": 0.2}),
    ("RMSprop", {"learning_rate": 0.01, "clipnorm": 0.5}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 0.05, "amsgrad": True}),
    ("Adam", {"learning_rate": 0.05, "weight_decay": 0.1, "global_clipnorm": 0.7}),
    ("AdamW", {}),
    ("AdamW", {"learning_rate": 0.05, "weight_decay": 0.3, "clipnorm": 1.0}),
]


def five_steps(ours, theirs):
    """Return both sides' weights after five steps from the same start with the same gradients."""
    rng = np.random.default_rng(11)
    shapes = {"kernel": (4, 3), "bias": (3,), "gamma": ()}
    start = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    layer = Layer(name="dense")
    mine = [Parameter(name, np.array(value), layer=layer) for name, value in start.items()]
    variables = [keras.Variable(value, name=name) for name, value in start.items()]
    for _ in range(5):
        gradients = [rng.normal(size=shape).astype("float32") for shape in shapes.values()]
        ours.apply(mine, gradients)
        theirs.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    return [p.value for p in mine], [keras.ops.convert_to_numpy(v) for v in variables]


@pytest.mark.parametrize(("name", "arguments"), CONFIGURATIONS)
def test_five_steps(name, arguments):
    ours, theirs = (getattr(place, name)(**arguments) for place in (optimizers, keras.optimizers))
    for mine, expected in zip(*five_steps(ours, theirs), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-5)


def test_five_steps_with_a_schedule_and_parameters_without_decay():
    ours = optimizers.AdamW(schedules.ExponentialDecay(0.1, 2, 0.5), weight_decay=0.3)
    theirs = keras.optimizers.AdamW(
        keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), weight_decay=0.3
    )
    for optimizer in (ours, theirs):
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
    for mine, expected in zip(*five_steps(ours, theirs), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ExponentialDecay", (0.1, 7, 0.5)),
        ("ExponentialDecay", (0.1, 7, 0.5, True)),
        ("PiecewiseConstantDecay", ([4, 9], [0.1, 0.05, 0.01])),
        ("CosineDecay", (0.1, 15, 0.2)),
        ("CosineDecay", (0.01, 15, 0.1, "warm", 0.2, 6)),
    ],
)
def test_schedules(name, arguments):
    ours = getattr(schedules, name)(*arguments)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments)
    for step in range(25):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-5), step
