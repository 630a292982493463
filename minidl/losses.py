"""Keras' place for the losses; they live in :mod:`minidl.training.losses`.

>>> from minidl import losses
>>> losses.get("mse")([0.0], [2.0])
4.0
"""

from minidl.training.losses import *  # noqa: F403
from minidl.training.losses import __all__  # noqa: F401
