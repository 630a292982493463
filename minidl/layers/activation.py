"""Activation layers; the same objects serve as ``activation=`` of Dense and Conv2D.

>>> import numpy as np
>>> from minidl.layers import ReLU
>>> ReLU(max_value=6)(np.array([-1.0, 2.0, 9.0]))
array([0., 2., 6.])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_choice, check_number
from minidl.kernels import activations
from minidl.layers.base import Gradients, Layer, Output, Rng
from minidl.layers.capabilities import Capabilities

__all__ = [
    "GELU",
    "Activation",
    "ActivationLayer",
    "ActivationLike",
    "HardSiLU",
    "HardSigmoid",
    "LeakyReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "get_activation",
]


class ActivationLayer(Layer):
    """Base class: a function of each element (or, for Softmax, of each row).

    Subclasses implement ``compute`` and ``gradient``. If `saves_output` is True, ``gradient``
    receives the output, otherwise the input. An output that is saved may be computed in place.
    """

    saves_output = True
    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def forward(
        self, x: np.ndarray, training: bool = False, rng: Rng = None, out: np.ndarray | None = None
    ) -> Output:
        y = self.compute(x, out)
        return y, y if self.saves_output else x

    def backward(self, dy: np.ndarray, cache: np.ndarray, need_dx: bool = True) -> Gradients:
        return self.gradient(dy, cache), []

    def infer(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return self.compute(x, out)

    def apply_in_place(self, z: np.ndarray) -> Output:
        """Return ``forward(z)``; `z` is overwritten unless ``backward`` needs it."""
        return self.forward(z, out=z if self.saves_output else None)

    def compute(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the output, written to `out` if given."""
        raise NotImplementedError(f"{type(self).__name__}.compute")

    def gradient(self, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
        """Return dx; `saved` is the output, or the input if `saves_output` is False."""
        raise NotImplementedError(f"{type(self).__name__}.gradient")


class ReLU(ActivationLayer):
    """``max(x, 0)`` and its variants.

    Parameters
    ----------
    max_value : float, optional
        Upper limit; 6 gives ReLU6.
    negative_slope : float
        Slope below the threshold; 0 gives the plain ReLU.
    threshold : float
        Inputs up to this value count as negative.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU(max_value=6)(np.array([-1.0, 2.0, 9.0]))
    array([0., 2., 6.])
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float | None = 0.0,
        threshold: float | None = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if max_value is not None:
            max_value = check_number(self.label, "max_value", max_value, 0)
        self.max_value = max_value
        self.negative_slope = check_number(self.label, "negative_slope", negative_slope or 0.0, 0)
        self.threshold = check_number(self.label, "threshold", threshold or 0.0)
        # With a threshold, the output does not determine the sign of ``x - threshold``.
        self.saves_output = self.threshold == 0
        limit = np.inf if max_value is None else max_value
        self._arguments_of_kernel = (self.negative_slope, limit, self.threshold)
        self.is_plain = self._arguments_of_kernel == (0, np.inf, 0)

    def compute(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return activations.relu(x, out, *self._arguments_of_kernel)

    def gradient(self, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
        return activations.relu_backward(dy, saved, *self._arguments_of_kernel)


class LeakyReLU(ReLU):
    """``x`` above zero, ``negative_slope * x`` below.

    Parameters
    ----------
    negative_slope : float
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.5)(np.array([-1.0, 2.0]))
    array([-0.5,  2. ])
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        super().__init__(negative_slope=negative_slope, **kwargs)


