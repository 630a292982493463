"""Callbacks that monitor a logged number: early stopping, learning-rate reduction, NaN checks.

>>> import numpy as np
>>> from minidl import Input, Sequential, callbacks, layers
>>> model = Sequential([Input((2,)), layers.Dense(1)])
>>> model.compile("sgd", "mse")
>>> stop = callbacks.EarlyStopping("loss", patience=1)
>>> x = np.zeros((4, 2))
>>> history = model.fit(x, np.zeros((4, 1)), epochs=9, callbacks=[stop], verbose=0)
>>> len(history.history["loss"])
2
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from minidl.callbacks.callback import Callback, Logs, numbers_in
from minidl.common.argument_checks import check_choice, check_fraction

__all__ = ["EarlyStopping", "Monitor", "ReduceLROnPlateau", "TerminateOnNaN", "losses_are_finite"]


class Monitor(Callback):
    """Base class of callbacks that compare one of the logged numbers with the best so far.

    Parameters
    ----------
    monitor : str
        Name of the number in the logs.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" decides by the name.
    min_delta : float
        Smallest change that counts as an improvement.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        check_choice(type(self).__name__, "mode", mode, ("auto", "min", "max"))
        if mode == "auto":
            increasing = ("acc", "auc", "precision", "recall")
            mode = "max" if any(word in monitor.lower() for word in increasing) else "min"
        self.monitor, self.sign = monitor, -1.0 if mode == "max" else 1.0
        self.min_delta = abs(min_delta)
        self.best: float | None = None

    def current(self, logs: Logs) -> float | None:
        """Return the monitored number, or None with a warning if the logs lack it."""
        numbers = numbers_in(logs)
        value = numbers.get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__}: there is no {self.monitor!r} among the logs; "
                f"available: {', '.join(numbers)}",
                stacklevel=2,
            )
        return value

    def improved(self, value: float) -> bool:
        """Whether `value` is better than the best so far; NaN never is."""
        return not math.isnan(value) if self.best is None else self.better(value, self.best)

    def better(self, value: float, reference: float) -> bool:
        """Whether `value` is better than `reference` by more than `min_delta`."""
        return self.sign * value < self.sign * reference - self.min_delta


class EarlyStopping(Monitor):
    """Stop when the monitored number has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
        Name of the number in the logs.
    min_delta : float
        Smallest change that counts as an improvement.
    patience : int
        Epochs without improvement before training stops.
    verbose : int
        1: print a line when training stops.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" decides by the name.
    baseline : float, optional
        Value that the number must exceed to count as an improvement.
    restore_best_weights : bool
        Restore the weights of the best epoch when training ends, early or not.
    start_from_epoch : int
        First epoch that is monitored.

    Examples
    --------
    >>> from minidl.callbacks import EarlyStopping
    >>> stop = EarlyStopping("val_accuracy", patience=3, restore_best_weights=True)
    """

    state = ("best", "best_epoch", "best_weights", "wait", "stopped_epoch")
    transient = ("best_weights",)  # at the end of training, the model has them

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.best_weights: list[np.ndarray] | None = None
        self.best_epoch = self.wait = self.stopped_epoch = 0

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if self.restore_best_weights and self.best is not None and "best_weights" not in state:
            self.best_weights = self.model.get_weights()
        if self.stopped_epoch and self.wait >= max(1, self.patience):
            self.model.stop_training = True  # the training to be resumed had ended

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.best_weights = None, None
        self.best_epoch = self.wait = self.stopped_epoch = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self.current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improved(value):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.better(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of epoch {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by `factor` when the monitored number stops improving.

    Parameters
    ----------
    monitor : str
        Name of the number in the logs.
    factor : float
        Between 0 and 1, both excluded.
    patience : int
        Epochs without improvement before the rate is reduced.
    verbose : int
        1: print a line at each reduction.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" decides by the name.
    min_delta : float
        Smallest change that counts as an improvement.
    cooldown : int
        Epochs to wait after a reduction.
    min_lr : float
        Lower limit of the learning rate.

    Examples
    --------
    >>> from minidl.callbacks import ReduceLROnPlateau
    >>> reduce = ReduceLROnPlateau("val_loss", factor=0.5, patience=2)
    """

    state = ("best", "wait", "cooling")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = check_fraction("ReduceLROnPlateau", "factor", factor, exclusive="both")
        self.patience, self.verbose = patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.wait = self.cooling = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.cooling = None, 0, 0
        if not isinstance(self.model.optimizer.learning_rate, (int, float)):
            raise ValueError("ReduceLROnPlateau: the optimizer's learning rate follows a schedule")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        optimizer = self.model.optimizer
        logs["learning_rate"] = optimizer.current_learning_rate()
        value = self.current(logs)
        if value is None:
            return
        if self.cooling > 0:
            self.cooling -= 1
            self.wait = 0
        if self.improved(value):
            self.best, self.wait = value, 0
        elif self.cooling == 0:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch, optimizer)

    def _reduce(self, epoch: int, optimizer: Any) -> None:
        rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        if rate < optimizer.learning_rate:
            optimizer.learning_rate = rate
            self.cooling, self.wait = self.cooldown, 0
            if self.verbose:
                print(f"Epoch {epoch + 1}: learning rate reduced to {rate:.3g}")


class TerminateOnNaN(Callback):
    """Stop training when the loss of a batch or of the validation data is NaN or infinite.

    Examples
    --------
    >>> from minidl.callbacks import TerminateOnNaN
    >>> callbacks = [TerminateOnNaN()]
    """

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            print(f"Batch {batch}: the loss is {logs['loss']}, training ends")
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if not losses_are_finite(logs) and not self.model.stop_training:
            print(f"Epoch {epoch + 1}: a loss is not finite, training ends")
            self.model.stop_training = True


def losses_are_finite(logs: Logs) -> bool:
    """Whether the training loss and the validation loss, if present, are finite."""
    return all(math.isfinite(logs.get(name, 0.0)) for name in ("loss", "val_loss"))
