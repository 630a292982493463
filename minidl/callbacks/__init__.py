"""Callbacks under Keras' name: the same as :mod:`minidl.callbacks.callbacks`.

>>> from minidl.callbacks import EarlyStopping
>>> EarlyStopping(patience=3).patience
3
"""

from minidl.callbacks.callbacks import *  # noqa: F403
from minidl.callbacks.callbacks import __all__  # noqa: F401
