"""Progress of a training: a tqdm bar on a terminal or in a notebook, else a line per epoch.

>>> from minidl.callbacks.progress import format_logs
>>> format_logs({"loss": 0.30123, "accuracy": 0.875})
'loss 0.3012, accuracy 0.8750'
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from typing import Any

from minidl.callbacks.callback import Callback, numbers_in
from minidl.common.argument_checks import check_choice

__all__ = ["ProgressBar", "format_logs", "new_bar"]


class ProgressBar(Callback):
    """Shows loss, metrics and the time left.

    Parameters
    ----------
    verbose : "auto", 0, 1 or 2
        "auto": a bar on a terminal, and in a notebook that has ipywidgets to draw one; else
        lines. 0: nothing; 1: a bar; 2: lines.
    """

    def __init__(self, verbose: Any = "auto"):
        super().__init__()
        check_choice(type(self).__name__, "verbose", verbose, ("auto", 0, 1, 2))
        can_draw = sys.stderr.isatty() or _in_notebook_with_widgets()
        self.bars = verbose == 1 or (verbose == "auto" and can_draw)
        self.lines = verbose == 2 or (verbose == "auto" and not can_draw)
        self.bar = None

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        self.title = f"Epoch {epoch + 1}/{self.params['epochs']}"
        if self.bars:
            self.bar = new_bar(total=self.params["steps"], desc=self.title, unit="batch")

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


def new_bar(*arguments, **options):
    """Return a tqdm bar: of the notebook's own kind where it has widgets, else of text."""
    with warnings.catch_warnings():
        # tqdm warns where a notebook lacks ipywidgets; its bar of text does well there.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm

    return tqdm(*arguments, dynamic_ncols=True, **options)


def _in_notebook_with_widgets() -> bool:
    """Whether a Jupyter kernel runs this, and ipywidgets is there to draw bars."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    in_kernel = shell is not None and hasattr(shell, "kernel")
    return in_kernel and importlib.util.find_spec("ipywidgets") is not None


def format_logs(logs: dict[str, float], separator: str = ", ") -> str:
    """Return ``loss 0.3012, accuracy 0.8750``, without what is no number."""
    return separator.join(
        f"{name} {value:.3g}" if name == "learning_rate" else f"{name} {value:.4f}"
        for name, value in numbers_in(logs).items()
    )
