"""Keras' place for the losses; they live in :mod:`minidl.losses.losses`.

>>> from minidl import losses
>>> losses.get("mse")([0.0], [2.0])
4.0
"""

from minidl.losses.losses import *  # noqa: F403
from minidl.losses.losses import __all__  # noqa: F401
