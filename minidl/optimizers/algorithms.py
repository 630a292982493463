"""Optimizers as in Keras: SGD, RMSprop, Adam and AdamW.

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
from minidl.optimizers.optimizer import Optimizer, Slots
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
        Nesterov momentum: w moves by ``momentum * velocity - learning_rate * g``.
    **common
        See :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.momentum = check_fraction(type(self).__name__, "momentum", momentum)
        self.nesterov = bool(nesterov)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the arrays that persist between steps."""
        return ("m",) if self.momentum else ()

    def update(
        self,
        w: np.ndarray,
        gradient: np.ndarray,
        slots: Slots,
        learning_rate: float,
        decay: float,
    ) -> None:
        """Change one parameter and its slots in place; see :meth:`Optimizer.update`."""
        arrays = [w, gradient, slots.get("m", _none(w))]
        kernels.sgd(arrays, learning_rate, decay, self.momentum, self.nesterov)


class RMSprop(Optimizer):
    """Gradient steps divided by the root of a moving mean of squared gradients.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    rho : float
        Decay rate of the moving mean.
    momentum : float
    epsilon : float
        Added to the mean square, inside the root as in Keras.
    centered : bool
        Divide by the standard deviation: the squared mean gradient is subtracted.
    **common
        See :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.rho = check_fraction(type(self).__name__, "rho", rho, exclusive="maximum")
        self.momentum = check_fraction(type(self).__name__, "momentum", momentum)
        self.epsilon = epsilon
        self.centered = bool(centered)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the arrays that persist between steps."""
        return ("v", *(["m"] if self.momentum else []), *(["a"] if self.centered else []))

    def update(
        self,
        w: np.ndarray,
        gradient: np.ndarray,
        slots: Slots,
        learning_rate: float,
        decay: float,
    ) -> None:
        """Change one parameter and its slots in place; see :meth:`Optimizer.update`."""
        arrays = [w, gradient, slots["v"], slots.get("m", _none(w)), slots.get("a", _none(w))]
        kernels.rmsprop(arrays, learning_rate, decay, self.rho, self.momentum, self.epsilon)


class Adam(Optimizer):
    """Moving mean of the gradient divided by the root of its mean square (Kingma and Ba, 2015).

    Both means are corrected for their start at zero. The correction counts the updates of each
    parameter, so a layer that is unfrozen late starts as gently as the others did.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
    beta_1, beta_2 : float
        Decay rates of the mean gradient and of the mean square.
    epsilon : float
        Added to the root after the correction, as in Keras.
    amsgrad : bool
        Divide by the maximum of the mean square so far.
    **common
        See :class:`Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(learning_rate, **common)
        self.beta_1 = check_fraction(type(self).__name__, "beta_1", beta_1, exclusive="maximum")
        self.beta_2 = check_fraction(type(self).__name__, "beta_2", beta_2, exclusive="maximum")
        self.epsilon = epsilon
        self.amsgrad = bool(amsgrad)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the arrays that persist between steps."""
        return ("m", "v", "largest_v") if self.amsgrad else ("m", "v")

    def update(
        self,
        w: np.ndarray,
        gradient: np.ndarray,
        slots: Slots,
        learning_rate: float,
        decay: float,
    ) -> None:
        """Change one parameter and its slots in place; see :meth:`Optimizer.update`."""
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
    ) -> None:
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **common
        )


def get(identifier: Any) -> Optimizer:
    """Return the optimizer for an identifier.

    Parameters
    ----------
    identifier : str, dict, type or Optimizer
        A name such as "adam", a saved configuration, a class or an optimizer.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from minidl import optimizers
    >>> optimizers.get("sgd").learning_rate
    0.01
    """
    return lookup("optimizer", identifier, _BY_NAME, Optimizer)


def _none(w: np.ndarray) -> np.ndarray:
    """Return the empty array that stands for an absent slot."""
    return _NONE.astype(w.dtype)


_BY_NAME = {cls.__name__: cls for cls in (SGD, RMSprop, Adam, AdamW)}
