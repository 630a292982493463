"""How models learn: losses, metrics, optimizers, schedules, callbacks, the loop, gradcheck.

>>> from minidl.training import gradcheck
>>> from minidl import layers
>>> import numpy as np
>>> gradcheck(layers.Dense(2), np.ones((3, 4))).passed
True
"""

from minidl.training.gradcheck import GradientError, gradcheck

__all__ = ["GradientError", "gradcheck"]
