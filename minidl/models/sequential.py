"""Sequential: a model that is a stack of layers or of whole models.

>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(1)])
>>> model.output_shape, model.count_params()
((None, 1), 257)
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np

from minidl.common.errors import MinidlError
from minidl.graph.assembly import Tensors
from minidl.graph.input_checks import unwrap_single_input
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input, InputLayer, SymbolicTensor
from minidl.models.model import Model

__all__ = ["Sequential"]

# Attributes that an unbuilt model lacks.
GRAPH_ATTRIBUTES = {"nodes", "tensors", "input_numbers", "output_numbers"}
GRAPH_ATTRIBUTES |= {"input_tensors", "output_tensors"}


class Sequential(Model):
    """A stack of layers and models.

    Parameters
    ----------
    layers : list of Layer or Model, optional
        The first may be an ``Input``. Without one, the shape comes from the first layer's
        ``input_shape`` or from the first data.
    name : str, optional

    Raises
    ------
    TypeError
        If an item is neither a layer nor a model with one output.
    ShapeError
        If a layer does not fit the output of the layer before it.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl import Sequential, layers
    >>> model = Sequential([layers.Flatten(), layers.Dense(2)])
    >>> model.built
    False
    >>> model.predict(np.zeros((5, 3, 3))).shape
    (5, 2)
    """

    single_input = single_output = True

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None):
        self._prepare(name)
        self.items: list[Layer | Network] = []
        self.start: SymbolicTensor | None = None
        if not isinstance(layers, (list, tuple, type(None))):
            raise TypeError(f"{self.label}: expected a list of layers, received {layers!r}")
        for item in layers or []:
            self._append(item)
        self._rebuild()

    @property
    def built(self) -> bool:
        """Whether the shape of the input is known and all parameters exist."""
        return "nodes" in self.__dict__

    @property
    def layers(self) -> list[Layer]:
        """All layers in order, including those of inlined models, without the input."""
        if not self.built:
            nested = [item.layers if isinstance(item, Network) else [item] for item in self.items]
            return [layer for group in nested for layer in group]
        return [layer for layer in super().layers if not isinstance(layer, InputLayer)]

    def add(self, layer: Layer | Network) -> None:
        """Append a layer or a model.

        Parameters
        ----------
        layer : Layer or Model

        Raises
        ------
        TypeError, ShapeError
            If it does not fit; then the model stays as it was.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((4,))])
        >>> model.add(layers.Dense(2))
        >>> model.output_shape
        (None, 2)
        """
        self._append(layer)
        try:
            self._rebuild()
        except Exception:
            self.items.pop()
            raise

    def pop(self) -> Layer | Network:
        """Remove the last layer or model.

        Returns
        -------
        Layer or Model

        Raises
        ------
        MinidlError
            If the model is empty.

        Examples
        --------
        >>> from minidl import Input, Sequential, layers
        >>> model = Sequential([Input((4,)), layers.Dense(3), layers.Dense(2, name="top")])
        >>> model.pop().name, model.output_shape
        ('top', (None, 3))
        """
        if not self.items:
            raise MinidlError(f"{self.label}: there is no layer to pop")
        item = self.items.pop()
        self.__dict__.pop("nodes", None)
        self._rebuild()
        return item

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create all parameters.

        Parameters
        ----------
        input_shape : tuple of int or None
            Shape of the input, batch first as in Keras.

        Examples
        --------
        >>> from minidl import Sequential, layers
        >>> model = Sequential([layers.Dense(2)])
        >>> model.build((None, 4))
        >>> model.count_params()
        10
        """
        if not self.built:
            dtype = next((layer.dtype.name for layer in self.layers if layer.dtype), "float32")
            self.start = Input(tuple(input_shape)[1:], dtype=dtype)
            self._rebuild()

    def save_weights(self, path: str | PathLike[str]) -> None:
        self._require_built()
        super().save_weights(path)

    def load_weights(self, path: str | PathLike[str]) -> None:
        self._require_built()
        super().load_weights(path)

    def check_inputs(self, x: Any, require_finite: bool = False) -> list[np.ndarray]:
        if not self.built and self.items:
            self.build(np.shape(unwrap_single_input(self.label, x)))
        self._require_built()
        return super().check_inputs(x, require_finite)

    def _inline(self, inputs: Tensors) -> Any:
        if not self.built and isinstance(inputs, SymbolicTensor):
            self.start = Input(inputs.shape[1:], dtype=inputs.dtype.name)
            self._rebuild()
        return super()._inline(inputs)

    @classmethod
    def _functional(cls, inputs: Tensors, outputs: Tensors, name: str) -> Self:
        whole = Model(inputs, outputs)
        is_stack = all(node.inputs == (i - 1,) for i, node in enumerate(whole.nodes) if node.inputs)
        items: list[Any] = [whole]
        if is_stack and not whole.inlined:
            items = [node.layer for node in whole.nodes[1:]]
        return cls([inputs, *items], name=name)

    def _append(self, item: Any) -> None:
        may_start = not self.items and self.start is None
        if isinstance(item, SymbolicTensor) and may_start:
            self.start = item
        elif isinstance(item, InputLayer) and may_start:
            self.start = SymbolicTensor(item.shape, item.dtype or np.float32, item)
        elif isinstance(item, (Layer, Network)):
            self.items.append(item)
        else:
            raise TypeError(f"{self.label}: expected a layer or a model, received {item!r}")

    def _rebuild(self) -> None:
        """Connect the items, if the shape of the input is known."""
        if self.start is None and self.items:
            self.start = _implied_input(self.items[0])
        if self.start is None or not self.items:
            return
        x: Any = self.start
        for item in self.items:
            x = item(x)
        if not isinstance(x, SymbolicTensor):
            raise TypeError(
                f"{self.label}: expected models with one output, received "
                f"{self.items[-1].label} with more than one output"
            )
        self._build(self.start, x)

    def __getattr__(self, name: str) -> Any:
        if name in GRAPH_ATTRIBUTES:
            self._require_built()
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _require_built(self) -> None:
        if not self.items:
            raise MinidlError(f"{self.label}: expected layers, the model has none. Add a layer.")
        if not self.built:
            raise MinidlError(
                f"{self.label}: expected a known input shape. Put Input(shape) first, call "
                "build((None, ...)), or call the model on data."
            )


def _implied_input(first: Layer | Network) -> SymbolicTensor | None:
    """Return the input that the first item determines, if it does."""
    if isinstance(first, Layer):
        dtype = first.dtype.name if first.dtype else "float32"
        return None if first.input_shape is None else Input(first.input_shape, dtype=dtype)
    if not first.built:
        return None
    return Input(first.input_shape[1:], dtype=first.dtype.name)
