"""Keras' place for the optimizers; they live in :mod:`minidl.training.optimizers`.

>>> from minidl.optimizers import Adam
>>> from minidl.optimizers.schedules import ExponentialDecay
>>> Adam(ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)).current_learning_rate()
0.1
"""

import sys

from minidl.training import schedules
from minidl.training.optimizers import *  # noqa: F403
from minidl.training.optimizers import __all__ as _optimizers

__all__ = [*_optimizers, "schedules"]

# So that `from minidl.optimizers.schedules import ...` works although this is no package.
sys.modules[__name__ + ".schedules"] = schedules
