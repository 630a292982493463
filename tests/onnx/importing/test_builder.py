"""Builder: names of layers, limits, and layers that several readers share."""

import numpy as np
import pytest

from minidl import Input, layers
from minidl.common.errors import FileFormatError
from minidl.onnx.importing import builder as module
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.layout import Axis, Value
from minidl.onnx.messages import NodeProto


def node(name="", kind="Conv", output="out"):
    return NodeProto(output=[output], name=name, op_type=kind)


@pytest.mark.parametrize(
    ("name", "weight", "expected"),
    [
        ("/layer1/layer1.0/conv1/Conv", "onnx::Conv_193", "layer1.0.conv1"),
        ("/layer1/layer1.0/conv1/Conv_1", "", "layer1.0.conv1"),
        ("node_conv2d", "layer1.0.conv1.weight", "layer1.0.conv1"),
        ("conv1/Conv", "conv1/kernel", "conv1"),
        ("", "gpu_0/conv1_w_0", "gpu_0.conv1"),
        ("", "", "out"),
        ("/Relu", "", "Relu"),
        ("bad\nname", "", None),
    ],
)
def test_layers_are_named_by_weights_or_scopes(name, weight, expected):
    assert Builder().name(node(name), weight) == expected


def test_names_are_unique():
    builder = Builder()
    names = [builder.name(node("relu")) for _ in range(3)] + [builder.name(node("relu_1"))]
    assert len(set(names)) == 4


def test_parameters_and_outputs_are_limited(monkeypatch):
    monkeypatch.setattr(module, "MAX_PARAMETERS", 5)
    with pytest.raises(FileFormatError, match="at most 5 parameters"):
        Builder().connect(layers.Dense(2, use_bias=False), Input((3,)), {"kernel": np.ones((3, 2))})
    monkeypatch.setattr(module, "MAX_ELEMENTS", 10)
    with pytest.raises(FileFormatError, match="at most 10 numbers"):
        Builder().connect(layers.ZeroPadding2D(2), Input((1, 1, 1)))


def test_weights_of_another_shape_are_refused():
    with pytest.raises(FileFormatError, match=r"expected kernel of shape \(3, 2\)"):
        Builder().connect(layers.Dense(2, use_bias=False), Input((3,)), {"kernel": np.ones((2, 3))})


def test_two_readers_share_the_layers_of_an_arrangement():
    n, h, w, c = Axis(None), Axis(2), Axis(3), Axis(4)
    x = Value(Input((2, 3, 4)), ((n,), (h,), (w,), (c,)), ((n,), (c,), (h,), (w,)))
    builder = Builder()
    assert builder.arrange(x, x.view).tensor is builder.arrange(x, x.view).tensor
