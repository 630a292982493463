"""Matrix products and batch normalization beside ONNX Runtime: kernels in the stored order."""

import numpy as np
import pytest
from onnx import helper
from support.onnx_suite import import_proto, make, run_in_onnx_runtime, to_layout

from minidl.common.errors import FileFormatError

RNG = np.random.default_rng(0)
PIXELS = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def check(nodes, x, constants, opset=17):
    """Compare minidl with ONNX Runtime; return minidl's model."""
    model = make(nodes, {"x": ["N", *x.shape[1:]]}, {"y": None}, constants, opset)
    network = import_proto(model)
    y = network.infer(to_layout(x, network.input_shape))
    expected = run_in_onnx_runtime(model, x)
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    return network


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_the_kernel_after_a_flattened_image_is_permuted(flatten, trans_b):
    w = array(7, 60) if trans_b else array(60, 7)
    constants = {"w": w, "b": array(7)}
    inputs = ["x"]
    if flatten == "Reshape":
        constants["shape"] = np.array([-1, 60])
        inputs.append("shape")
    nodes = [
        helper.make_node(flatten, inputs, ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=trans_b, alpha=0.5, beta=2.0),
    ]
    network = check(nodes, PIXELS, constants)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["InputLayer", "Flatten", "Dense"]


def test_layers_between_flatten_and_product_keep_the_order():
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("BatchNormalization", ["flat", "s", "b", "m", "v"], ["normal"]),
        helper.make_node("Mul", ["normal", "scale"], ["scaled"]),
        helper.make_node("Relu", ["scaled"], ["positive"]),
        helper.make_node("MatMul", ["positive", "w"], ["y"]),
    ]
    constants = {name: array(60) for name in "sbm"} | {"v": array(60) ** 2, "scale": array(60)}
    network = check(nodes, PIXELS, constants | {"w": array(60, 3)})
    assert "Permute" not in {type(layer).__name__ for layer in network.layers}


def test_a_bias_after_a_matrix_product_becomes_that_of_dense():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["bias", "product"], ["y"]),
    ]
    network = check(nodes, array(2, 5), {"w": array(5, 3), "bias": array(3)})
    assert [p.path.split("/")[1] for p in network.weights] == ["kernel", "bias"]


def test_dense_over_the_last_axis_of_a_sequence():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    check(nodes, array(2, 6, 5), {"w": array(5, 3)})


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_batch_normalization_over_the_second_axis(shape):
    nodes = [
        helper.make_node(
            "BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=0.1, momentum=0.8
        )
    ]
    constants = {name: array(3) for name in "sbm"} | {"v": array(3) ** 2}
    network = check(nodes, array(*shape), constants)
    layer = next(layer for layer in network.layers if layer.parameters)
    assert (layer.epsilon, layer.momentum) == pytest.approx((0.1, 0.8))


@pytest.mark.parametrize(
    ("node", "constants", "words"),
    [
        (helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), {"w": array(5, 2)}, "row of"),
        (helper.make_node("Gemm", ["x", "x"], ["y"]), {}, "expected a constant as input 1"),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": array(4, 2)}, "expected 4 features"),
        (
            helper.make_node("Gemm", ["x", "w", "b"], ["y"]),
            {"w": array(5, 2), "b": array(3)},
            "one bias for each of 2 outputs",
        ),
        (
            helper.make_node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y"]),
            {"w": array(4)},
            "4 parameters for 5 channels",
        ),
        (
            helper.make_node("BatchNormalization", ["x", "w", "w", "w", "w"], ["y"]),
            {"w": -np.ones(5, "float32")},
            "variances >= 0",
        ),
        (
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            {"w": np.full((5, 2), np.nan, "float32")},
            "'kernel' contains NaN",
        ),
    ],
)
def test_operands_that_do_not_fit_are_refused(node, constants, words):
    with pytest.raises(FileFormatError, match=words):
        import_proto(make([node], {"x": ["N", 5]}, {"y": None}, constants))
