"""Translation of an ONNX graph into connected layers.

>>> from minidl.onnx.messages import Dimension, GraphProto, ModelProto, NodeProto
>>> from minidl.onnx.messages import OperatorSetIdProto, TensorShapeProto, TensorTypeProto
>>> from minidl.onnx.messages import TypeProto, ValueInfoProto
>>> sizes = TensorShapeProto([Dimension(dim_param="N"), Dimension(dim_value=4)])
>>> x = ValueInfoProto("x", TypeProto(TensorTypeProto(1, sizes)))
>>> node = NodeProto(["x"], ["y"], op_type="Relu")
>>> graph = GraphProto([node], input=[x], output=[ValueInfoProto("y")])
>>> model = ModelProto(8, graph=graph, opset_import=[OperatorSetIdProto("", 17)])
>>> [x], [y] = import_graph(model)
>>> y
<SymbolicTensor (None, 4) float32 from ReLU 'y'>
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError, MinidlError
from minidl.layers.symbolic import Input, SymbolicTensor
from minidl.onnx.importing.activation_rules import ACTIVATION_RULES
from minidl.onnx.importing.arithmetic_rules import ARITHMETIC_RULES
from minidl.onnx.importing.builder import Builder
from minidl.onnx.importing.dense_rules import DENSE_RULES
from minidl.onnx.importing.folding import FOLDED, fold
from minidl.onnx.importing.image_rules import IMAGE_RULES
from minidl.onnx.importing.layout import Axis, Group, Value, axis_of
from minidl.onnx.importing.operation import Operand, Operation, attribute_type, name_of, shown
from minidl.onnx.importing.view_rules import VIEW_RULES, Rule
from minidl.onnx.messages import (
    AttributeType,
    DataType,
    GraphProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
)
from minidl.onnx.tensors import array_of

__all__ = ["RULES", "import_graph"]

MAX_NODES = 20_000
MAX_RANK = 8

RULES: dict[str, Rule] = {
    **ACTIVATION_RULES,
    **ARITHMETIC_RULES,
    **DENSE_RULES,
    **IMAGE_RULES,
    **VIEW_RULES,
}

# Operators through which the layout of an input image is searched; they do not change it.
_ELEMENTWISE = {
    "Cast",
    "Gather",
    "Identity",
    *ARITHMETIC_RULES,
    *(ACTIVATION_RULES.keys() - {"LRN"}),
}
_FLOATS = {
    DataType.FLOAT: "float32",
    DataType.DOUBLE: "float64",
    DataType.FLOAT16: "float32",
    DataType.BFLOAT16: "float32",
    DataType.UINT8: "float32",  # which holds every uint8
}


def import_graph(
    model: ModelProto, outputs: Sequence[str] | None = None
) -> tuple[list[SymbolicTensor], list[SymbolicTensor]]:
    """Return the symbolic inputs and outputs of the layers that compute a graph.

    Parameters
    ----------
    model : ModelProto
    outputs : list of str, optional
        Names of the outputs to compute; by default all of the graph.

    Raises
    ------
    FileFormatError
        For operators, attributes or data types that minidl does not have, by the name of the node;
        for external data and damage; and if a limit is exceeded.
    """
    graph = model.graph
    if graph is None:
        raise FileFormatError("the file contains no graph")
    if graph.sparse_initializer:
        raise FileFormatError("minidl does not support sparse tensors")
    if len(graph.node) > MAX_NODES:
        raise FileFormatError(f"expected at most {MAX_NODES} nodes, received {len(graph.node)}")
    return _Import(graph, _opset(model), outputs).run()


def _opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators."""
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if len(versions) > 1:
        raise FileFormatError(f"expected one version of the operators, received {versions}")
    return versions[0] if versions else 1


