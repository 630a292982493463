"""Call: what a rule is told about one call of a layer.

>>> from minidl import layers
>>> from minidl.onnx.call import Call
>>> from minidl.onnx.graph_builder import Value
>>> Call(layers.ReLU(), [Value("x", (None, 3))], (None, 3)).input.name
'x'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.layers.base import Shape
from minidl.onnx.graph_builder import Value

__all__ = ["Call"]


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes
    ----------
    layer : Layer
    inputs : list of Value
    shape : tuple of int or None
        Shape of the output in minidl.
    affine : (ndarray, ndarray), optional
        Scale and shift of the batch normalization that follows a convolution or Dense layer, one
        number for each output; the rule multiplies them into the weights.
    """

    layer: Any
    inputs: list[Value]
    shape: Shape
    affine: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def input(self) -> Value:
        """The only input."""
        return self.inputs[0]

    def fold_affine(self, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return a kernel, whose last axis is the outputs, and the bias with `affine` applied."""
        bias = None if self.layer.bias is None else self.layer.bias.array
        if self.affine is None:
            return kernel, bias
        scale, shift = self.affine
        return kernel * scale, shift if bias is None else bias * scale + shift
