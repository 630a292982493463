"""Callbacks: what happens besides the arithmetic while a model is trained.

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

import csv
import inspect
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minidl.callbacks.callback import Callback, History, LambdaCallback, numbers_in
from minidl.common.argument_checks import check_choice, check_fraction

__all__ = [
    "CSVLogger", "Callback", "EarlyStopping", "History", "LambdaCallback",
    "LearningRateScheduler", "ModelCheckpoint", "ReduceLROnPlateau", "TerminateOnNaN",
]  # fmt: skip


class _Monitor(Callback):
    """A callback that watches one of the logged numbers."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        super().__init__()
        check_choice(type(self).__name__, "mode", mode, ("auto", "min", "max"))
        if mode == "auto":
            grows = ("acc", "auc", "precision", "recall")
            mode = "max" if any(word in monitor.lower() for word in grows) else "min"
        self.monitor, self.sign = monitor, -1.0 if mode == "max" else 1.0
        self.min_delta = abs(min_delta)
        self.best: float | None = None

    def current(self, logs: dict[str, float]) -> float | None:
        logs = numbers_in(logs)
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__}: there is no {self.monitor!r} among the logs; "
                f"available: {', '.join(logs)}",
                stacklevel=2,
            )
        return value

    def improved(self, value: float) -> bool:
        """Whether `value` is better than the best so far (NaN never is)."""
        if self.best is None:
            return not math.isnan(value)
        return self.better(value, self.best)

    def better(self, value: float, reference: float) -> bool:
        """Whether `value` is better than `reference` by more than `min_delta`."""
        return self.sign * value < self.sign * reference - self.min_delta


class EarlyStopping(_Monitor):
    """Stop when the monitored number has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str
    min_delta : float
        A smaller change is no improvement.
    patience : int
    verbose : int
    mode : {"auto", "min", "max"}
    baseline : float, optional
        The number has to be better than this.
    restore_best_weights : bool
        Give the model the weights of its best epoch when training ends, early or not.
    start_from_epoch : int
        Epochs before this one are not looked at.
    """

    state = ("best", "best_epoch", "best_weights", "wait", "stopped_epoch")
    transient = ("best_weights",)  # when training has ended, the model has them

    def __init__(
        self, monitor="val_loss", min_delta=0.0, patience=0, verbose=0, mode="auto",
        baseline=None, restore_best_weights=False, start_from_epoch=0,
    ):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.on_train_begin()

    def set_state(self, state):
        super().set_state(state)
        if self.restore_best_weights and self.best is not None and "best_weights" not in state:
            self.best_weights = self.model.get_weights()
        if self.stopped_epoch and self.wait >= max(1, self.patience):
            self.model.stop_training = True  # the training to be resumed had ended

    def on_train_begin(self, logs=None):
        self.best = self.best_weights = None
        self.best_epoch = self.wait = self.stopped_epoch = 0

    def on_epoch_end(self, epoch, logs):
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

    def on_train_end(self, logs=None):
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of epoch {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Save the model at the end of epochs; ``load_model`` and ``fit(resume=True)`` continue.

    A model whose weights are not finite is not saved: the last good file stays.

    Parameters
    ----------
    filepath : str or Path
        May contain fields: ``"epoch{epoch:02d}-{val_loss:.3f}.h5"`` (epochs count from 1).
    monitor : str
    verbose : int
    save_best_only : bool
        Save only where `monitor` has improved.
    save_weights_only : bool
    mode : {"auto", "min", "max"}
    save_freq : "epoch"
        Keras' number of batches is refused: resuming begins where an epoch ended.
    """

    state = ("best",)

    def __init__(
        self, filepath, monitor="val_loss", verbose=0, save_best_only=False,
        save_weights_only=False, mode="auto", save_freq="epoch",
    ):  # fmt: skip
        super().__init__(monitor, mode)
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        if save_freq != "epoch":
            raise ValueError(
                "ModelCheckpoint: saves at the end of epochs only; expected save_freq='epoch', "
                f"received {save_freq!r}"
            )
        self.due = self.warned = False

    def on_train_begin(self, logs=None):
        self.warned = False
        folder = Path(self.filepath).parent
        if "{" not in str(folder) and not folder.is_dir():  # better now than after an epoch
            raise FileNotFoundError(f"ModelCheckpoint: the folder {folder} does not exist")
        if not self.save_weights_only and self.model.nodes:
            self.model.checkpoint()  # complains about what no file can hold

    def on_epoch_end(self, epoch, logs):
        self.due = self._finite(epoch, logs)
        if self.due and self.save_best_only:
            value = self.current(logs)
            self.due = value is not None and self.improved(value)
            self.best = value if self.due else self.best

    def _finite(self, epoch: int, logs: dict[str, float]) -> bool:
        """Whether the model is worth saving; warn the first time that it is not."""
        finite = losses_are_finite(logs)
        finite = finite and all(np.isfinite(p.value).all() for p in self.model.weights)
        if not finite and not self.warned:
            self.warned = True
            warnings.warn(
                f"ModelCheckpoint: epoch {epoch + 1} left NaN or infinite weights or losses: the "
                "model is not saved; lower the learning rate or clip gradients",
                stacklevel=2,
            )
        return finite

    def after_epoch(self, epoch, logs):
        if not self.due:
            return
        try:
            path = self.filepath.format(epoch=epoch + 1, **logs)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint: cannot fill in {self.filepath!r} ({error}); the fields are: "
                f"epoch, {', '.join(logs)}"
            ) from None
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved {path}")


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by `factor` when the monitored number stops improving.

    Parameters
    ----------
    monitor : str
    factor : float
        Below 1.
    patience : int
        Epochs without improvement before the rate is reduced.
    verbose : int
    mode : {"auto", "min", "max"}
    min_delta : float
    cooldown : int
        Epochs to wait after a reduction.
    min_lr : float
    """

    state = ("best", "wait", "cooling")

    def __init__(
        self, monitor="val_loss", factor=0.1, patience=10, verbose=0, mode="auto",
        min_delta=1e-4, cooldown=0, min_lr=0.0,
    ):  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        check_fraction("ReduceLROnPlateau", "factor", factor, exclusive="both")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.wait = self.cooling = 0

    def on_train_begin(self, logs=None):
        self.best, self.wait, self.cooling = None, 0, 0
        if not isinstance(self.model.optimizer.learning_rate, (int, float)):
            raise ValueError("ReduceLROnPlateau: the optimizer's learning rate follows a schedule")

    def on_epoch_end(self, epoch, logs):
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

    def _reduce(self, epoch, optimizer) -> None:
        old = optimizer.learning_rate
        new = max(old * self.factor, self.min_lr)
        if new < old:
            optimizer.learning_rate = new
            self.cooling, self.wait = self.cooldown, 0
            if self.verbose:
                print(f"Epoch {epoch + 1}: learning rate reduced to {new:.3g}")


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch: ``schedule(epoch, old_rate) -> new_rate``."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"LearningRateScheduler: expected a function, received {schedule!r}")
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.1)
            self.takes_rate = True
        except TypeError:  # Keras also takes functions of the epoch alone
            self.takes_rate = False

    def on_epoch_begin(self, epoch, logs=None):
        optimizer = self.model.optimizer
        old = (optimizer.current_learning_rate(),) if self.takes_rate else ()
        rate = self.schedule(epoch, *old)
        if not isinstance(rate, (int, float, np.floating)):
            raise TypeError(f"LearningRateScheduler: expected a number, received {rate!r}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {rate:.3g}")

    def on_epoch_end(self, epoch, logs):
        logs["learning_rate"] = self.model.optimizer.current_learning_rate()


