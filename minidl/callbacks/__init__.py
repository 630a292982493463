"""Callbacks: early stopping, checkpoints, learning-rate changes and logs during ``fit``.

>>> from minidl.callbacks import EarlyStopping
>>> EarlyStopping(patience=3).monitor
'val_loss'
"""

from minidl.callbacks.callback import Callback, LambdaCallback
from minidl.callbacks.checkpointing import ModelCheckpoint
from minidl.callbacks.history import History
from minidl.callbacks.logging import CSVLogger
from minidl.callbacks.monitors import EarlyStopping, ReduceLROnPlateau, TerminateOnNaN
from minidl.callbacks.scheduling import LearningRateScheduler

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]
