"""How models learn: losses, metrics, optimizers, schedules, callbacks, the loop, fine-tuning,
gradcheck.

>>> from minidl.training import gradcheck
>>> from minidl import layers
>>> import numpy as np
>>> gradcheck(layers.Dense(2), np.ones((3, 4))).passed
True
"""

from minidl.training.features import clear_features
from minidl.training.fine_tuning import fine_tune
from minidl.training.gradcheck import GradientError, gradcheck

__all__ = ["GradientError", "clear_features", "fine_tune", "gradcheck"]
