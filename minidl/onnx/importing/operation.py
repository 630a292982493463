"""Operation: a node of an ONNX graph with its operands and attributes, checked when they are read.

>>> import numpy as np
>>> from minidl.onnx.messages import AttributeProto, AttributeType, NodeProto
>>> alpha = AttributeProto(name="alpha", f=0.5, type=AttributeType.FLOAT)
>>> node = NodeProto(op_type="LeakyRelu", name="act", attribute=[alpha])
>>> operation = Operation(node, opset=17, operands=[np.ones(2)])
>>> operation.number("alpha", 0.01), operation.constant(0).tolist()
(0.5, [1.0, 1.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.onnx.importing.layout import Value
from minidl.onnx.messages import AttributeProto, AttributeType, NodeProto
from minidl.onnx.tensors import array_of

__all__ = ["Operand", "Operation", "attribute_type", "checked_axis", "name_of", "shown"]

Operand = Value | np.ndarray | None  # computed, constant, or left out

_FIELDS = {
    AttributeType.FLOAT: "f",
    AttributeType.INT: "i",
    AttributeType.STRING: "s",
    AttributeType.FLOATS: "floats",
    AttributeType.INTS: "ints",
    AttributeType.STRINGS: "strings",
    AttributeType.TENSOR: "t",
}
# Attributes of former versions without an effect on inference.
_IGNORED = ("consumed_inputs", "is_test", "storage_order", "kernel_shape", "saturate")


class Operation:
    """One node of a graph.

    Parameters
    ----------
    node : NodeProto
    opset : int
        Version of ONNX's operators that the file uses.
    operands : list of Operand
        One for each input of the node.
    """

    def __init__(self, node: NodeProto, opset: int, operands: Sequence[Operand]):
        self.node, self.opset, self.operands = node, opset, list(operands)
        self.kind = node.op_type
        self.attributes = {item.name: item for item in node.attribute}
        self._unread = {
            name
            for name, item in self.attributes.items()
            if name not in _IGNORED and item.type != AttributeType.GRAPH
        }
        if len(self.attributes) != len(node.attribute):
            raise FileFormatError("expected attributes with different names")

    @property
    def label(self) -> str:
        """How messages name the node: ``Conv 'conv1'``."""
        return f"{shown(self.kind)} {shown(name_of(self.node))!r}"

    def input_name(self, position: int) -> str:
        """Return the name of an input, "" without it."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def has(self, name: str) -> bool:
        """Whether the node has an attribute."""
        return name in self.attributes

    def number(self, name: str, default: float) -> float:
        """Return an attribute of type float."""
        return float(self._read(name, AttributeType.FLOAT, default) or 0.0)

    def integer(self, name: str, default: int) -> int:
        """Return an attribute of type int."""
        return int(self._read(name, AttributeType.INT, default) or 0)

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """Return an attribute with a list of ints."""
        found = self._read(name, AttributeType.INTS, default)
        return None if found is None else [int(n) for n in found]

    def text(self, name: str, default: str) -> str:
        """Return an attribute of type string."""
        found = self._read(name, AttributeType.STRING, default)
        return found if isinstance(found, str) else bytes(found or b"").decode("utf-8", "replace")

    def array(self, name: str) -> np.ndarray | None:
        """Return an attribute of type tensor, or None."""
        found = self._read(name, AttributeType.TENSOR, None)
        return None if found is None else array_of(found)

    def floats(self, name: str) -> list[float] | None:
        """Return an attribute with a list of floats, or None."""
        return self._read(name, AttributeType.FLOATS, None)

    def _read(self, name: str, kind: int, default: Any) -> Any:
        item = self.attributes.get(name)
        if item is None:
            return default
        self._unread.discard(name)
        if attribute_type(item) != kind:
            raise FileFormatError(
                f"expected attribute {name!r} of type {kind}, received type {item.type}"
            )
        return getattr(item, _FIELDS[kind])

    def check_all_read(self) -> None:
        """Raise FileFormatError if the node has an attribute that no rule has read."""
        if self._unread:
            raise FileFormatError(f"minidl does not have its attribute {min(self._unread)!r}")

    def has_operand(self, position: int) -> bool:
        """Whether the node has an input at a position."""
        return position < len(self.operands) and self.operands[position] is not None

    def value(self, position: int = 0) -> Value:
        """Return a computed operand."""
        found = self.operands[position] if position < len(self.operands) else None
        if not isinstance(found, Value):
            received = "nothing" if found is None else "a constant"
            raise FileFormatError(
                f"expected input {position} to depend on the model's input, received {received}"
            )
        return found

    def constant(self, position: int) -> np.ndarray:
        """Return a constant operand."""
        found = self.operands[position] if position < len(self.operands) else None
        if not isinstance(found, np.ndarray):
            received = "nothing" if found is None else "a computed one"
            raise FileFormatError(
                f"expected a constant as input {position}, such as weights, received {received}"
            )
        return found

    def constant_or_none(self, position: int) -> np.ndarray | None:
        """Return a constant operand, or None if the node does not have it."""
        return self.constant(position) if self.has_operand(position) else None

    def axes(self, name: str, position: int, rank: int) -> list[int] | None:
        """Return axes >= 0 from an attribute, or from an input as in later versions.

        Parameters
        ----------
        name : str
            Of the attribute.
        position : int
            Of the input.
        rank : int
            Number of axes that they count.
        """
        found: Any = self.integers(name)
        if found is None and self.has_operand(position):
            found = self.constant(position).reshape(-1).tolist()
        return None if found is None else [checked_axis(axis, rank) for axis in found]


def attribute_type(item: AttributeProto) -> int:
    """Return the type of an attribute; the first version of the format did not store it."""
    if item.type:
        return item.type
    for kind, name in _FIELDS.items():
        if getattr(item, name) not in (None, []):
            return kind
    return 0


def checked_axis(axis: Any, rank: int) -> int:
    """Return an axis that may count from the end as one >= 0."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise FileFormatError(f"expected an axis of {rank}, received {axis!r}")
    return axis % rank


def name_of(node: NodeProto) -> str:
    """Return the name of a node, or of its first output."""
    return node.name or (node.output[0] if node.output else "")


def shown(name: str) -> str:
    """Return a name on one line of at most 60 characters."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 60 else f"{name[:57]}..."
