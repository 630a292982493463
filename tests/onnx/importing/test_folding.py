"""Constant folding: chains of shapes, the unknown batch, and limits."""

import numpy as np
import pytest
from onnx import helper
from support.onnx_suite import import_proto, make

from minidl.common.errors import FileFormatError
from minidl.onnx.importing.folding import BATCH, MAX_FOLDED, fold, new_shape
from minidl.onnx.importing.operation import Operation
from minidl.onnx.messages import NodeProto


def folded(kind, *operands):
    return fold(Operation(NodeProto(op_type=kind), 17, operands))


def test_the_shape_chain_of_an_exported_view_is_evaluated():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    model = import_proto(make(nodes, {"x": ["N", 3, 4, 5]}, {"y": None}, constants))
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.infer(x), x.transpose(0, 3, 1, 2).reshape(2, -1))


def test_the_unknown_batch_cannot_be_computed_with():
    shape = np.array([BATCH, 8], object)
    assert folded("Gather", shape, np.array([0])).tolist() == [BATCH]
    with pytest.raises(FileFormatError, match="depend on the batch"):
        folded("Mul", shape, np.array([2]))
    with pytest.raises(FileFormatError, match=r"known sizes, received \[N, 8\]"):
        folded("Reshape", np.zeros(8), shape)


@pytest.mark.parametrize(
    ("kind", "operands", "expected"),
    [
        ("Div", [np.array([7, -7]), np.array([2, 2])], [3, -3]),
        ("Slice", [np.arange(5), np.array([-1]), np.array([-9]), None, np.array([-2])], [4, 2, 0]),
        ("Concat", [np.array([[1]]), np.array([[2]])], [[1, 2]]),
        ("ConstantOfShape", [np.array([2])], [0, 0]),
    ],
)
def test_values_are_those_of_onnx(kind, operands, expected):
    assert folded(kind, *operands).tolist() == expected


def test_results_are_limited_before_they_are_computed():
    wide = np.broadcast_to(np.float32(0), (MAX_FOLDED, 1))
    with pytest.raises(FileFormatError, match="at most"):
        folded("Add", wide, np.zeros((1, 2), np.float32))
    with pytest.raises(FileFormatError, match="at most"):
        folded("Gather", wide.T, np.zeros(2, np.int64))
    with pytest.raises(FileFormatError, match="at most"):
        folded("ConstantOfShape", np.array([2**20, 2**20]))


@pytest.mark.parametrize("target", [[-2], [2.5], [[1]], [1] * 9, [0, 0, 0]])
def test_new_shapes_of_another_form_are_refused(target):
    with pytest.raises(FileFormatError, match="expected"):
        new_shape(np.array(target), (2, 3))
