"""What every layer is: named parameters, ``forward``, and ``backward`` right beneath it.

A layer keeps no per-call state: ``forward`` returns ``(output, cache)``, and ``backward``
gets that cache back. A layer of one's own needs three methods:

>>> import numpy as np
>>> from minidl.layers import Layer
>>> class Scale(Layer):
...     def build(self, input_shape):
...         self.factor = self.add_weight("factor", (input_shape[-1],), "ones")
...     def forward(self, x, training=False, rng=None):
...         return x * self.factor.value, x
...     def backward(self, dy, cache, need_dx=True):
...         return dy * self.factor.value, [(dy * cache).sum(axis=0)]
>>> Scale()(np.ones((2, 3), "float32")).shape
(2, 3)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.common.errors import ShapeError
from minidl.common.seeding import as_generator
from minidl.common.serialization import Configurable
from minidl.layers import initializers, regularizers
from minidl.layers.capabilities import Capabilities, check_capabilities, inherited_capabilities
from minidl.layers.names import layer_names
from minidl.layers.parameter import Parameter
from minidl.layers.weights import WeightsOwner

__all__ = ["Layer", "Parameter", "Shape"]

Shape = tuple[int | None, ...]  # the batch comes first; None is a size known only with the data

_construction_numbers = itertools.count()


def _build_once(build: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Wrap a ``build`` method: check the input first, and do nothing if the layer is built."""

    @functools.wraps(build)
    def wrapper(self: Layer, input_shape: Any) -> None:
        if not self.built:
            self.compute_output_shape(input_shape)
            check_capabilities(self, input_shape, type(self).infer is not Layer.infer)
            self.dtype = self.dtype or np.dtype(np.float32)
            build(self, input_shape)
            self.built = True

    return wrapper


