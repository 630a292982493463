"""Activation layers; the same objects serve as ``activation=`` of Dense and Conv2D.

>>> import numpy as np
>>> from minidl.layers import ReLU
>>> ReLU(max_value=6)(np.array([-1.0, 2.0, 9.0]))
array([0., 2., 6.])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels import activations
from minidl.layers.base import Layer
from minidl.layers.capabilities import Capabilities

__all__ = [
    "Activation", "ActivationLayer", "GELU", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softmax",
    "Tanh", "get_activation",
]  # fmt: skip


class ActivationLayer(Layer):
    """Base class: a function of each element (or, for Softmax, of each row).

    Subclasses write ``compute(x, out)`` and ``gradient(dy, saved)``. `saved` is the output
    where `saves_output` holds, else the input; an output can be computed in place.
    """

    saves_output = True
    capabilities = Capabilities(ignores_training=True, writes_output=True, independent_samples=True)

    def forward(self, x, training=False, rng=None, out=None):
        y = self.compute(x, out)
        return y, y if self.saves_output else x

    def infer(self, x, out=None):
        return self.compute(x, out)

    def backward(self, dy, cache, need_dx=True):
        return self.gradient(dy, cache) if need_dx else None, []

    def apply_in_place(self, z: np.ndarray):
        """Forward for a layer that owns `z`: overwrites it unless backward needs it."""
        return self.forward(z, out=z if self.saves_output else None)

    def compute(self, x, out=None):
        raise NotImplementedError

    def gradient(self, dy, saved):
        raise NotImplementedError


class ReLU(ActivationLayer):
    """``max(x, 0)`` and its variants.

    Parameters
    ----------
    max_value : float, optional
        Upper limit (6 gives ReLU6).
    negative_slope : float
        Slope below the threshold; 0 gives the plain ReLU.
    threshold : float
        Values up to it count as negative.
    """

    def __init__(self, max_value=None, negative_slope=0.0, threshold=0.0, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope)):
            if value is not None and value < 0:
                raise ValueError(f"{self.label}: expected {name} >= 0, received {value}")
        self.slope = negative_slope or 0.0
        self.maximum = np.inf if max_value is None else max_value
        self.threshold = threshold or 0.0
        # With a threshold the output does not tell which side an input was on.
        self.saves_output = self.threshold == 0
        self.is_plain = self.slope == 0 and self.maximum == np.inf and self.threshold == 0

    def compute(self, x, out=None):
        return activations.relu(x, out, self.slope, self.maximum, self.threshold)

    def gradient(self, dy, saved):
        return activations.relu_backward(dy, saved, self.slope, self.maximum, self.threshold)


class LeakyReLU(ReLU):
    """``x`` above zero, ``negative_slope * x`` below."""

    def __init__(self, negative_slope=0.3, **kwargs):
        super().__init__(negative_slope=negative_slope, **kwargs)


class _Named(ActivationLayer):
    """An activation that is one pair of kernels."""

    kernel = ""

    def compute(self, x, out=None):
        return activations.apply(self.kernel, x, out)

    def gradient(self, dy, saved):
        return activations.gradient(self.kernel, dy, saved)


class Sigmoid(_Named):
    """``1 / (1 + exp(-x))``."""

    kernel = "sigmoid"


class Tanh(_Named):
    """The hyperbolic tangent."""

    kernel = "tanh"


class SiLU(_Named):
    """``x * sigmoid(x)``, also called swish."""

    kernel = "silu"
    saves_output = False


class GELU(_Named):
    """``x * P(normal < x)``; with ``approximate=True`` the tanh formula.

    Hendrycks and Gimpel (2016), https://arxiv.org/abs/1606.08415
    """

    saves_output = False

    def __init__(self, approximate: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.kernel = "gelu_tanh" if approximate else "gelu"


class Softmax(ActivationLayer):
    """Probabilities over the last axis: ``exp(x) / sum(exp(x))``."""

    def __init__(self, axis: int = -1, **kwargs):
        super().__init__(**kwargs)
        if axis != -1:
            raise ValueError(f"{self.label}: expected axis -1 (channels last), received {axis}")

    def compute(self, x, out=None):
        return activations.softmax(x, out)

    def gradient(self, dy, saved):
        return activations.softmax_backward(dy, saved)


class Linear(ActivationLayer):
    """The identity: what ``activation="linear"`` means."""

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def compute(self, x, out=None):
        return x

    def gradient(self, dy, saved):
        return dy


class Activation(Layer):
    """The layer for an activation given by name.

    Parameters
    ----------
    activation : str or ActivationLayer
        "relu", "sigmoid", "tanh", "softmax", "gelu", "silu", "linear", ...

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.layers import Activation
    >>> Activation("tanh")(np.zeros(2))
    array([0., 0.])
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.function = get_activation(activation, self) or Linear()

    def forward(self, x, training=False, rng=None):
        return self.function.forward(x)

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """Those of the activation."""
        return self.function.capabilities

    def infer(self, x, out=None):
        return self.function.infer(x, out)

    def backward(self, dy, cache, need_dx=True):
        return self.function.backward(dy, cache, need_dx)


_KNOWN = {
    "relu": ReLU,
    "relu6": lambda: ReLU(max_value=6.0),
    "leaky_relu": lambda: ReLU(negative_slope=0.2),
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "softmax": Softmax,
    "gelu": GELU,
    "silu": SiLU,
    "swish": SiLU,
}
_CLASSES = {
    cls.__name__: cls for cls in (ReLU, LeakyReLU, Sigmoid, Tanh, SiLU, GELU, Softmax, Linear)
}


def get_activation(identifier, layer: Layer) -> ActivationLayer | None:
    """Return the activation for None, a name, a saved dict or an object; None is linear.

    Raises
    ------
    ValueError
        For an unknown name; the message names `layer`.
    TypeError
        For anything else.
    """
    if identifier is None or identifier == "linear":
        return None
    if isinstance(identifier, ActivationLayer):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, ActivationLayer):
        return identifier()
    if isinstance(identifier, dict) and identifier.get("class_name") in _CLASSES:
        return _CLASSES[identifier["class_name"]].from_config(identifier["config"])
    if isinstance(identifier, str):
        if identifier.lower() in _KNOWN:
            return _KNOWN[identifier.lower()]()
        known = ", ".join([*_KNOWN, "linear"])
        raise ValueError(f"{layer.label}: unknown activation {identifier!r}; known are: {known}")
    raise TypeError(f"{layer.label}: expected an activation's name, received {identifier!r}")
