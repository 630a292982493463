"""The base class of optimizers: gradient checks, clipping, learning rate, saved state.

>>> import numpy as np
>>> from minidl.layers.parameter import Parameter
>>> from minidl.optimizers import SGD
>>> optimizer = SGD(1.0, clipvalue=0.1)
>>> w = Parameter("w", np.zeros(2))
>>> optimizer.apply([w], [np.array([5.0, -0.05])])
>>> w.value.tolist()
[-0.1, 0.05]
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.common.argument_checks import check_number
from minidl.common.errors import ShapeError
from minidl.common.serialization import Configurable, serialize
from minidl.kernels import optimizers as kernels
from minidl.layers.parameter import Parameter
from minidl.optimizers import schedules
from minidl.optimizers.schedules import LearningRateSchedule

__all__ = ["Optimizer", "Slots"]

Slots = dict[str, np.ndarray]  # an optimizer's arrays for one parameter


class Optimizer(Configurable):
    """Base class; a custom optimizer implements ``update`` and, if needed, ``slot_names``.

    Parameters
    ----------
    learning_rate : float or LearningRateSchedule
        Multiplied by each layer's ``learning_rate_multiplier``.
    weight_decay : float, optional
        Fraction times the learning rate by which each step shrinks the parameters
        (decoupled from the gradient).
    clipnorm, clipvalue, global_clipnorm : float, optional
        At most one of them: the maximum norm of each gradient, the maximum absolute value of
        each element, the maximum norm of all gradients together. Clipping copies the gradients.
    exclude_from_weight_decay : list of str, optional
        See the method of that name.
    name : str, optional

    Attributes
    ----------
    iterations : int
        Number of updates so far.
    learning_rate : float or LearningRateSchedule
        Can be set at any time.
    shards : int
        Number of shards of each batch in the training, see :meth:`minidl.Model.fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl.layers.parameter import Parameter
    >>> from minidl.optimizers import Optimizer
    >>> class SignDescent(Optimizer):
    ...     def update(self, w, gradient, slots, learning_rate, decay):
    ...         w -= decay * w + learning_rate * np.sign(gradient)
    >>> w = Parameter("w", np.array([1.0, 2.0]))
    >>> SignDescent(0.5).apply([w], [np.array([3.0, -3.0])])
    >>> w.value
    array([0.5, 2.5])
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        exclude_from_weight_decay: Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or type(self).__name__.lower()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clipnorm = clipnorm
        self.clipvalue = clipvalue
        self.global_clipnorm = global_clipnorm
        self.iterations = 0
        self.shards = 1
        # By parameter instead of path, so that another model's "dense/kernel" has its own slots.
        self._slots: dict[Parameter, Slots] = {}
        self._loaded: dict[str, Slots] = {}  # by path, until the first update
        self.exclude_from_weight_decay(var_names=exclude_from_weight_decay)
        self._check_arguments()

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Names of the arrays, shaped like the parameter, that persist between steps."""
        return ()

    def update(
        self,
        w: np.ndarray,
        gradient: np.ndarray,
        slots: Slots,
        learning_rate: float,
        decay: float,
    ) -> None:
        """Change one parameter and its slots in place.

        Parameters
        ----------
        w, gradient : numpy.ndarray
            Parameter and gradient, of one shape.
        slots : dict of str to numpy.ndarray
            The arrays of ``slot_names``, and "step", shape (1,), the number of updates.
        learning_rate : float
        decay : float
            Fraction by which to shrink `w` first.
        """
        raise NotImplementedError(f"{type(self).__name__}.update")

    def apply(self, parameters: Sequence[Parameter], gradients: Sequence[np.ndarray]) -> None:
        """Make one update of trainable parameters.

        Parameters that are missing, because they are frozen, keep their values and slots. All
        arguments are checked before anything changes.

        Parameters
        ----------
        parameters : sequence of Parameter
        gradients : sequence of numpy.ndarray
            One for each parameter.

        Raises
        ------
        ShapeError
            If a gradient has another shape than its parameter.
        ValueError
            If a gradient is missing, or two parameters have the same path.
        """
        gradients = self._checked(parameters, gradients)
        slots = [self._slots_of(parameter) for parameter in parameters]
        gradients = self._clipped(gradients)
        rate = self.current_learning_rate()
        for parameter, gradient, own in zip(parameters, gradients, slots, strict=True):
            self._slots[parameter] = own
            self._loaded.pop(parameter.path, None)
            own["step"] += 1
            multiplier = getattr(parameter.layer, "learning_rate_multiplier", 1.0)
            decay = rate * multiplier * self._decay_of(parameter)
            with parameter.editing() as w:
                self.update(w, gradient, own, rate * multiplier, decay)
        self.iterations += 1

    @property
    def learning_rate(self) -> float | LearningRateSchedule:
        """The learning rate or its schedule."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float | LearningRateSchedule | dict[str, Any]) -> None:
        if isinstance(value, dict):
            value = schedules.get(value)
        if not isinstance(value, LearningRateSchedule):
            value = check_number(type(self).__name__, "learning_rate", value, 0)
        self._learning_rate = value

    def current_learning_rate(self) -> float:
        """Return the rate of the next update, without the layers' multipliers."""
        if isinstance(self._learning_rate, LearningRateSchedule):
            return float(self._learning_rate(self.iterations))
        return self._learning_rate

    def exclude_from_weight_decay(
        self, var_list: Sequence[Parameter] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Exclude parameters from weight decay.

        Parameters
        ----------
        var_list : list of Parameter, optional
        var_names : list of str, optional
            Regular expressions searched for in paths such as ``dense/bias``.

        Examples
        --------
        >>> from minidl.optimizers import AdamW
        >>> optimizer = AdamW(1e-3)
        >>> optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        """
        if isinstance(var_names, str):
            raise TypeError(f"exclude_from_weight_decay: expected a list, received {var_names!r}")
        exact = [f"^{re.escape(parameter.path)}$" for parameter in var_list or []]
        self._excluded = exact + list(var_names or [])

    def get_state(self) -> dict[str, Any]:
        """Return copies of everything that training changes, for :meth:`set_state`.

        Returns
        -------
        dict
            "iterations"; "learning_rate", or None with a schedule; "slots", which maps the path
            of each parameter to its arrays; "shards", if there are several.
        """
        scheduled = isinstance(self._learning_rate, LearningRateSchedule)
        return {
            "iterations": self.iterations,
            **({"shards": self.shards} if self.shards > 1 else {}),
            "learning_rate": None if scheduled else self._learning_rate,
            "slots": {path: _copied(arrays) for path, arrays in self._by_path().items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the state from :meth:`get_state`, so that training continues exactly.

        Parameters
        ----------
        state : dict

        Raises
        ------
        ValueError
            If the state belongs to another class of optimizer.
        ShapeError
            If the shape of a slot differs. Nothing is changed then.
        """
        if missing := {"iterations", "learning_rate", "slots"} - set(state):
            raise ValueError(
                f"{type(self).__name__}: the state has no {sorted(missing)[0]!r}; expected a dict"
                " from get_state"
            )
        slots = {path: _copied(arrays) for path, arrays in state["slots"].items()}
        for path, arrays in slots.items():
            self._check_slots(path, arrays)
        if state["learning_rate"] is not None:
            self.learning_rate = state["learning_rate"]
        self.iterations, self.shards = int(state["iterations"]), int(state.get("shards", 1))
        self._slots, self._loaded = {}, slots

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments with the current learning rate."""
        config = {**super().get_config(), "learning_rate": serialize(self._learning_rate)}
        if self._excluded:
            config["exclude_from_weight_decay"] = list(self._excluded)
        return config

    def _check_arguments(self) -> None:
        clips = ("clipnorm", "clipvalue", "global_clipnorm")
        given = {name: getattr(self, name) for name in clips if getattr(self, name) is not None}
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__}: expected at most one of {', '.join(clips)},"
                f" received {given}"
            )
        for name, value in given.items():
            check_number(type(self).__name__, name, value, 0, exclusive="minimum")
        if self.weight_decay is not None:
            check_number(type(self).__name__, "weight_decay", self.weight_decay, 0)

    def _checked(
        self, parameters: Sequence[Parameter], gradients: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return the gradients contiguous and in their parameters' dtype."""
        where = type(self).__name__
        if len(parameters) != len(gradients):
            raise ValueError(
                f"{where}: expected one gradient per parameter, received {len(gradients)}"
                f" gradients for {len(parameters)} parameters"
            )
        paths = [parameter.path for parameter in parameters]
        if len(set(paths)) < len(paths):
            repeated = next(path for path in paths if paths.count(path) > 1)
            raise ValueError(
                f"{where}: two parameters are called {repeated!r}; rename one of their layers"
            )
        checked = []
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                raise ValueError(
                    f"{where}: the gradient of {parameter.path!r} is None; freeze its layer, or"
                    " let its backward return a gradient for each trainable weight"
                )
            if np.shape(gradient) != parameter.shape:
                raise ShapeError(
                    f"{where}: expected a gradient of shape {parameter.shape} for"
                    f" {parameter.path!r}, received {np.shape(gradient)}"
                )
            checked.append(np.asarray(gradient, parameter.value.dtype, order="C"))
        return checked

    def _clipped(self, gradients: list[np.ndarray]) -> list[np.ndarray]:
        """Return the gradients, or clipped copies of them."""
        if self.clipvalue is not None:
            return [np.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [_scaled(g, kernels.norm(g), self.clipnorm) for g in gradients]
        if self.global_clipnorm is not None:
            norm = math.hypot(*(kernels.norm(g) for g in gradients))
            return [_scaled(g, norm, self.global_clipnorm) for g in gradients]
        return gradients

    def _decay_of(self, parameter: Parameter) -> float:
        """Return the weight decay of a parameter; 0 if it is excluded."""
        excluded = any(re.search(pattern, parameter.path) for pattern in self._excluded)
        return 0.0 if excluded else self.weight_decay or 0.0

    def _slots_of(self, parameter: Parameter) -> Slots:
        own = self._slots.get(parameter) or self._loaded.get(parameter.path)
        if own is None:
            own = {name: np.zeros_like(parameter.value, order="C") for name in self.slot_names}
            own["step"] = np.zeros(1, np.int64)
        for name in self.slot_names:
            if own[name].shape != parameter.shape:
                raise ShapeError(
                    f"{type(self).__name__}: the state of {parameter.path!r} was saved for shape"
                    f" {own[name].shape}, but the parameter has shape {parameter.shape}"
                )
        return own

    def _by_path(self) -> dict[str, Slots]:
        return {**self._loaded, **{p.path: arrays for p, arrays in self._slots.items()}}

    def _check_slots(self, path: str, arrays: Slots) -> None:
        where, expected = type(self).__name__, sorted([*self.slot_names, "step"])
        if sorted(arrays) != expected:
            raise ValueError(
                f"{where}: expected the state {expected} for {path!r}, received {sorted(arrays)};"
                " it belongs to another optimizer or other arguments"
            )
        known = self._by_path().get(path, arrays)
        first = next(iter(self.slot_names), "step")
        for name, array in arrays.items():
            shape = (1,) if name == "step" else known[first].shape
            if array.shape != shape:
                raise ShapeError(
                    f"{where}: expected shape {shape} for {name!r} of {path!r},"
                    f" received {array.shape}"
                )


def _scaled(gradient: np.ndarray, norm: float, maximum: float) -> np.ndarray:
    """Return the gradient with a norm of at most `maximum`; NaN if the norm is not finite."""
    if norm <= maximum:
        return gradient
    # An infinite gradient must not become zeros, because training would stop without notice.
    factor = maximum / norm if math.isfinite(norm) else math.nan
    return gradient * gradient.dtype.type(factor)


def _copied(arrays: Slots) -> Slots:
    return {name: np.array(array) for name, array in arrays.items()}