class _Import:
    """One run of :func:`import_graph`."""

    def __init__(self, graph: GraphProto, opset: int, outputs: Sequence[str] | None):
        self.graph, self.opset = graph, opset
        self.builder = Builder()
        self.outputs = [item.name for item in graph.output] if outputs is None else list(outputs)
        self.operands: dict[str, Operand] = {"": None}
        self.nodes = _needed_nodes(graph.node, self.outputs)
        self.readers = Counter(name for node in self.nodes for name in node.input)
        self.readers.update(self.outputs)
        self.batch: Group = (Axis(None),)

    def run(self) -> tuple[list[SymbolicTensor], list[SymbolicTensor]]:
        for tensor in self.graph.initializer:
            if tensor.name in self.readers:
                self._publish(tensor.name, array_of(tensor))
        inputs = []
        for item in self.graph.input:
            if item.name in self.readers and item.name not in self.operands:
                with _named(f"input {shown(item.name)!r}"):
                    value = self._input(item)
                self._publish(item.name, value)
                inputs.append(value.tensor)
        for node in self.nodes:
            with _named(f"{shown(node.op_type)} {shown(name_of(node))!r}"):
                self._translate(node)
        if not inputs or not self.outputs:
            raise FileFormatError("the graph has no input or no output that depends on it")
        return inputs, [self._output(name) for name in self.outputs]

    def _translate(self, node: NodeProto) -> None:
        """Compute the operands of one node's outputs."""
        _refuse(node)
        missing = [name for name in node.input if name not in self.operands]
        if missing:
            raise FileFormatError(f"no node before it computes its input {shown(missing[0])!r}")
        operation = Operation(node, self.opset, [self.operands[name] for name in node.input])
        if any(name in self.readers for name in node.output[1:]):
            raise FileFormatError("minidl has only the first of its outputs, and another is read")
        if not node.output or node.output[0] in self.operands:
            raise FileFormatError("expected an output with a name of its own")
        if not any(isinstance(operand, Value) for operand in operation.operands):
            result: Operand = fold(operation)
        elif node.op_type in RULES:
            result = RULES[node.op_type](self.builder, operation)
        else:
            raise FileFormatError("minidl has this operator for constants only")
        operation.check_all_read()
        self._publish(node.output[0], result)

    def _publish(self, name: str, operand: Operand) -> None:
        self.operands[name] = operand
        if isinstance(operand, np.ndarray):
            operand.flags.writeable = False
        if isinstance(operand, Value) and (self.readers[name] > 1 or name in self.outputs):
            self.builder.share(operand.tensor)

    def _input(self, item: ValueInfoProto) -> Value:
        """Return an Input for an input of the graph; images (N, C, H, W) become (N, H, W, C)."""
        kind = None if item.type is None else item.type.tensor_type
        if kind is None or kind.elem_type not in _FLOATS:
            raise FileFormatError("expected a tensor of floating-point numbers or uint8")
        if kind.shape is None or not 1 <= len(kind.shape.dim) <= MAX_RANK:
            raise FileFormatError("expected a shape of 1 to 8 sizes that begins with the batch")
        # Size 0 and -1 stand for open sizes in files of some exporters.
        sizes = [
            None if size.dim_value is None or size.dim_value < 1 else size.dim_value
            for size in kind.shape.dim
        ]
        view = (self.batch, *(axis_of(size) for size in sizes[1:]))
        stored = view
        if len(sizes) == 4 and not self._is_channels_last(item.name):
            n, c, h, w = view
            stored = (n, h, w, c)
            sizes = [sizes[0], sizes[2], sizes[3], sizes[1]]
        tensor = Input(sizes[1:], name=self._input_name(item), dtype=_FLOATS[kind.elem_type])
        return Value(tensor, stored, view)

    def _input_name(self, item: ValueInfoProto) -> str | None:
        return self.builder.name(NodeProto(name=item.name))

    def _is_channels_last(self, name: str) -> bool:
        """Return whether an image is transposed from (N, H, W, C) before another operation."""
        names = {name}
        for node in self.nodes:
            if names.isdisjoint(node.input):
                continue
            if node.op_type == "Transpose":
                perms = [list(item.ints) for item in node.attribute if item.name == "perm"]
                return perms == [[0, 3, 1, 2]]
            if node.op_type not in _ELEMENTWISE:
                return False
            names.update(node.output)
        return False

    def _output(self, name: str) -> SymbolicTensor:
        """Return the tensor of an output: images as (N, H, W, C), scores as (N, K)."""
        value = self.operands.get(name)
        if not isinstance(value, Value):
            raise FileFormatError(f"output {shown(name)!r}: expected it to depend on the input")
        with _named(f"output {shown(name)!r}"):
            view = value.view
            if len(view) == 4 and not view[2] and not view[3]:
                view = view[:2]  # scores (N, K, 1, 1)
            elif len(view) == 4 and value.stored != view:
                n, c, h, w = view
                view = (n, h, w, c)
            value = self.builder.arrange(value, view)
            if isinstance(value.tensor.layer, layers.InputLayer):
                value = self.builder.apply(layers.Activation("linear"), value)
        return value.tensor


def _needed_nodes(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """Return the nodes on which the outputs depend, in order."""
    needed = set(outputs)
    kept = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _refuse(node: NodeProto) -> None:
    """Refuse what no rule can translate, by name."""
    if node.domain not in ("", "ai.onnx"):
        raise FileFormatError(
            f"minidl does not have operators of the domain {shown(node.domain)!r}"
        )
    if any(attribute_type(item) in _SUBGRAPHS or item.g or item.graphs for item in node.attribute):
        raise FileFormatError("minidl does not support operators that contain graphs")
    if any(item.ref_attr_name for item in node.attribute):
        raise FileFormatError("minidl does not support functions")
    if node.op_type not in RULES and node.op_type not in FOLDED:
        raise FileFormatError("minidl does not have this operator")


_SUBGRAPHS = (AttributeType.GRAPH, AttributeType.GRAPHS)


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Begin the message of an error with the place in the graph."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{where}: {error}") from error
    except (MinidlError, ValueError, TypeError, KeyError, IndexError) as error:
        raise FileFormatError(f"{where}: {error}") from error
