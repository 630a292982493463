"""Arithmetic with constants: absorbed by the layer before, or Rescaling."""

import numpy as np
import pytest
from onnx import helper
from support.onnx_suite import import_proto, make, run_in_onnx_runtime, to_layout

from minidl.common.errors import FileFormatError

RNG = np.random.default_rng(1)
X = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)


def array(*shape):
    return RNG.uniform(0.5, 1.5, size=shape).astype(np.float32)


def check(nodes, constants, x=X, opset=17):
    """Compare minidl with ONNX Runtime; return the kinds of minidl's layers."""
    model = make(nodes, {"x": ["N", *x.shape[1:]]}, {"y": None}, constants, opset)
    network = import_proto(model)
    y = network.infer(to_layout(x, network.input_shape))
    expected = run_in_onnx_runtime(model, x)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    return [type(layer).__name__ for layer in network.layers[1:]]


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1), (5,), (4, 1)])
def test_a_constant_along_one_axis_becomes_rescaling(kind, shape):
    kinds = check([helper.make_node(kind, ["x", "c"], ["y"])], {"c": array(*shape)})
    assert kinds.count("Rescaling") == 1


def test_the_constant_may_come_first():
    assert check([helper.make_node("Sub", ["c", "x"], ["y"])], {"c": array(3, 1, 1)})
    with pytest.raises(FileFormatError, match="division by constants"):
        check([helper.make_node("Div", ["c", "x"], ["y"])], {"c": array(1)})


def test_a_preprocessing_of_several_steps_becomes_one_layer():
    nodes = [
        helper.make_node("Div", ["x", "scale"], ["a"]),
        helper.make_node("Sub", ["a", "mean"], ["b"]),
        helper.make_node("Div", ["b", "std"], ["y"]),
    ]
    constants = {"scale": np.float32(255), "mean": array(3, 1, 1), "std": array(3, 1, 1)}
    assert check(nodes, constants) == ["Rescaling"]


@pytest.mark.parametrize("groups", [1, 3])
def test_scale_and_shift_become_a_part_of_the_convolution(groups):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=groups),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Add", ["b", "shift"], ["y"]),
    ]
    constants = {"w": array(6, 3 // groups, 2, 2), "scale": array(6, 1, 1), "shift": array(6, 1, 1)}
    assert len(check(nodes, constants)) == 1


def test_scale_and_shift_become_a_part_of_the_normalization():
    constants = {name: array(3) for name in "sbmv"} | {"g": array(3, 1, 1)}
    nodes = [
        helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["a"]),
        helper.make_node("Mul", ["a", "g"], ["y"]),
    ]
    assert check(nodes, constants) == ["BatchNormalization"]


def test_a_layer_with_two_readers_is_not_changed():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Mul", ["a", "scale"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    kinds = check(nodes, {"w": array(6, 3, 1, 1), "scale": array(6, 1, 1)})
    assert kinds == ["Conv2D", "Rescaling", "Add"]


@pytest.mark.parametrize("kind", ["Add", "Sub", "Sum"])
def test_values_in_different_layouts_are_combined(kind):
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 1, 3, 2]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 1, 3, 2]),
        helper.make_node(kind, ["x", "c"], ["y"]),
    ]
    check(nodes, {"w": array(3, 3, 1, 1)})


def test_squeeze_and_excitation_needs_no_reshape_of_the_gates():
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Conv", ["mean", "w"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["gate"]),
        helper.make_node("Mul", ["gate", "x"], ["y"]),
    ]
    kinds = check(nodes, {"w": array(3, 3, 1, 1)})
    assert kinds == ["GlobalAveragePooling2D", "Reshape", "Conv2D", "Sigmoid", "Multiply"]


@pytest.mark.parametrize(
    ("gate", "options", "kind"),
    [("Sigmoid", {}, "SiLU"), ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, "HardSiLU")],
)
def test_an_input_times_its_sigmoid_is_one_activation(gate, options, kind):
    nodes = [
        helper.make_node(gate, ["x"], ["a"], **options),
        helper.make_node("Mul", ["x", "a"], ["y"]),
    ]
    assert kind in check(nodes, {})


def test_a_value_times_itself():
    assert check([helper.make_node("Mul", ["x", "x"], ["y"])], {}) == ["Multiply"]


def test_the_former_broadcasting_aligns_at_an_axis():
    nodes = [helper.make_node("Add", ["x", "c"], ["y"], broadcast=1, axis=1)]
    model = make(nodes, {"x": ["N", 3, 4, 5]}, {"y": None}, {"c": array(3)}, opset=6)
    network = import_proto(model)
    assert network.layers[1].offset.shape == (3,)


@pytest.mark.parametrize(
    ("kind", "shape", "words"),
    [
        ("Add", (4, 5), "one for each channel"),
        ("Mul", (2, 3, 4, 5), "that fits shape"),
        ("Add", (1, 1, 1, 1, 1), "that fits shape"),
        ("Add", (7,), "that fits shape"),
    ],
)
def test_other_constants_are_refused(kind, shape, words):
    node = helper.make_node(kind, ["x", "c"], ["y"], name="here")
    with pytest.raises(FileFormatError, match=rf"{kind} 'here': .*{words}"):
        import_proto(make([node], {"x": ["N", 3, 4, 5]}, {"y": None}, {"c": array(*shape)}))
