"""Callbacks under Keras' name: the same as :mod:`minidl.training.callbacks`.

>>> from minidl.callbacks import EarlyStopping
>>> EarlyStopping(patience=3).patience
3
"""

from minidl.training.callbacks import *  # noqa: F403
from minidl.training.callbacks import __all__  # noqa: F401