class _KernelActivation(ActivationLayer):
    """An activation computed by a pair of kernels."""

    kernel_name = ""

    def compute(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return activations.apply(self.kernel_name, x, out)

    def gradient(self, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
        return activations.gradient(self.kernel_name, dy, saved)


class Sigmoid(_KernelActivation):
    """``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.zeros(2))
    array([0.5, 0.5])
    """

    kernel_name = "sigmoid"


class Tanh(_KernelActivation):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.zeros(2))
    array([0., 0.])
    """

    kernel_name = "tanh"


class SiLU(_KernelActivation):
    """``x * sigmoid(x)``, also called swish.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.zeros(2))
    array([0., 0.])
    """

    kernel_name = "silu"
    saves_output = False


class HardSigmoid(_KernelActivation):
    """``min(max(x + 3, 0), 6) / 6``, a sigmoid of straight lines.

    Howard et al. (2019), https://arxiv.org/abs/1905.02244. Keras 2 used ``0.2 * x + 0.5``.

    Examples
    --------
    >>> import numpy as np
    >>> HardSigmoid()(np.array([-3.0, 0.0, 1.5]))
    array([0.  , 0.5 , 0.75])
    """

    kernel_name = "hard_sigmoid"


class HardSiLU(_KernelActivation):
    """``x * hard_sigmoid(x)``, also called hard swish.

    Examples
    --------
    >>> import numpy as np
    >>> HardSiLU()(np.array([-1.5, 0.0, 4.0]))
    array([-0.375,  0.   ,  4.   ])
    """

    kernel_name = "hard_silu"
    saves_output = False


class GELU(_KernelActivation):
    """``x * P(X <= x)`` for a standard normal X.

    Hendrycks and Gimpel (2016), https://arxiv.org/abs/1606.08415

    Parameters
    ----------
    approximate : bool
        Use the formula with tanh.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.zeros(2))
    array([0., 0.])
    """

    saves_output = False

    def __init__(self, approximate: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.approximate = approximate
        self.kernel_name = "gelu_tanh" if approximate else "gelu"


class Softmax(ActivationLayer):
    """Probabilities over the last axis: ``exp(x) / sum(exp(x))``.

    Parameters
    ----------
    axis : int
        Must be -1.
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = check_choice(self.label, "axis", axis, [-1])

    def compute(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return activations.softmax(x, out)

    def gradient(self, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
        return activations.softmax_backward(dy, saved)


class Linear(ActivationLayer):
    """The identity, ``activation="linear"``."""

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def compute(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return x

    def gradient(self, dy: np.ndarray, saved: np.ndarray) -> np.ndarray:
        return dy


ActivationLike = str | dict[str, Any] | type[ActivationLayer] | ActivationLayer | None


class Activation(Layer):
    """The layer for an activation given by name.

    Parameters
    ----------
    activation : str or ActivationLayer
        "relu", "sigmoid", "tanh", "softmax", "gelu", "silu", "hard_silu", "linear", ...
    **kwargs
        See :class:`Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.layers import Activation
    >>> Activation("tanh")(np.zeros(2))
    array([0., 0.])
    """

    def __init__(self, activation: ActivationLike, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = get_activation(activation, self) or Linear()

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """Those of the activation."""
        return self.activation.capabilities

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        return self.activation.forward(x)

    def backward(self, dy: np.ndarray, cache: np.ndarray, need_dx: bool = True) -> Gradients:
        return self.activation.backward(dy, cache, need_dx)

    def infer(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return self.activation.infer(x, out)


_KNOWN: dict[str, Callable[[], ActivationLayer]] = {
    "relu": ReLU,
    "relu6": lambda: ReLU(max_value=6.0),
    "leaky_relu": lambda: ReLU(negative_slope=0.2),
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softmax": Softmax,
    "gelu": GELU,
    "silu": SiLU,
    "swish": SiLU,
    "hard_sigmoid": HardSigmoid,
    "hard_silu": HardSiLU,
    "hard_swish": HardSiLU,
}
_CLASSES: dict[str, type[ActivationLayer]] = {
    cls.__name__: cls
    for cls in (
        ReLU,
        LeakyReLU,
        Sigmoid,
        Tanh,
        SiLU,
        HardSigmoid,
        HardSiLU,
        GELU,
        Softmax,
        Linear,
    )
}


def get_activation(identifier: ActivationLike, layer: Layer) -> ActivationLayer | None:
    """Return the activation for None, a name, a saved dict, a class or an object.

    Parameters
    ----------
    identifier : str, dict, type or ActivationLayer, optional
        None and "linear" mean the identity.
    layer : Layer
        Named in error messages.

    Returns
    -------
    ActivationLayer or None
        None for the identity.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For an object of another type.
    """
    if identifier is None or identifier == "linear":
        return None
    if isinstance(identifier, ActivationLayer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, ActivationLayer):
        return identifier()
    if isinstance(identifier, dict) and identifier.get("class_name") in _CLASSES:
        return _CLASSES[identifier["class_name"]].from_config(identifier["config"])
    if not isinstance(identifier, str):
        raise TypeError(f"{layer.label}: expected an activation's name, received {identifier!r}")
    if identifier.lower() not in _KNOWN:
        known = ", ".join([*_KNOWN, "linear"])
        raise ValueError(f"{layer.label}: unknown activation {identifier!r}; known are: {known}")
    return _KNOWN[identifier.lower()]()
