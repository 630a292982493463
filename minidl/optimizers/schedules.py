"""Learning-rate schedules with Keras' formulas.

A schedule is called with the number of updates so far. An optimizer accepts one as its learning
rate:

>>> from minidl.optimizers import Adam
>>> from minidl.optimizers.schedules import CosineDecay
>>> optimizer = Adam(CosineDecay(0.0, decay_steps=100, warmup_target=0.1, warmup_steps=10))
>>> [round(optimizer.learning_rate(step), 3) for step in (0, 5, 10, 60, 110)]
[0.0, 0.05, 0.1, 0.05, 0.0]
"""

from __future__ import annotations

import bisect
import itertools
import math
from typing import Any

from minidl.common.argument_checks import check_number
from minidl.common.serialization import Configurable, lookup

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "StepDecay",
    "get",
]


class LearningRateSchedule(Configurable):
    """Base class; a custom schedule implements ``__call__``.

    Examples
    --------
    >>> from minidl.optimizers.schedules import LearningRateSchedule
    >>> class Halving(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 / 2 ** (step // 100)
    >>> Halving()(250)
    0.025
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method __call__(self, step)")


class ExponentialDecay(LearningRateSchedule):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate : float
    decay_steps : int
        Number of steps in which the rate is multiplied by `decay_rate` once.
    decay_rate : float
    staircase : bool
        Multiply once every `decay_steps` steps instead of gradually.

    Examples
    --------
    >>> from minidl.optimizers.schedules import ExponentialDecay
    >>> ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5, staircase=True)(15)
    0.05
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        _check_positive(self, decay_steps=decay_steps, decay_rate=decay_rate)
        _check_rates(self, initial_learning_rate)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        periods = step / self.decay_steps
        if self.staircase:
            periods = math.floor(periods)
        return self.initial_learning_rate * self.decay_rate**periods


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[0]`` up to and including step ``boundaries[0]``, then ``values[1]``, and so on.

    Parameters
    ----------
    boundaries : list of int
        Increasing steps.
    values : list of float
        One value more than `boundaries`.

    Examples
    --------
    >>> from minidl.optimizers.schedules import PiecewiseConstantDecay
    >>> schedule = PiecewiseConstantDecay([100, 200], [0.1, 0.01, 0.001])
    >>> schedule(100), schedule(101), schedule(500)
    (0.1, 0.01, 0.001)
    """

    def __init__(
        self, boundaries: list[int], values: list[float], name: str = "PiecewiseConstantDecay"
    ) -> None:
        if not boundaries or len(boundaries) != len(values) - 1:
            raise ValueError(
                "PiecewiseConstantDecay: expected one value more than boundaries,"
                f" received {len(values)} values for {len(boundaries)} boundaries"
            )
        if any(b <= a for a, b in itertools.pairwise(boundaries)):
            raise ValueError(
                f"PiecewiseConstantDecay: expected increasing boundaries, received {boundaries}"
            )
        _check_rates(self, *values)
        self.boundaries = list(boundaries)
        self.values = list(values)
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        return self.values[bisect.bisect_left(self.boundaries, step)]


class StepDecay(LearningRateSchedule):
    """Multiply the rate by `factor` every `step_size` steps (not in Keras).

    Examples
    --------
    >>> from minidl.optimizers.schedules import StepDecay
    >>> [StepDecay(8.0, step_size=10, factor=0.5)(step) for step in (0, 9, 10, 25)]
    [8.0, 8.0, 4.0, 2.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        step_size: int,
        factor: float = 0.1,
        name: str = "StepDecay",
    ) -> None:
        _check_positive(self, step_size=step_size, factor=factor)
        _check_rates(self, initial_learning_rate)
        self.initial_learning_rate = initial_learning_rate
        self.step_size = step_size
        self.factor = factor
        self.name = name

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        return self.initial_learning_rate * self.factor ** (step // self.step_size)


class CosineDecay(LearningRateSchedule):
    """Cosine decay to ``alpha`` after an optional linear warm-up.

    Parameters
    ----------
    initial_learning_rate : float
        Start of the warm-up or, without one, of the decay.
    decay_steps : int
        Steps of the decay, without the warm-up.
    alpha : float
        Final rate as a fraction of the rate at which the decay starts.
    warmup_target : float, optional
        Rate at the end of the warm-up; None for no warm-up.
    warmup_steps : int
        Steps of the warm-up.

    Examples
    --------
    >>> from minidl.optimizers.schedules import CosineDecay
    >>> [round(CosineDecay(0.1, decay_steps=100)(step), 4) for step in (0, 50, 100, 200)]
    [0.1, 0.05, 0.0, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        _check_positive(self, decay_steps=decay_steps)
        _check_rates(self, initial_learning_rate, alpha, warmup_target or 0.0)
        if warmup_steps < 0 or (warmup_target is None and warmup_steps > 0):
            raise ValueError(
                "CosineDecay: warmup_steps > 0 needs a warmup_target, received"
                f" warmup_steps={warmup_steps}, warmup_target={warmup_target}"
            )
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """Return the learning rate after `step` updates."""
        start, peak = self.initial_learning_rate, self.warmup_target
        if peak is None:
            peak = start
        elif step < self.warmup_steps:
            return start + (peak - start) * step / self.warmup_steps
        done = min(step - self.warmup_steps, self.decay_steps) / self.decay_steps
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return peak * ((1 - self.alpha) * cosine + self.alpha)


def get(identifier: Any) -> LearningRateSchedule:
    """Return the schedule for a saved configuration, a name, a class or a schedule."""
    return lookup("schedule", identifier, _BY_NAME, LearningRateSchedule)


def _check_positive(schedule: LearningRateSchedule, **arguments: float) -> None:
    for name, value in arguments.items():
        check_number(type(schedule).__name__, name, value, 0, exclusive="minimum")


def _check_rates(schedule: LearningRateSchedule, *rates: float) -> None:
    for rate in rates:
        check_number(type(schedule).__name__, "learning rates", rate, 0)


_BY_NAME = {
    cls.__name__: cls for cls in (ExponentialDecay, PiecewiseConstantDecay, StepDecay, CosineDecay)
}
