"""The messages of an ONNX file: model, graph, nodes, attributes and tensors.

The field numbers are those of ``onnx.proto`` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
Fields that only an importer needs in order to refuse them, such as functions, stay bytes.

>>> from minidl.onnx.messages import GraphProto, ModelProto, NodeProto
>>> node = NodeProto(input=["x"], output=["y"], op_type="Relu")
>>> model = ModelProto(ir_version=8, graph=GraphProto(node=[node], name="small"))
>>> ModelProto.from_bytes(model.to_bytes()).graph.node[0].op_type
'Relu'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.onnx.protobuf import BYTES, FLOAT, INT, STRING, Message, field, packed, repeated

__all__ = [
    "AttributeProto",
    "AttributeType",
    "DataType",
    "Dimension",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "OperatorSetIdProto",
    "StringStringEntryProto",
    "TensorProto",
    "TensorShapeProto",
    "TensorTypeProto",
    "TypeProto",
    "ValueInfoProto",
]

Bytes = bytes | memoryview


class AttributeType:
    """Values of ``AttributeProto.type``."""

    FLOAT, INT, STRING, TENSOR, GRAPH = 1, 2, 3, 4, 5
    FLOATS, INTS, STRINGS, TENSORS, GRAPHS = 6, 7, 8, 9, 10


class DataType:
    """Values of ``TensorProto.data_type``."""

    FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64 = 1, 2, 3, 4, 5, 6, 7
    STRING, BOOL, FLOAT16, DOUBLE, UINT32, UINT64 = 8, 9, 10, 11, 12, 13
    BFLOAT16 = 16


@dataclass
class StringStringEntryProto(Message):
    """A key and a value, as in a model's metadata."""

    key: str = field(1, STRING, "")
    value: str = field(2, STRING, "")


@dataclass
class OperatorSetIdProto(Message):
    """The version of the operators of a domain; "" is ONNX's own domain."""

    domain: str = field(1, STRING, "")
    version: int = field(2, INT, 0)


@dataclass
class TensorProto(Message):
    """An array: its numbers are raw bytes (little-endian), or a list of one of several types."""

    dims: list[int] = repeated(1, INT)
    data_type: int = field(2, INT, 0)
    segment: Bytes | None = field(3, BYTES)
    float_data: np.ndarray = packed(4, "<f4")
    int32_data: np.ndarray = packed(5, "<i8")  # varints; also bool, 8- and 16-bit types
    string_data: list[Bytes] = repeated(6, BYTES)
    int64_data: np.ndarray = packed(7, "<i8")
    name: str = field(8, STRING, "")
    raw_data: Bytes | None = field(9, BYTES)
    double_data: np.ndarray = packed(10, "<f8")
    uint64_data: np.ndarray = packed(11, "<u8")
    doc_string: str = field(12, STRING, "")
    external_data: list[StringStringEntryProto] = repeated(13, lambda: StringStringEntryProto)
    data_location: int = field(14, INT, 0)  # 1: in the file that external_data names


@dataclass
class Dimension(Message):
    """One size of a shape: a number, or a name such as "N" for any."""

    dim_value: int | None = field(1, INT)
    dim_param: str = field(2, STRING, "")
    denotation: str = field(3, STRING, "")


@dataclass
class TensorShapeProto(Message):
    """The sizes of a tensor."""

    dim: list[Dimension] = repeated(1, lambda: Dimension)


@dataclass
class TensorTypeProto(Message):
    """Data type and shape of a tensor; a missing shape has any rank."""

    elem_type: int = field(1, INT, 0)
    shape: TensorShapeProto | None = field(2, lambda: TensorShapeProto)