class CSVLogger(Callback):
    """Write the numbers of each epoch as a line of a CSV file.

    Parameters
    ----------
    filename : str or Path
    separator : str
    append : bool
        Go on with a file that is there; a resumed training always does.
    """

    def __init__(self, filename, separator: str = ",", append: bool = False):
        super().__init__()
        self.path, self.separator, self.append = Path(filename), separator, append
        self.columns: list[str] | None = None

    def on_train_begin(self, logs=None):
        goes_on = self.append or self.params.get("resume")
        if goes_on and self.path.exists() and self.path.stat().st_size > 0:
            with self.path.open(newline="") as file:
                self.columns = next(csv.reader(file, delimiter=self.separator))
        else:
            self.columns = None
            self.path.write_text("")

    def on_epoch_end(self, epoch, logs):
        row = {"epoch": epoch, **numbers_in(logs)}
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if self.columns is None:
                self.columns = list(row)
                writer.writerow(self.columns)
            writer.writerow([row.get(column, "") for column in self.columns])


class TerminateOnNaN(Callback):
    """Stop training as soon as a loss, of a batch or in validation, is not a finite number."""

    def on_train_batch_end(self, batch, logs):
        if not math.isfinite(logs.get("loss", 0.0)):
            print(f"Batch {batch}: the loss is {logs['loss']}, training ends")
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs):
        if not losses_are_finite(logs) and not self.model.stop_training:
            print(f"Epoch {epoch + 1}: a loss is not finite, training ends")
            self.model.stop_training = True


def losses_are_finite(logs: dict[str, float]) -> bool:
    """Whether the training loss and, where there is one, the validation loss are numbers."""
    return all(math.isfinite(logs.get(name, 0.0)) for name in ("loss", "val_loss"))
