"""Tests of minidl.onnx.messages: the same bytes and values as the onnx package."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Types
from onnx import helper, numpy_helper

from minidl.onnx import messages
from minidl.onnx.messages import ModelProto


def example() -> onnx.ModelProto:
    """Return a model with every kind of attribute and a subgraph."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", Types.FLOAT, None)],
    )
    node = helper.make_node(
        "Everything",
        ["x", ""],
        ["y"],
        name="node",
        domain="example.org",
        a_float=0.0,
        an_int=-5,
        a_text="text",
        a_tensor=numpy_helper.from_array(np.arange(6, dtype="int64").reshape(2, 3), "t"),
        a_graph=inner,
        floats=[1.0, 2.5],
        ints=[1, -2, 300],
        texts=["a", "b"],
        tensors=[helper.make_tensor("u", Types.FLOAT, [2], [1.0, 2.0])],
        graphs=[inner],
    )
    graph = helper.make_graph(
        [node],
        "outer",
        [helper.make_tensor_value_info("x", Types.FLOAT, ["N", 3, None])],
        [helper.make_tensor_value_info("y", Types.FLOAT, [])],
        [
            helper.make_tensor("ints", Types.INT32, [3], [1, -2, 300]),
            helper.make_tensor("doubles", Types.DOUBLE, [1], [1.5]),
            helper.make_tensor("unsigned", Types.UINT64, [1], [2**63]),
        ],
        value_info=[helper.make_tensor_value_info("z", Types.UINT8, [1])],
    )
    opset = onnx.OperatorSetIdProto(version=17)  # minidl writes no field that has its default
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    helper.set_model_props(model, {"classes": '["cat", "dog"]'})
    return model


def test_decoding_and_encoding_gives_the_bytes_of_the_onnx_package():
    octets = example().SerializeToString(deterministic=True)
    assert ModelProto.from_bytes(octets).to_bytes() == octets


def test_values_are_those_of_the_onnx_package():
    expected = example()
    model = ModelProto.from_bytes(expected.SerializeToString())
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)
    assert model.metadata == {"classes": '["cat", "dog"]'}
    assert model.graph is not None
    (node,) = model.graph.node
    assert (node.op_type, node.domain, node.input) == ("Everything", "example.org", ["x", ""])
    attributes = {attribute.name: attribute for attribute in node.attribute}
    assert attributes["a_float"].f == 0.0
    assert attributes["an_int"].i == -5
    assert attributes["a_text"].s == b"text"
    assert attributes["ints"].ints == [1, -2, 300]
    assert attributes["a_graph"].g.node[0].op_type == "Identity"
    assert model.graph.initializer[0].int32_data.tolist() == [1, -2, 300]
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    assert [(size.dim_value, size.dim_param) for size in sizes] == [
        (None, "N"),
        (3, ""),
        (None, ""),
    ]


def test_numbers_of_types_are_those_of_the_onnx_package():
    for name, number in vars(messages.DataType).items():
        if name.isupper():
            assert getattr(onnx.TensorProto, name) == number
    for name, number in vars(messages.AttributeType).items():
        if name.isupper():
            assert getattr(onnx.AttributeProto, name) == number


@pytest.mark.parametrize("name", [name for name in messages.__all__ if name.endswith("Proto")])
def test_field_numbers_are_those_of_the_onnx_package(name):
    cls = getattr(messages, name)
    theirs = onnx.TypeProto.Tensor if name == "TensorTypeProto" else getattr(onnx, name)
    numbers = {field.name: field.number for field in theirs.DESCRIPTOR.fields}
    for row in cls.wire_fields():
        assert numbers[row.name] == row.number
