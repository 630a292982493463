"""Layer: the base class with named parameters, ``forward`` and ``backward``.

A layer keeps no state of a call: ``forward`` returns ``(output, cache)``, and ``backward``
receives that cache. A custom layer implements three methods:

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
from numpy.typing import DTypeLike

from minidl.common.errors import ShapeError
from minidl.common.seeding import as_generator
from minidl.common.serialization import Configurable
from minidl.layers import initializers, regularizers
from minidl.layers.capabilities import Capabilities, check_capabilities, inherited_capabilities
from minidl.layers.names import layer_names
from minidl.layers.parameter import Parameter
from minidl.layers.weights import WeightsOwner

__all__ = ["Gradients", "Layer", "Output", "Parameter", "Rng", "Shape", "as_dtype"]

Shape = tuple[Any, ...]  # of int or None, the size known only with the data; the batch comes first
Rng = np.random.Generator | None
Output = tuple[np.ndarray, Any]  # (y, cache)
Gradients = tuple[Any, list[np.ndarray]]  # (dx, one gradient for each trainable parameter)

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

    Every argument of a layer's constructor is also an attribute, normalized as in Keras:
    ``Conv2D(8, 3).kernel_size`` is ``(3, 3)``.

    Parameters
    ----------
    name : str, optional
        Unique within a model; by default derived from the class.
    trainable : bool
        Whether training changes the parameters. A change takes effect at the next step.
    dtype : {"float32", "float64"}, optional
        Type of the parameters and of the computation; by default that of the first input.
    learning_rate_multiplier : float
        Factor on the optimizer's learning rate for the parameters of this layer.
    input_shape : tuple of int or None, optional
        Shape of one sample, for the first layer of a Sequential.

    Attributes
    ----------
    capabilities : Capabilities
        Properties of ``forward`` that the executors exploit; declared next to it.
    parameters : list of Parameter
        In the order of their creation.
    built : bool
        Whether the parameters exist.

    Raises
    ------
    TypeError
        For an unknown argument.
    ValueError
        For another dtype, or a name that is empty or contains "/".
    """

    capabilities = Capabilities()

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: DTypeLike | None = None,
        learning_rate_multiplier: float = 1.0,
        input_shape: Shape | None = None,
        **unknown: Any,
    ):
        where = type(self).__name__
        if unknown:
            raise TypeError(f"{where}: unknown argument {next(iter(unknown))!r}")
        if dtype is not None and np.dtype(dtype) not in (np.float32, np.float64):
            raise ValueError(f"{where}: expected dtype float32 or float64, received {dtype!r}")
        if name is not None and (not isinstance(name, str) or name in ("", ".") or "/" in name):
            raise ValueError(f"{where}: expected a name without '/', received {name!r}")
        self.construction_number = next(_construction_numbers)  # Keras numbers names in this order
        self.auto_named = name is None
        self.name = name or layer_names.provisional(type(self))
        self.resolved_name: str | None = None  # the name within a network, if auto_named
        self.trainable = trainable
        self.dtype: Any = None if dtype is None else np.dtype(dtype)  # a np.dtype once built
        self.learning_rate_multiplier = learning_rate_multiplier
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self.parameters: list[Parameter] = []
        self.built = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make each class's ``build`` run once, and reset capabilities of a new ``forward``."""
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _build_once(cls.__dict__["build"])  # type: ignore[method-assign]
        cls.capabilities = inherited_capabilities(cls)

    # --------------------------------------------------------------- implemented by subclasses

    @_build_once
    def build(self, input_shape: Any) -> None:
        """Create the parameters with ``add_weight``.

        Parameters
        ----------
        input_shape : tuple of int or None, or list of them
            Shape of the input; the batch comes first.
        """

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return the shape of the output.

        Parameters
        ----------
        input_shape : tuple of int or None, or list of them
            Shape of the input; the batch comes first.

        Raises
        ------
        ShapeError
            If the layer cannot process such an input.
        """
        return input_shape

    def forward(self, x: Any, training: bool = False, rng: Rng = None) -> Output:
        """Compute the output and a cache for ``backward``.

        Parameters
        ----------
        x : numpy.ndarray, or list of them
            C-contiguous input of shape (N, ...). It must not be modified.
        training : bool
            Enables dropout, augmentation and batch statistics.
        rng : numpy.random.Generator, optional
            Source of random numbers.

        Returns
        -------
        y : numpy.ndarray
        cache : object
            Everything that ``backward`` needs.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        """Compute the gradients of the loss with respect to the input and the parameters.

        Parameters
        ----------
        dy : numpy.ndarray
            Gradient with respect to the output, in its shape. It must not be modified.
        cache : object
            From ``forward``.
        need_dx : bool
            If False, `dx` may be None. The executor never passes False to a layer without
            trainable parameters, because it does not call its ``backward`` then.

        Returns
        -------
        dx : numpy.ndarray, or list of them
            Gradient with respect to the input, in its shape.
        gradients : list of numpy.ndarray
            One for each of ``trainable_weights``.
        """
        raise NotImplementedError(f"{type(self).__name__}.backward")

    def infer(self, x: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Return the output with ``training=False``.

        Parameters
        ----------
        x : numpy.ndarray, or list of them
        out : numpy.ndarray, optional
            Receives the output if the layer declares the capability `writes_output`.
        """
        return self.forward(x)[0]

    def multiply_adds(self, input_shape: Any, output_shape: Shape) -> int:
        """Return the number of multiply-add operations per sample, for ``summary``."""
        return 0

    # --------------------------------------------------------------- provided for every layer

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """Connect the layer to symbolic tensors (from ``Input``), or compute on arrays."""
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else inputs
        if hasattr(first, "connect"):
            return first.connect(self, inputs)
        xs = [np.asarray(x) for x in (inputs if self.capabilities.accepts_list else [inputs])]
        dtype = self.dtype or np.result_type(*xs)
        shape = self.as_input([x.shape for x in xs])
        self.ensure_built(shape, dtype if dtype == np.float64 else np.float32)
        self.compute_output_shape(shape)
        return self.forward(as_dtype(self.as_input(xs), self.dtype), training=training)[0]

    def as_input(self, items: list[Any]) -> Any:
        """Return arrays or shapes as ``forward`` expects them: the list, or its only item."""
        return items if self.capabilities.accepts_list else items[0]

    def ensure_built(self, input_shape: Any, dtype: DTypeLike = np.float32) -> None:
        """Build the layer for inputs of `input_shape` and `dtype` unless it is built."""
        if not self.built:
            self.compute_output_shape(input_shape)  # raises before anything is changed
            self.dtype = self.dtype or np.dtype(dtype)
            self.build(input_shape)

    def add_weight(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: initializers.InitializerLike = "glorot_uniform",
        trainable: bool = True,
        regularizer: regularizers.RegularizerLike = None,
        seed: int | np.random.Generator | None = None,
        minimum: float | None = None,
    ) -> Parameter:
        """Create a parameter.

        Parameters
        ----------
        name : str
            Name within the layer.
        shape : tuple of int
        initializer : str or Initializer
            Gives the initial values.
        trainable : bool
            False for statistics, which no gradient changes.
        regularizer : str or Regularizer, optional
        seed : int or numpy.random.Generator, optional
            Source of the initial values; by default minidl's global generator.
        minimum : float, optional
            Smallest number that may be assigned: 0 for variances.
        """
        values = initializers.get(initializer)(tuple(shape), as_generator(seed))
        array = np.array(values, dtype=self.dtype or np.float32, order="C")
        parameter = Parameter(name, array, trainable, regularizers.get(regularizer), self, minimum)
        self.parameters.append(parameter)
        return parameter

    @property
    def weights(self) -> list[Parameter]:
        """All parameters in Keras' order: statistics come last."""
        return sorted(self.parameters, key=lambda parameter: not parameter.learned)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments in a form that JSON can hold."""
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

    def check_channels(
        self, input_shape: Shape, expected: int | None, noun: str = "channels"
    ) -> None:
        """Raise ShapeError if the size of the last axis is unknown or not `expected`."""
        channels = input_shape[-1]
        if channels is None:
            raise ShapeError(
                f"{self.label}: expected a known number of {noun}, received shape "
                f"{tuple(input_shape)}. Give the Input fixed sizes, or pool globally first."
            )
        if expected not in (None, channels):
            raise ShapeError(
                f"{self.label}: expected {expected} {noun}, received {channels} "
                f"(input shape {tuple(input_shape)})"
            )

    def __getattr__(self, attribute: str) -> Any:
        where = self.label if "name" in vars(self) else type(self).__name__
        unbuilt = not vars(self).get("built", True)
        advice = ". Parameters exist once the layer is called on data or built." if unbuilt else ""
        raise AttributeError(f"{where} has no attribute {attribute!r}{advice}")

    def __repr__(self) -> str:
        return f"<{self.label}{'' if self.trainable else ' frozen'}>"


def as_dtype(x: Any, dtype: DTypeLike | None) -> Any:
    """Return arrays C-contiguous and in `dtype`; copies are made only if necessary.

    Parameters
    ----------
    x : array_like, or list of them
    dtype : data type, optional
        By default each array keeps its own.
    """
    if isinstance(x, (list, tuple)):
        return [as_dtype(item, dtype) for item in x]
    return np.ascontiguousarray(x, dtype=dtype)
