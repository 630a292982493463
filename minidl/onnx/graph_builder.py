"""GraphBuilder: an ONNX graph under construction, and its values with their layouts.

minidl keeps images as (N, H, W, C); ONNX's convolutions and poolings expect (N, C, H, W). A value
therefore knows how its numbers are laid out, and a rule asks for the layout that it needs. A
transpose is added only where two layouts meet, and once per value.

>>> import numpy as np
>>> from minidl.onnx.graph_builder import GraphBuilder, Value
>>> graph = GraphBuilder(opset=17)
>>> image = Value("input", (None, 4, 4, 3))
>>> y = graph.add("Relu", [graph.channels_first(image).name])
>>> [(node.op_type, node.input) for node in graph.nodes]
[('Transpose', ['input']), ('Relu', ['Transpose'])]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidl.layers.base import Shape
from minidl.onnx.messages import (
    AttributeProto,
    AttributeType,
    Dimension,
    NodeProto,
    TensorProto,
    TensorShapeProto,
    TensorTypeProto,
    TypeProto,
    ValueInfoProto,
)
from minidl.onnx.tensors import tensor_of

__all__ = ["GraphBuilder", "Value", "value_info"]

TO_CHANNELS_FIRST = (0, 3, 1, 2)
TO_CHANNELS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Attributes
    ----------
    name : str
    shape : tuple of int or None
        The shape in minidl, with the batch first and the channels last.
    channels_first : bool
        The graph holds the images of `shape` as (N, C, H, W).
    flattened_from : (int, int, int), optional
        The features were flattened from images (N, C, H, W) and are in this order; minidl's order
        is that of the given (H, W, C).
    """

    name: str
    shape: Shape
    channels_first: bool = False
    flattened_from: tuple[int, int, int] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the numbers are laid out as in minidl."""
        return not self.channels_first and self.flattened_from is None


class GraphBuilder:
    """Collects the nodes and constants of a graph.

    Parameters
    ----------
    opset : int
        Version of ONNX's operators.

    Attributes
    ----------
    scope : str
        Prefix of new names, usually the name of the layer that is being exported.
    nodes : list of NodeProto
    initializers : dict of str to TensorProto
    """

    def __init__(self, opset: int):
        self.opset = opset
        self.scope = ""
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._names: set[str] = set()
        self._converted: dict[tuple[str, str], Value] = {}

    def add(self, op_type: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output and return the name of the output.

        Parameters
        ----------
        op_type : str
            Name of an operator of ONNX, such as "Relu".
        inputs : sequence of str
            Names of values or constants; "" leaves an optional input out.
        **attributes
            int, float, str, or a sequence of int or of float. None leaves one out.
        """
        name = self.unique(op_type)
        given = {key: value for key, value in attributes.items() if value is not None}
        attribute = [_attribute(key, value) for key, value in given.items()]
        self.nodes.append(NodeProto(list(inputs), [name], name, op_type, attribute))
        return name

    def constant(self, role: str, array: Any) -> str:
        """Add a constant tensor and return its name; floating-point numbers become float32.

        Parameters
        ----------
        role : str
            Such as "kernel"; the name also contains the scope.
        array : array_like
        """
        array = np.asarray(array)
        if array.dtype.kind == "f":
            array = array.astype(np.float32, copy=False)
        name = self.unique(role)
        self.initializers[name] = tensor_of(name, array)
        return name

    def sizes(self, role: str, *sizes: int) -> str:
        """Add a constant of int64, such as a shape, and return its name."""
        return self.constant(role, np.array(sizes, np.int64))

    def unique(self, name: str) -> str:
        """Return a name within the scope that no other value has."""
        base = f"{self.scope}/{name}" if self.scope else name
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    # ------------------------------------------------------------------ layouts

    def channels_first(self, value: Value) -> Value:
        """Return images as (N, C, H, W)."""
        if value.channels_first:
            return value
        return self._once(value, "channels_first")

    def plain(self, value: Value) -> Value:
        """Return a value in the layout of minidl: channels last."""
        return value if value.is_plain else self._once(value, "plain")

    def broadcast(self, role: str, numbers: Any, value: Value) -> str:
        """Add numbers that are broadcast against `value`, and return their name.

        Parameters
        ----------
        role : str
        numbers : array_like
            In minidl's layout: one number, one for each channel, or as many axes as `value`.
        value : Value
        """
        numbers = np.asarray(numbers)
        if value.channels_first and numbers.ndim:
            full = numbers.reshape((1,) * (4 - numbers.ndim) + numbers.shape)
            numbers = full.transpose(TO_CHANNELS_FIRST)
        return self.constant(role, numbers)

    def _once(self, value: Value, layout: str) -> Value:
        key = value.name, layout
        if key not in self._converted:
            convert = self._to_first if layout == "channels_first" else self._to_plain
            self._converted[key] = convert(value)
        return self._converted[key]

    def _to_first(self, value: Value) -> Value:
        name = self.add("Transpose", [value.name], perm=TO_CHANNELS_FIRST)
        return Value(name, value.shape, channels_first=True)

    def _to_plain(self, value: Value) -> Value:
        name = value.name
        if value.flattened_from is not None:
            height, width, channels = value.flattened_from
            shape = self.sizes("image_shape", 0, channels, height, width)
            name = self.add("Reshape", [name, shape])
            name = self.add("Transpose", [name], perm=TO_CHANNELS_LAST)
            name = self.add("Flatten", [name], axis=1)
        else:
            name = self.add("Transpose", [name], perm=TO_CHANNELS_LAST)
        return replace(value, name=name, channels_first=False, flattened_from=None)

    # ------------------------------------------------------------------ operators of all opsets

    def reduce(self, op_type: str, name: str, axis: int, keepdims: bool = False) -> str:
        """Add a reduction along one axis; since opset 18 its axes are an input."""
        if self.opset >= 18 or op_type == "ReduceSum":
            return self.add(op_type, [name, self.sizes("axes", axis)], keepdims=int(keepdims))
        return self.add(op_type, [name], axes=[axis], keepdims=int(keepdims))

    def resize(self, name: str, height: int, width: int, antialias: bool = False) -> str:
        """Add a bilinear resize of images (N, C, H, W).

        Parameters
        ----------
        name : str
        height, width : int
            Size of the result in pixels.
        antialias : bool
            Average over all pixels when an image becomes smaller, with Pillow's weights: pixels
            beyond the edge do not count. Needs opset 18.
        """
        batch_and_channels = self.add(
            "Slice", [self.add("Shape", [name]), self.sizes("first", 0), self.sizes("second", 2)]
        )
        # The attribute `axes`, which would spare the other sizes, breaks ONNX Runtime's optimizer.
        size = self.add("Concat", [batch_and_channels, self.sizes("size", height, width)], axis=0)
        option = {"antialias": 1, "exclude_outside": 1} if antialias else {}
        return self.add("Resize", [name, "", "", size], mode="linear", **option)

    def rename_outputs(self, outputs: Sequence[tuple[Value, str]]) -> None:
        """Give values in minidl's layout the names of the graph's outputs; call it once, last."""
        produced = {name for node in self.nodes for name in node.output}
        names: dict[str, str] = {}
        for value, name in outputs:
            if value.name in produced and value.name not in names:
                names[value.name] = name
            else:  # an input of the graph, or a value that is an output twice
                self.nodes.append(NodeProto([value.name], [name], name, "Identity"))
        for node in self.nodes:
            node.input = [names.get(name, name) for name in node.input]
            node.output = [names.get(name, name) for name in node.output]


