"""Progress of a training: a tqdm bar on a terminal, one quiet line per epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from minidl.training.callback import Callback, numbers_in

__all__ = ["ProgressBar", "format_logs"]


class ProgressBar(Callback):
    """Shows loss, metrics and the time left.

    Parameters
    ----------
    verbose : "auto", 0, 1 or 2
        "auto": a bar where the output is a terminal, else lines; 0 nothing; 1 a bar; 2 lines.
    """

    def __init__(self, verbose: Any = "auto"):
        super().__init__()
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, received {verbose!r}")
        on_terminal = sys.stderr.isatty()
        self.bars = verbose == 1 or (verbose == "auto" and on_terminal)
        self.lines = verbose == 2 or (verbose == "auto" and not on_terminal)
        self.bar = None

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        self.title = f"Epoch {epoch + 1}/{self.params['epochs']}"
        if self.bars:
            from tqdm.auto import tqdm

            self.bar = tqdm(
                total=self.params["steps"], desc=self.title, unit="batch", dynamic_ncols=True
            )

    def on_train_batch_end(self, batch, logs):
        if self.bar is not None:
            self.bar.set_postfix_str(format_logs(logs), refresh=False)
            self.bar.update()

    def after_epoch(self, epoch, logs):
        seconds = time.perf_counter() - self.started
        if self.bar is not None:
            self.bar.set_postfix_str(format_logs(logs))
            self.bar.close()
            self.bar = None
        elif self.lines:
            print(f"{self.title} - {seconds:.1f} s - {format_logs(logs, ' - ')}", flush=True)

    def on_train_end(self, logs=None):
        if self.bar is not None:  # interrupted within an epoch
            self.bar.close()
            self.bar = None


def format_logs(logs: dict[str, float], separator: str = ", ") -> str:
    """Return ``loss 0.3012, accuracy 0.8750``, without what is no number."""
    return separator.join(
        f"{name} {value:.3g}" if name == "learning_rate" else f"{name} {value:.4f}"
        for name, value in numbers_in(logs).items()
    )
