"""Keras' place for the metrics; they live in :mod:`minidl.metrics.accuracy`.

>>> from minidl import metrics
>>> metrics.BinaryAccuracy()([0, 1], [0.2, 0.3])
0.5
"""

from minidl.metrics.accuracy import *  # noqa: F403
from minidl.metrics.accuracy import __all__  # noqa: F401
