"""LearningRateScheduler: sets the learning rate before each epoch.

>>> from minidl.callbacks import LearningRateScheduler
>>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from minidl.callbacks.callback import Callback, Logs

__all__ = ["LearningRateScheduler"]


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, rate)`` or ``schedule(epoch)`` returns the new rate.
    verbose : int
        1: print the rate of each epoch.

    Examples
    --------
    >>> from minidl.callbacks import LearningRateScheduler
    >>> decay = LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: expected a function, received {schedule!r}")
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.1)
            self.takes_rate = True
        except TypeError:  # Keras also accepts functions of the epoch alone
            self.takes_rate = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        current = (optimizer.current_learning_rate(),) if self.takes_rate else ()
        rate = self.schedule(epoch, *current)
        if not isinstance(rate, (int, float, np.floating)):
            raise TypeError(f"LearningRateScheduler: expected a number, received {rate!r}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:.3g}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs["learning_rate"] = self.model.optimizer.current_learning_rate()
