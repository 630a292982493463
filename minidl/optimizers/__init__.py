"""Optimizers and learning-rate schedules.

>>> from minidl.optimizers import Adam
>>> from minidl.optimizers.schedules import ExponentialDecay
>>> Adam(ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)).current_learning_rate()
0.1
"""

from minidl.optimizers import schedules
from minidl.optimizers.algorithms import *  # noqa: F403
from minidl.optimizers.algorithms import __all__ as _optimizers

__all__ = [*_optimizers, "schedules"]