@dataclass
class TypeProto(Message):
    """The type of a value: a tensor, or one of the kinds that stay bytes."""

    tensor_type: TensorTypeProto | None = field(1, lambda: TensorTypeProto)
    sequence_type: Bytes | None = field(4, BYTES)
    map_type: Bytes | None = field(5, BYTES)
    denotation: str = field(6, STRING, "")
    opaque_type: Bytes | None = field(7, BYTES)
    sparse_tensor_type: Bytes | None = field(8, BYTES)
    optional_type: Bytes | None = field(9, BYTES)


@dataclass
class ValueInfoProto(Message):
    """Name and type of an input, an output or an intermediate value."""

    name: str = field(1, STRING, "")
    type: TypeProto | None = field(2, lambda: TypeProto)
    doc_string: str = field(3, STRING, "")


@dataclass
class AttributeProto(Message):
    """A named constant of a node. `type` tells which field holds the value.

    A single number or text is None if the file lacks it.
    """

    name: str = field(1, STRING, "")
    f: float | None = field(2, FLOAT)
    i: int | None = field(3, INT)
    s: Bytes | None = field(4, BYTES)
    t: TensorProto | None = field(5, lambda: TensorProto)
    g: GraphProto | None = field(6, lambda: GraphProto)
    floats: list[float] = repeated(7, FLOAT)
    ints: list[int] = repeated(8, INT)
    strings: list[Bytes] = repeated(9, BYTES)
    tensors: list[TensorProto] = repeated(10, lambda: TensorProto)
    graphs: list[GraphProto] = repeated(11, lambda: GraphProto)
    doc_string: str = field(13, STRING, "")
    type_protos: list[Bytes] = repeated(15, BYTES)
    type: int = field(20, INT, 0)
    ref_attr_name: str = field(21, STRING, "")
    sparse_tensor: Bytes | None = field(22, BYTES)
    sparse_tensors: list[Bytes] = repeated(23, BYTES)


@dataclass
class NodeProto(Message):
    """One operation: `op_type` of `domain`, with the names of its inputs and outputs."""

    input: list[str] = repeated(1, STRING)
    output: list[str] = repeated(2, STRING)
    name: str = field(3, STRING, "")
    op_type: str = field(4, STRING, "")
    attribute: list[AttributeProto] = repeated(5, lambda: AttributeProto)
    doc_string: str = field(6, STRING, "")
    domain: str = field(7, STRING, "")
    overload: str = field(8, STRING, "")


@dataclass
class GraphProto(Message):
    """Nodes in topological order, constant tensors, inputs and outputs."""

    node: list[NodeProto] = repeated(1, lambda: NodeProto)
    name: str = field(2, STRING, "")
    initializer: list[TensorProto] = repeated(5, lambda: TensorProto)
    doc_string: str = field(10, STRING, "")
    input: list[ValueInfoProto] = repeated(11, lambda: ValueInfoProto)
    output: list[ValueInfoProto] = repeated(12, lambda: ValueInfoProto)
    value_info: list[ValueInfoProto] = repeated(13, lambda: ValueInfoProto)
    quantization_annotation: list[Bytes] = repeated(14, BYTES)
    sparse_initializer: list[Bytes] = repeated(15, BYTES)


@dataclass
class ModelProto(Message):
    """A graph with its versions and metadata: the content of a file."""

    ir_version: int = field(1, INT, 0)
    producer_name: str = field(2, STRING, "")
    producer_version: str = field(3, STRING, "")
    domain: str = field(4, STRING, "")
    model_version: int = field(5, INT, 0)
    doc_string: str = field(6, STRING, "")
    graph: GraphProto | None = field(7, lambda: GraphProto)
    opset_import: list[OperatorSetIdProto] = repeated(8, lambda: OperatorSetIdProto)
    metadata_props: list[StringStringEntryProto] = repeated(14, lambda: StringStringEntryProto)
    training_info: list[Bytes] = repeated(20, BYTES)
    functions: list[Bytes] = repeated(25, BYTES)

    @property
    def metadata(self) -> dict[str, Any]:
        """The entries of ``metadata_props`` by key."""
        return {entry.key: entry.value for entry in self.metadata_props}
