"""Activations with random attributes beside ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper
from support.onnx_suite import import_proto, make, run_in_onnx_runtime, to_layout

from minidl.common.errors import FileFormatError

X = np.random.default_rng(2).normal(size=(2, 3, 4, 5)).astype(np.float32) * 3


def check(node, constants=None, opset=17, x=X):
    """Compare minidl with ONNX Runtime; return the kinds of minidl's layers."""
    model = make([node], {"x": ["N", *x.shape[1:]]}, {"y": None}, constants, opset)
    network = import_proto(model)
    y = network.infer(to_layout(x, network.input_shape))
    expected = run_in_onnx_runtime(model, x)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    return [type(layer).__name__ for layer in network.layers[1:]]


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("Relu", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("LeakyRelu", {}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("HardSwish", {}),
        ("LRN", {"size": 3, "alpha": 0.1, "beta": 0.6, "bias": 2.0}),
        ("Softmax", {"axis": 1}),
        ("Softmax", {"axis": -1}),
        ("Softmax", {}),
        ("Dropout", {}),
        ("Identity", {}),
    ],
)
def test_operators_with_attributes(kind, attributes):
    check(helper.make_node(kind, ["x"], ["y"], **attributes))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_the_former_softmax_joins_the_last_axes(axis):
    check(helper.make_node("Softmax", ["x"], ["y"], axis=axis), opset=11)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 6), (-1, 2), (1, 3), (None, 2), (-2, None), (None, None), (0, None)]
)
def test_clip(low, high):
    limits = {"low": low, "high": high}
    constants = {name: np.float32(value) for name, value in limits.items() if value is not None}
    names = [name if name in constants else "" for name in limits]
    check(helper.make_node("Clip", ["x", *names], ["y"]), constants)


def test_clip_by_attributes_and_relu6():
    assert check(helper.make_node("Clip", ["x"], ["y"], min=0.0, max=6.0), opset=6) == ["ReLU"]


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (5,), (1, 1, 1)])
def test_prelu_slopes(shape):
    slope = np.random.default_rng(0).uniform(0.1, 0.9, size=shape).astype(np.float32)
    check(helper.make_node("PRelu", ["x", "slope"], ["y"]), {"slope": slope})


@pytest.mark.parametrize(
    ("node", "constants", "words"),
    [
        (helper.make_node("LeakyRelu", ["x"], ["y"], alpha=-0.5), {}, "negative_slope"),
        (helper.make_node("LRN", ["x"], ["y"], size=0), {}, "expected size"),
        (
            helper.make_node("PRelu", ["x", "s"], ["y"]),
            {"s": np.arange(60, dtype="float32").reshape(3, 4, 5)},
            "one for each channel",
        ),
        (
            helper.make_node("Clip", ["x", "a", "b"], ["y"]),
            {"a": np.float32(2), "b": np.float32(1)},
            "min <= max",
        ),
        (
            helper.make_node("Dropout", ["x", "", "train"], ["y"]),
            {"train": np.array(True)},
            "training_mode",
        ),
    ],
)
def test_wrong_attributes_are_refused(node, constants, words):
    with pytest.raises(FileFormatError, match=words):
        import_proto(make([node], {"x": ["N", 3, 4, 5]}, {"y": None}, constants))
