"""Builder: connects layers to values, with given weights, names and limits.

>>> import numpy as np
>>> from minidl import Input, layers
>>> from minidl.onnx.importing.layout import Axis, Value
>>> n, c, h, w = Axis(None), Axis(3), Axis(8), Axis(8)
>>> image = Value(Input((8, 8, 3)), ((n,), (h,), (w,), (c,)), ((n,), (c,), (h,), (w,)))
>>> builder = Builder()
>>> builder.arrange(image, image.view).tensor.shape  # by a Permute layer
(None, 3, 8, 8)
>>> flat = builder.arrange(image, ((n,), (h, w, c)))
>>> type(flat.tensor.layer).__name__, flat.tensor.shape
('Flatten', (None, 192))
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import check_finite
from minidl.layers.base import Layer
from minidl.layers.parameter import Parameter
from minidl.layers.symbolic import SymbolicTensor
from minidl.onnx.importing.layout import Group, Value, View, atoms, axis_of, moves
from minidl.onnx.messages import NodeProto

__all__ = ["MAX_ELEMENTS", "MAX_PARAMETERS", "Builder"]

MAX_PARAMETERS = 500_000_000  # 2 GB; VGG19 has 144 million
MAX_ELEMENTS = 2**28  # of one sample in a layer's output

_WEIGHT = re.compile(r"(.*[^./_])[./_](weight|kernel|w|W|scale|s|gamma)(_\d+)?(:\d+)?")


class Builder:
    """Creates the layers of an imported model.

    Attributes
    ----------
    parameters_left : int
        Number of parameters that may still be created.
    """

    def __init__(self) -> None:
        self.parameters_left = MAX_PARAMETERS
        self._names: Counter[str] = Counter()
        self._shared: dict[int, SymbolicTensor] = {}
        # Keys have ids, therefore the first tensor of a pair is kept.
        self._arranged: dict[tuple[int, View], tuple[SymbolicTensor, SymbolicTensor]] = {}

    def share(self, tensor: SymbolicTensor) -> None:
        """Note that several operations read a tensor, or the caller receives it."""
        self._shared[id(tensor)] = tensor

    def is_private(self, tensor: SymbolicTensor) -> bool:
        """Return whether only one operation reads a tensor, so that its layer may be changed."""
        return id(tensor) not in self._shared

    def connect(
        self,
        layer: Layer,
        inputs: SymbolicTensor | Sequence[SymbolicTensor],
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> SymbolicTensor:
        """Call a layer on tensors and return its output.

        Parameters
        ----------
        layer : Layer
            Not built.
        inputs : SymbolicTensor or list of them
        weights : dict of str to array, optional
            The layer's parameters by name; they replace its initializers.

        Raises
        ------
        FileFormatError
            If an array has another shape or is not finite, or a limit is exceeded.
        """
        vars(layer)["add_weight"] = partial(self._add_weight, layer, dict(weights or {}))
        try:
            tensor: SymbolicTensor = layer(inputs)
        finally:
            del vars(layer)["add_weight"]
        elements = math.prod(n or 1 for n in tensor.shape[1:])
        if elements > MAX_ELEMENTS:
            raise FileFormatError(f"expected outputs of at most {MAX_ELEMENTS} numbers a sample")
        return tensor

    def _add_weight(
        self,
        layer: Layer,
        weights: dict[str, np.ndarray],
        name: str,
        shape: tuple[int, ...],
        *arguments: Any,
        trainable: bool = True,
        **options: Any,
    ) -> Parameter:
        """Take the place of ``Layer.add_weight``."""
        array = weights[name]
        if array.shape != tuple(shape):
            raise FileFormatError(f"expected {name} of shape {shape}, received {array.shape}")
        self.parameters_left -= array.size
        if self.parameters_left < 0:
            raise FileFormatError(f"expected a model of at most {MAX_PARAMETERS} parameters")
        with np.errstate(over="ignore"):
            # Constants are read-only, because several layers may use them: those are copied.
            numbers = np.require(array, layer.dtype, ["C", "W"])
        check_finite(numbers, name)
        layer.parameters.append(Parameter(name, numbers, trainable, layer=layer))
        return layer.parameters[-1]

    def apply(self, layer: Layer, value: Value, weights: Any = None) -> Value:
        """Return the output of a layer that keeps the shape and computes in any layout."""
        return Value(self.connect(layer, value.tensor, weights), value.stored, value.view)

    # ------------------------------------------------------------------ layouts

    def arrange(self, value: Value, wanted: View) -> Value:
        """Return `value` stored in the layout `wanted`, by Reshape and Permute if necessary."""
        key = id(value.tensor), wanted
        if key not in self._arranged:  # several readers share the layers
            tensor = value.tensor
            split, dims, joined = moves(value.stored, wanted)
            if split is not None:
                tensor = self.connect(layers.Reshape(split), tensor)
            if dims is not None:
                tensor = self.connect(layers.Permute(dims), tensor)
            if joined is not None:
                flat = len(joined) == 1
                tensor = self.connect(layers.Flatten() if flat else layers.Reshape(joined), tensor)
            self._arranged[key] = value.tensor, tensor
        return Value(self._arranged[key][1], wanted, value.view)

    def images(self, value: Value, ordered: bool = True) -> Value:
        """Return a value (N, C, H, W) stored as (N, H, W, C).

        Without `ordered`, the channels may be stored in another order than ONNX's, which the last
        group of the layout tells.
        """
        if len(value.view) != 4:
            raise FileFormatError(f"expected images (N, C, H, W), received shape {value.shape}")
        n, c, h, w = value.view
        return self.arrange(value, (n, h, w, c if ordered else self.stored_order(value, c)))

    def channels(self, value: Value, axis: int = 1) -> Value:
        """Return a value with the axis `axis` of its view stored last.

        The order of the channels is that of the last group of the layout.
        """
        if value.view[axis] == value.view[0]:
            raise FileFormatError("expected an operation along another axis than the batch")
        last = self.stored_order(value, value.view[axis])
        if value.stored[-1] == last:
            return value
        others = [group for i, group in enumerate(value.view) if i not in (0, axis)]
        rest = [group for group in value.stored[1:] if set(group) <= set(atoms(others))]
        if set(atoms(rest)) != set(atoms(others)) or len(rest) != len(others):
            rest = others
        return self.arrange(value, (value.view[0], *rest, last))

    @staticmethod
    def stored_order(value: Value, group: Group) -> Group:
        """Return the axes of a group in the order in which they are stored."""
        return tuple(axis for axis in atoms(value.stored) if axis in group)

    @staticmethod
    def from_images(
        tensor: SymbolicTensor, batch: Group, stored: Group | None = None, view: Group | None = None
    ) -> Value:
        """Return the value of a tensor (N, H, W, C) with a new height and width.

        `stored` and `view` are the axes of the channels in both orders; by default a new axis.
        """
        height, width, new = (axis_of(n) for n in tensor.shape[1:])
        stored = new if stored is None else stored
        view = stored if view is None else view
        return Value(tensor, (batch, height, width, stored), (batch, view, height, width))

    # ------------------------------------------------------------------ names

    def name(self, node: NodeProto, weight: str = "") -> str | None:
        """Return a unique name for the layer of a node; None if the file has none.

        The name of a weight such as ``layer1.0.conv1.weight`` tells more than that of the node.
        """
        found = _WEIGHT.fullmatch(weight)
        base = weight_name = "" if found is None or "::" in weight else found.group(1)
        if not weight_name:
            base = node.name or (node.output[0] if node.output else "")
            base = re.sub(rf"/{re.escape(node.op_type)}(_\d+)?$", "", base)
            base = base.removeprefix("node_")
        name = _joined_scopes(base)
        if not name or not name.isprintable() or len(name) > 200:
            return None
        self._names[name] += 1
        while self._names[name] > 1:
            name = f"{name}_{self._names[name] - 1}"
            self._names[name] += 1
        return name


def _joined_scopes(path: str) -> str:
    """Return a path of scopes with dots: PyTorch repeats the outer scope in the inner one.

    >>> _joined_scopes("/layer1/layer1.0/conv1")
    'layer1.0.conv1'
    """
    name = ""
    for part in path.replace(":", "/").split("/"):
        part = part.strip()
        name = (
            part if not name or part.startswith(f"{name}.") else f"{name}.{part}" if part else name
        )
    return name.strip(".")
