"""How parameters follow their gradients: SGD, RMSprop, Adam and AdamW, as in Keras.

>>> import numpy as np
>>> from minidl.layers.parameter import Parameter
>>> from minidl.optimizers import SGD
>>> w = Parameter("w", np.array([1.0, 2.0]))
>>> optimizer = SGD(learning_rate=0.5)
>>> optimizer.apply([w], [np.array([1.0, -1.0])])
>>> w.value, optimizer.iterations
(array([0.5, 2.5]), 1)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_fraction
from minidl.common.serialization import lookup
from minidl.kernels import optimizers as kernels
from minidl.optimizers.optimizer import Optimizer
from minidl.optimizers.schedules import LearningRateSchedule

__all__ = ["Adam", "AdamW", "Optimizer", "RMSprop", "SGD", "get"]

_NONE = np.empty(0)


class SGD(Optimizer):
    """Gradient descent, optionally with momentum.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    momentum : float
        ``velocity = momentum * velocity - learning_rate * g``, and w moves by the velocity.
    nesterov : bool
        Look one velocity ahead: w moves by ``momentum * velocity - learning_rate * g``.
    **common
        As for :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.momentum = check_fraction(type(self).__name__, "momentum", momentum)
        self.nesterov = bool(nesterov)

    @property
    def slot_names(self):
        return ("m",) if self.momentum else ()

    def update(self, w, gradient, slots, learning_rate, decay):
        arrays = [w, gradient, slots.get("m", _none(w))]
        kernels.sgd(arrays, learning_rate, decay, self.momentum, self.nesterov)


class RMSprop(Optimizer):
    """Steps divided by the root of a moving mean of squared gradients.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    rho : float
        How much of the mean stays at each step.
    momentum : float
    epsilon : float
        Added to the mean square (inside the root, as in Keras).
    centered : bool
        Divide by the deviation instead: the squared mean gradient is subtracted.
    **common
        As for :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.rho = check_fraction(type(self).__name__, "rho", rho, exclusive="maximum")
        self.momentum = check_fraction(type(self).__name__, "momentum", momentum)
        self.epsilon = epsilon
        self.centered = bool(centered)

    @property
    def slot_names(self):
        return ("v", *(["m"] if self.momentum else []), *(["a"] if self.centered else []))

    def update(self, w, gradient, slots, learning_rate, decay):
        arrays = [w, gradient, slots["v"], slots.get("m", _none(w)), slots.get("a", _none(w))]
        kernels.rmsprop(arrays, learning_rate, decay, self.rho, self.momentum, self.epsilon)


class Adam(Optimizer):
    """Momentum divided by the root of the mean square, both corrected for their start at zero.

    The correction counts the parameter's own updates, so that a layer which is unfrozen late
    begins as gently as the others did.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    beta_1, beta_2 : float
        How much of the mean gradient and of the mean square stays at each step.
    epsilon : float
        Added to the root (Keras' "epsilon hat": after the correction).
    amsgrad : bool
        Divide by the largest mean square so far.
    **common
        As for :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        super().__init__(learning_rate, **common)
        self.beta_1 = check_fraction(type(self).__name__, "beta_1", beta_1, exclusive="maximum")
        self.beta_2 = check_fraction(type(self).__name__, "beta_2", beta_2, exclusive="maximum")
        self.epsilon = epsilon
        self.amsgrad = bool(amsgrad)

    @property
    def slot_names(self):
        return ("m", "v", "largest_v") if self.amsgrad else ("m", "v")

    def update(self, w, gradient, slots, learning_rate, decay):
        step = int(slots["step"][0])
        corrected = learning_rate * math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        arrays = [w, gradient, slots["m"], slots["v"], slots.get("largest_v", _none(w))]
        kernels.adam(arrays, corrected, decay, self.beta_1, self.beta_2, self.epsilon)


class AdamW(Adam):
    """Adam with weight decay (Loshchilov and Hutter, 2019); arguments as for :class:`Adam`."""

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common
        )


def get(identifier) -> Optimizer:
    """Return the optimizer for a name ("adam"), a dict, a class or an object."""
    return lookup("optimizer", identifier, _KNOWN, Optimizer)


def _none(w: np.ndarray) -> np.ndarray:
    """The empty array that stands for an absent slot."""
    return _NONE.astype(w.dtype)


_KNOWN = {cls.__name__: cls for cls in (SGD, RMSprop, Adam, AdamW)}