class Layer(WeightsOwner, Configurable):
    """Base class of all layers.

    Parameters
    ----------
    name : str, optional
        Unique within a model; derived from the class where it is not given.
    trainable : bool
        Whether training changes the parameters. Can be set at any time and takes effect at
        the next step.
    dtype : {"float32", "float64"}, optional
        Type of the parameters and of the computation; by default that of the input.
    learning_rate_multiplier : float
        The optimizer's learning rate is multiplied by this for the layer's parameters.
    input_shape : tuple of int, optional
        For the first layer of a Sequential: the shape of one sample.
    """

    capabilities = Capabilities()

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
        learning_rate_multiplier: float = 1.0,
        input_shape: tuple[int | None, ...] | None = None,
        **unknown: Any,
    ):
        if unknown:
            raise TypeError(f"{type(self).__name__}: unknown argument {next(iter(unknown))!r}")
        if dtype is not None and np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(
                f"{type(self).__name__}: expected dtype float32 or float64, received {dtype!r}"
            )
        if name is not None and (not isinstance(name, str) or name in ("", ".") or "/" in name):
            raise ValueError(
                f"{type(self).__name__}: expected a name without '/', received {name!r}"
            )
        self.construction_number = next(_construction_numbers)  # Keras numbers names in this order
        self.auto_named = name is None
        self.name = name or layer_names.provisional(type(self))
        self.resolved_name: str | None = None  # the name within a network, if auto_named
        self.trainable = trainable
        self.dtype = None if dtype is None else np.dtype(dtype)
        self.learning_rate_multiplier = learning_rate_multiplier
        self.sample_shape = None if input_shape is None else tuple(input_shape)
        self.parameters: list[Parameter] = []
        self.built = False

    def __init_subclass__(cls, **kwargs):
        """Make each class's ``build`` run once, and reset capabilities of a new ``forward``."""
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _build_once(cls.__dict__["build"])
        cls.capabilities = inherited_capabilities(cls)

    # ------------------------------------------------------------------ to be written by each layer

    @_build_once
    def build(self, input_shape: Shape) -> None:
        """Create the parameters with ``add_weight``; `input_shape` has the batch first."""

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the output's shape, or raise ShapeError where the input does not fit."""
        return input_shape

    def forward(self, x, training: bool = False, rng: np.random.Generator | None = None):
        """Return ``(y, cache)``; never change `x`.

        `training` switches dropout, augmentation and batch statistics on; `rng` is where
        a random layer takes its numbers from.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, dy, cache, need_dx: bool = True):
        """Return ``(dx, gradients)``: one gradient for each of ``trainable_weights``.

        `dx` may be None where `need_dx` is False. Never change `dy`.
        """
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def infer(self, x, out: np.ndarray | None = None):
        """Return the output outside training; with ``writes_output``, it is `out` if given."""
        return self.forward(x)[0]

    def multiply_adds(self, input_shape: Shape, output_shape: Shape) -> int:
        """Return the multiplications per sample that ``summary`` reports."""
        return 0

    # ------------------------------------------------------------------ what each layer gets

    def __call__(self, inputs, training: bool = False):
        """Connect to a symbolic tensor (from ``Input``), or compute the output of arrays."""
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else inputs
        if hasattr(first, "connect"):
            return first.connect(self, inputs)
        xs = [np.asarray(x) for x in (inputs if self.capabilities.accepts_list else [inputs])]
        dtype = self.dtype or np.result_type(*xs)
        dtype = dtype if dtype == np.float64 else np.dtype(np.float32)
        shape = self.as_input([x.shape for x in xs])
        self.ensure_built(shape, dtype)
        self.compute_output_shape(shape)
        return self.forward(as_dtype(self.as_input(xs), self.dtype), training=training)[0]

    def as_input(self, items: list[Any]) -> Any:
        """Return arrays or shapes as ``forward`` expects them: the list, or its only item."""
        return items if self.capabilities.accepts_list else items[0]

    def ensure_built(self, input_shape, dtype=np.float32) -> None:
        """Build once, for inputs of `input_shape` (batch first)."""
        if not self.built:
            self.compute_output_shape(input_shape)  # complains before anything is made
            self.dtype = self.dtype or np.dtype(dtype)
            self.build(input_shape)

    def add_weight(
        self, name, shape, initializer="glorot_uniform", trainable=True, regularizer=None, seed=None
    ) -> Parameter:
        """Make a parameter; `trainable=False` is for statistics that training never learns."""
        initializer = initializers.get(initializer)
        dtype = self.dtype or np.dtype(np.float32)
        value = np.array(initializer(tuple(shape), as_generator(seed)), dtype=dtype, order="C")
        parameter = Parameter(name, value, trainable, regularizers.get(regularizer), self)
        self.parameters.append(parameter)
        return parameter

    @property
    def weights(self) -> list[Parameter]:
        """All parameters: the learned ones first, then statistics (Keras' order)."""
        return sorted(self.parameters, key=lambda parameter: not parameter.learned)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(name=self.name, trainable=self.trainable)
        if self.dtype is not None:
            config["dtype"] = self.dtype.name
        if self.learning_rate_multiplier != 1.0:
            config["learning_rate_multiplier"] = self.learning_rate_multiplier
        return config

    @property
    def label(self) -> str:
        """How error messages name this layer: ``Conv2D 'conv1'``."""
        return f"{type(self).__name__} {self.name!r}"

    def check_rank(self, input_shape: Shape, rank: int, layout: str) -> None:
        """Raise ShapeError unless `input_shape` has `rank` dimensions."""
        if len(input_shape) != rank:
            raise ShapeError(
                f"{self.label}: expected input {layout}, received shape {tuple(input_shape)}"
            )

    def __getattr__(self, attribute: str):
        if not attribute.startswith("_") and not self.__dict__.get("built", True):
            raise AttributeError(
                f"{self.label} has no {attribute!r} yet: call it on data or build(input_shape) it "
                "first"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")

    def __repr__(self) -> str:
        return f"<{self.label}{'' if self.trainable else ' frozen'}>"


def as_dtype(x, dtype):
    """Return `x` (an array or a list of arrays) C-contiguous in `dtype`, uncopied if it is.

    A `dtype` of None keeps each array's own.
    """
    if isinstance(x, (list, tuple)):
        return [as_dtype(item, dtype) for item in x]
    return np.ascontiguousarray(x, dtype=dtype)