def _attribute(name: str, value: Any) -> AttributeProto:
    """Return an attribute; its type is that of the Python value."""
    if isinstance(value, str):
        return AttributeProto(name, s=value.encode(), type=AttributeType.STRING)
    if isinstance(value, float):
        return AttributeProto(name, f=value, type=AttributeType.FLOAT)
    if isinstance(value, (int, np.integer)):
        return AttributeProto(name, i=int(value), type=AttributeType.INT)
    if any(isinstance(item, float) for item in value):
        return AttributeProto(name, floats=list(value), type=AttributeType.FLOATS)
    return AttributeProto(name, ints=[int(item) for item in value], type=AttributeType.INTS)


def value_info(name: str, shape: Shape, data_type: int) -> ValueInfoProto:
    """Return the description of an input or output; the batch is called "N".

    Parameters
    ----------
    name : str
    shape : tuple of int or None
        Batch first. Other unknown sizes are named after the value and their axis.
    data_type : int
        One of :class:`minidl.onnx.messages.DataType`.
    """
    sizes = []
    for axis, size in enumerate(shape):
        if size is None:
            sizes.append(Dimension(dim_param="N" if axis == 0 else f"{name}_{axis}"))
        else:
            sizes.append(Dimension(dim_value=size))
    tensor = TensorTypeProto(data_type, TensorShapeProto(sizes))
    return ValueInfoProto(name, TypeProto(tensor))
