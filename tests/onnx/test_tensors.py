"""Tests of minidl.onnx.tensors."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from minidl.common.errors import FileFormatError
from minidl.onnx.messages import DataType, StringStringEntryProto, TensorProto
from minidl.onnx.tensors import array_of, tensor_of

DTYPES = ["float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32"]
DTYPES += ["uint32", "int64", "uint64", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_arrays_round_trip_and_agree_with_the_onnx_package(dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    tensor = tensor_of("t", array)
    theirs = onnx.TensorProto.FromString(tensor.to_bytes())
    assert np.array_equal(numpy_helper.to_array(theirs), array)
    again = array_of(TensorProto.from_bytes(tensor.to_bytes()))
    assert again.dtype == array.dtype
    assert np.array_equal(again, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_in_lists_are_read(dtype):
    array = np.array([[0, 1], [1, 0]], dtype)
    data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    theirs = helper.make_tensor("t", data_type, (2, 2), array.ravel().tolist())
    assert np.array_equal(array_of(TensorProto.from_bytes(theirs.SerializeToString())), array)


def test_bfloat16_becomes_float32():
    theirs = helper.make_tensor("t", onnx.TensorProto.BFLOAT16, (2,), [1.5, -2.0])
    array = array_of(TensorProto.from_bytes(theirs.SerializeToString()))
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0]


def test_float32_numbers_are_not_copied():
    octets = tensor_of("t", np.ones(1000, "float32")).to_bytes()
    array = array_of(TensorProto.from_bytes(octets))
    assert np.shares_memory(array, np.frombuffer(octets, np.uint8))


FLOAT = DataType.FLOAT


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(dims=[3], data_type=FLOAT, raw_data=bytes(8)), "expected 3 numbers for the"),
        (TensorProto(dims=[3], data_type=FLOAT, raw_data=bytes(7)), "numbers of 4 bytes, received"),
        (TensorProto(dims=[3], data_type=FLOAT), "expected 3 numbers for the shape (3,), received"),
        (TensorProto(dims=[-1], data_type=FLOAT, raw_data=b""), "sizes >= 0, received (-1,)"),
        (TensorProto(dims=[1] * 9, data_type=FLOAT, raw_data=bytes(4)), "at most 8 sizes"),
        (TensorProto(dims=[2**20, 2**20], data_type=FLOAT, raw_data=b""), "at most 8 sizes >= 0"),
        (TensorProto(data_type=DataType.STRING, raw_data=b""), "data type of numbers, received 8"),
        (TensorProto(data_type=FLOAT, segment=b""), "received a segment"),
        (TensorProto(data_type=FLOAT, data_location=1), "in this file, not in another one"),
        (TensorProto(external_data=[StringStringEntryProto()]), "in this file, not in another one"),
    ],
)
def test_invalid_tensors_are_refused(tensor, message):
    with pytest.raises(FileFormatError) as error:
        array_of(tensor)
    assert message in str(error.value)


def test_arrays_of_objects_are_refused():
    with pytest.raises(TypeError, match="expected a dtype of numbers"):
        tensor_of("t", np.array([None]))
