"""ModelCheckpoint: saves the model during training.

>>> from minidl.callbacks import ModelCheckpoint
>>> save = ModelCheckpoint("best.h5", monitor="val_accuracy", save_best_only=True)
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from minidl.callbacks.callback import Logs
from minidl.callbacks.monitors import Monitor, losses_are_finite
from minidl.common.argument_checks import check_choice

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(Monitor):
    """Save the model at the end of epochs; ``load_model`` and ``fit(resume=True)`` continue.

    A model with NaN or infinite weights is not saved, so the last good file stays.

    Parameters
    ----------
    filepath : str or Path
        May contain fields: ``"epoch{epoch:02d}-{val_loss:.3f}.h5"`` (epochs count from 1).
    monitor : str
        Name of the number in the logs that `save_best_only` compares.
    verbose : int
        1: print a line for each file.
    save_best_only : bool
        Save only if `monitor` has improved.
    save_weights_only : bool
        Save without architecture and optimizer.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" decides by the name.
    save_freq : "epoch"
        Keras' number of batches is not supported, because resuming begins with a whole epoch.

    Examples
    --------
    >>> from minidl.callbacks import ModelCheckpoint
    >>> save = ModelCheckpoint("epoch{epoch:02d}.h5")
    """

    state = ("best",)
    writes_files = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str = "epoch",
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        check_choice("ModelCheckpoint", "save_freq", save_freq, ("epoch",))
        self.due = self.warned = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.warned = False
        folder = Path(self.filepath).parent
        if "{" not in str(folder) and not folder.is_dir():  # fail before the first epoch
            raise FileNotFoundError(f"ModelCheckpoint: the folder {folder} does not exist")
        if not self.save_weights_only and self.model.built:
            self.model.checkpoint()  # raises if something cannot be saved

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.due = self._is_finite(epoch, logs)
        if self.due and self.save_best_only:
            value = self.current(logs)
            self.due = value is not None and self.improved(value)
            self.best = value if self.due else self.best

    def after_epoch(self, epoch: int, logs: Logs) -> None:
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

    def _is_finite(self, epoch: int, logs: Logs) -> bool:
        """Whether losses and weights are finite; warn the first time that they are not."""
        finite = losses_are_finite(logs) and all(
            np.isfinite(parameter.value).all() for parameter in self.model.weights
        )
        if not finite and not self.warned:
            self.warned = True
            warnings.warn(
                f"ModelCheckpoint: epoch {epoch + 1} left NaN or infinite weights or losses: the "
                "model is not saved; lower the learning rate or clip gradients",
                stacklevel=2,
            )
        return finite
