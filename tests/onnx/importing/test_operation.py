"""Operation: types of attributes and operands, and nothing that is silently ignored."""

import numpy as np
import pytest

from minidl.common.errors import FileFormatError
from minidl.onnx.importing.operation import Operation, shown
from minidl.onnx.messages import AttributeProto, AttributeType, NodeProto

AXIS = AttributeProto(name="axis", i=-1, type=AttributeType.INT)


def operation(*attributes, operands=()):
    return Operation(NodeProto(op_type="Any", attribute=list(attributes)), 17, operands)


def test_attributes_have_their_types_or_defaults():
    one = operation(AXIS)
    assert (one.integer("axis", 1), one.integer("other", 1)) == (-1, 1)
    with pytest.raises(FileFormatError, match="attribute 'axis' of type 1, received type 2"):
        one.number("axis", 0.0)


def test_an_attribute_that_no_rule_reads_is_refused():
    one = operation(AXIS)
    with pytest.raises(FileFormatError, match="does not have its attribute 'axis'"):
        one.check_all_read()
    one.integer("axis", 0)
    one.check_all_read()


def test_attributes_of_the_first_version_have_no_type():
    assert operation(AttributeProto(name="axis", i=2)).integer("axis", 0) == 2
    with pytest.raises(FileFormatError, match="different names"):
        operation(AXIS, AXIS)


def test_operands_are_constants_or_values():
    one = operation(operands=[np.ones(2), None])
    assert one.constant_or_none(1) is None
    with pytest.raises(FileFormatError, match="depend on the model's input, received a constant"):
        one.value(0)
    with pytest.raises(FileFormatError, match="constant as input 1.*received nothing"):
        one.constant(1)


@pytest.mark.parametrize("axis", [3, -4, 2**40])
def test_axes_are_within_the_rank(axis):
    axes = AttributeProto(name="axes", ints=[axis], type=AttributeType.INTS)
    with pytest.raises(FileFormatError, match="expected an axis of 3"):
        operation(axes).axes("axes", 1, 3)


def test_long_names_are_cut_and_escaped_in_messages():
    assert shown("a" * 99) == "a" * 57 + "..."
    assert shown("a\nb") == "a\\nb"
