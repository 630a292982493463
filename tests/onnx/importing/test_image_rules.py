"""Convolution, pooling and padding with random arguments beside ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper
from support.onnx_suite import (
    from_images,
    import_proto,
    make,
    run_in_onnx_runtime,
    to_layout,
)

from minidl.common.errors import FileFormatError

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
AUTO = st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])


def assert_equal(model, x):
    """Compare minidl with ONNX Runtime; return minidl's model."""
    expected = run_in_onnx_runtime(model, x)
    network = import_proto(model)
    y = network.infer(to_layout(x, network.input_shape))
    np.testing.assert_allclose(y, from_images(expected, y.shape), rtol=1e-4, atol=1e-4)
    return network


def assume_accepted(model, x):
    """Leave out drawn arguments for which ONNX Runtime has no output."""
    try:
        y = run_in_onnx_runtime(model, x)
    except Exception:  # its errors have no common class
        y = np.empty(0)
    assume(y.size > 0)


def image(draw, channels):
    shape = (2, channels, draw(st.integers(3, 9)), draw(st.integers(3, 9)))
    return np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape).astype(np.float32)


def window(draw, size):
    """Draw strides and padding."""
    auto = draw(AUTO)
    options = {"strides": draw(PAIRS)}
    if auto != "NOTSET":  # windows smaller than the stride have negative padding in ONNX Runtime
        options["strides"] = tuple(map(min, options["strides"], size))
        return options | {"auto_pad": auto}
    limits = [*size, *size]
    return options | {"pads": [draw(st.integers(0, n - 1)) for n in limits]}


@given(data=st.data())
def test_convolutions_equal_onnx_runtime(data):
    draw = data.draw
    groups, multiplier = draw(st.sampled_from([(1, 3), (2, 2), (4, 1), (4, 2)]))
    channels = 4 if groups > 1 else draw(st.integers(1, 3))
    x = image(draw, channels)
    size = draw(PAIRS)
    rng = np.random.default_rng(0)
    w = rng.normal(size=(groups * multiplier, channels // groups, *size)).astype(np.float32)
    constants = {"w": w}
    if draw(st.booleans()):
        constants["b"] = rng.normal(size=groups * multiplier).astype(np.float32)
    options = window(draw, size) | {"group": groups, "kernel_shape": size}
    if "auto_pad" not in options:  # ONNX Runtime pads dilated windows by another rule
        options["dilations"] = draw(PAIRS)
    nodes = [helper.make_node("Conv", ["x", *constants], ["y"], **options)]
    model = make(nodes, {"x": ["N", *x.shape[1:]]}, {"y": None}, constants)
    assume_accepted(model, x)
    assert_equal(model, x)


@given(data=st.data())
def test_poolings_equal_onnx_runtime(data):
    draw = data.draw
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    x = image(draw, 2)
    size = draw(PAIRS)
    options = window(draw, size) | {"kernel_shape": size}
    if "auto_pad" not in options:
        options["ceil_mode"] = draw(st.integers(0, 1))
    if kind == "AveragePool":
        options["count_include_pad"] = draw(st.integers(0, 1))
    nodes = [helper.make_node(kind, ["x"], ["y"], **options)]
    model = make(nodes, {"x": ["N", *x.shape[1:]]}, {"y": None}, opset=19)
    assume_accepted(model, x)
    assert_equal(model, x)


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pooling_needs_no_flatten(kind):
    nodes = [helper.make_node(kind, ["x"], ["a"]), helper.make_node("Flatten", ["a"], ["y"])]
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    network = assert_equal(make(nodes, {"x": ["N", 3, 4, 5]}, {"y": None}), x)
    assert len(network.layers) == 2


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_the_mean_over_pixels_is_global_pooling(axes, keepdims):
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=keepdims)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    network = assert_equal(make([node], {"x": ["N", 3, 4, 5]}, {"y": None}), x)
    assert type(network.layers[-1]).__name__ == "GlobalAveragePooling2D"


def test_a_padding_before_a_convolution_is_kept_as_a_layer():
    constants = {"pads": np.array([0, 0, 1, 2, 0, 0, 3, 0]), "w": np.ones((2, 3, 2, 2), "float32")}
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["y"]),
    ]
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    network = assert_equal(make(nodes, {"x": ["N", 3, 4, 5]}, {"y": None}, constants), x)
    assert network.layers[1].padding == ((1, 3), (2, 0))


def test_symmetric_padding_at_stride_one_is_same_for_any_size():
    constants = {"w": np.ones((2, 3, 3, 5), "float32")}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 2, 1, 2])]
    network = import_proto(make(nodes, {"x": ["N", 3, "H", "W"]}, {"y": None}, constants))
    assert network.layers[1].padding == "same"
    assert network.infer(np.zeros((1, 7, 8, 3))).shape == (1, 7, 8, 2)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool", "Conv"])
def test_same_padding_holds_for_images_of_any_size(kind):
    w = {"w": np.ones((3, 3, 3, 3), "float32")} if kind == "Conv" else {}
    size = {} if kind == "Conv" else {"kernel_shape": [3, 3]}
    node = helper.make_node(kind, ["x", *w], ["y"], strides=[2, 2], auto_pad="SAME_UPPER", **size)
    model = make([node], {"x": ["N", 3, "H", "W"]}, {"y": None}, w)
    for shape in ((5, 6), (8, 7)):
        x = np.random.default_rng(0).normal(size=(1, 3, *shape)).astype(np.float32)
        assert_equal(model, x)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "without dilation"),
        ("MaxPool", {"kernel_shape": [2]}, "kernel_shape as two integers"),
        ("MaxPool", {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "less than the pool size"),
        ("AveragePool", {"kernel_shape": [9, 9]}, "images of at least"),
        ("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "ODD"}, "known auto_pad"),
        ("ReduceMean", {"axes": [0]}, "all axes but the batch"),
        ("ReduceMean", {"axes": [3]}, "all axes but the batch"),
    ],
)
def test_what_minidl_does_not_have_is_refused(kind, options, words):
    node = helper.make_node(kind, ["x"], ["y"], name="here", **options)
    with pytest.raises(FileFormatError, match=rf"{kind} 'here': .*{words}"):
        import_proto(make([node], {"x": ["N", 3, 4, 5]}, {"y": None}))
