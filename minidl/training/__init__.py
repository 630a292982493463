"""Training: the step, the loop of fit, fine-tuning, gradient checks, the learning-rate finder.

>>> from minidl.training import gradcheck
>>> from minidl import layers
>>> import numpy as np
>>> gradcheck(layers.Dense(2), np.ones((3, 4))).passed
True
"""

from minidl.training.feature_cache.cache import clear_features
from minidl.training.fine_tuning import fine_tune
from minidl.training.gradcheck import GradientError, gradcheck
from minidl.training.learning_rate_finder import LearningRateCurve, find_learning_rate

__all__ = [
    "GradientError",
    "LearningRateCurve",
    "clear_features",
    "find_learning_rate",
    "fine_tune",
    "gradcheck",
]
