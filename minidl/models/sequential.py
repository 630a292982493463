"""Sequential: a model that is a plain stack of layers (or of whole models).

>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(1)])
>>> model.output_shape, model.count_params()
((None, 1), 257)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.errors import MinidlError
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input, InputLayer, SymbolicTensor
from minidl.models.model import Model

__all__ = ["Sequential"]


class Sequential(Model):
    """A stack of layers and models.

    Parameters
    ----------
    layers : list of Layer or Model, optional
        The first may be an ``Input``. Without one, and where the first layer has no
        ``input_shape``, the shape is taken from the first data.
    name : str, optional
    """

    single_input = single_output = True

    def __init__(self, layers: list[Any] | None = None, name: str | None = None):
        self._prepare(name)
        self.items: list[Layer | Network] = []
        self.start: SymbolicTensor | None = None
        self.nodes = []
        if not isinstance(layers, (list, tuple, type(None))):
            raise TypeError(f"{self.label}: expected a list of layers, received {layers!r}")
        for item in layers or []:
            self._append(item)
        self._rebuild()

    @property
    def built(self) -> bool:
        """Whether the input's shape is known and all parameters exist."""
        return bool(self.nodes)

    @property
    def layers(self) -> list[Layer]:
        """All layers in order, those of inlined models among them, without the input."""
        if not self.built:
            nested = [item.layers if isinstance(item, Network) else [item] for item in self.items]
            return [layer for group in nested for layer in group]
        return [layer for layer in super().layers if not isinstance(layer, InputLayer)]

    def add(self, layer: Layer | Network) -> None:
        """Put a layer or a model on top."""
        self._append(layer)
        try:
            self._rebuild()
        except Exception:  # it does not fit: the model stays as it was
            self.items.pop()
            raise

    def pop(self) -> Layer | Network:
        """Take the topmost layer or model off and return it."""
        if not self.items:
            raise MinidlError(f"{self.label}: there is no layer to pop")
        item = self.items.pop()
        self.nodes = []
        self._rebuild()
        return item

    def build(self, input_shape) -> None:
        """Make all parameters for inputs of `input_shape`, batch first as in Keras."""
        if not self.built:
            dtype = next((layer.dtype.name for layer in self.layers if layer.dtype), "float32")
            self.start = Input(tuple(input_shape)[1:], dtype=dtype)
            self._rebuild()

    def summary(self, print_fn=None) -> None:
        self._require_built("summary")
        super().summary(print_fn)

    def tap(self, name: str):
        self._require_built("tap")
        return super().tap(name)

    def save(self, path, include_optimizer: bool = True, dtype: str | None = None) -> None:
        self._require_built("save")
        super().save(path, include_optimizer, dtype)

    def save_weights(self, path) -> None:
        self._require_built("save_weights")
        super().save_weights(path)

    def load_weights(self, path) -> None:
        self._require_built("load_weights")
        super().load_weights(path)

    def check_inputs(self, x) -> list[np.ndarray]:
        if not self.built and self.items:
            self.build(np.shape(self._only_input(x)))
        self._require_built("this")
        return super().check_inputs(x)

    def _inline(self, inputs):
        if not self.built:
            self.start = Input(inputs.shape[1:], dtype=inputs.dtype.name)
            self._rebuild()
        return super()._inline(inputs)

    @classmethod
    def _functional(cls, inputs, outputs, name: str):
        whole = Model(inputs, outputs)
        chain = all(node.inputs == (i - 1,) for i, node in enumerate(whole.nodes) if node.inputs)
        plain = chain and not whole.inlined
        items = [node.layer for node in whole.nodes[1:]] if plain else [whole]
        return cls([inputs, *items], name=name)

    def _append(self, item: Any) -> None:
        if isinstance(item, SymbolicTensor) and not self.items and self.start is None:
            self.start = item
        elif isinstance(item, InputLayer) and not self.items and self.start is None:
            self.start = SymbolicTensor(item.shape, item.dtype, item)
        elif isinstance(item, (Layer, Network)):
            self.items.append(item)
        else:
            raise TypeError(f"{self.label}: expected a layer or a model, received {item!r}")

    def _rebuild(self) -> None:
        """Connect the items, once the shape of the input is known."""
        if self.start is None and self.items:
            self.start = self._start_of(self.items[0])
        if self.start is None or not self.items:
            return
        x = self.start
        for item in self.items:
            x = item(x)
        if not isinstance(x, SymbolicTensor):
            raise TypeError(f"{self.label}: {self.items[-1].label} has more than one output")
        self._build(self.start, x)

    @staticmethod
    def _start_of(first: Layer | Network) -> SymbolicTensor | None:
        """The input that the first item implies, if it does."""
        if isinstance(first, Layer):
            dtype = first.dtype.name if first.dtype else "float32"
            return None if first.input_shape is None else Input(first.input_shape, dtype=dtype)
        if isinstance(first, Sequential) and not first.built:
            return None
        return Input(first.input_shape[1:], dtype=first.dtype.name)

    def __getattr__(self, name: str):
        if name in ("input_tensors", "output_tensors", "input_numbers", "output_numbers"):
            self._require_built("this")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def _require_built(self, what: str) -> None:
        if not self.items:
            raise MinidlError(f"{self.label}: {what} needs layers, and there are none")
        if not self.built:
            raise MinidlError(
                f"{self.label}: {what} needs the input's shape; put an Input(shape) first, call "
                "build((None, ...)), or give the model data"
            )
