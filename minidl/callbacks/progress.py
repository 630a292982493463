"""Progress of fit, evaluate and predict: a tqdm bar, printed lines, or nothing.

>>> from minidl.callbacks.progress import format_logs
>>> format_logs({"loss": 0.30123, "accuracy": 0.875})
'loss 0.3012, accuracy 0.8750'
"""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from types import TracebackType
from typing import Any

from minidl.callbacks.callback import Callback, Logs, numbers_in
from minidl.common.argument_checks import check_choice

__all__ = ["Progress", "ProgressBar", "display_mode", "format_logs"]


class Progress:
    """Progress of one pass over batches.

    Parameters
    ----------
    title : str
    total : int or None
        Number of batches, if known.
    verbose : {"auto", 0, 1, 2}
        See :func:`display_mode`.
    leave : bool
        Whether the bar stays visible after the pass.

    Examples
    --------
    >>> from minidl.callbacks.progress import Progress
    >>> with Progress("Evaluation", total=2, verbose=0) as progress:
    ...     for batch in range(2):
    ...         progress.update({"loss": 0.5})
    ...     progress.finish({"loss": 0.5})
    """

    def __init__(
        self, title: str, total: int | None, verbose: int | str = "auto", leave: bool = True
    ) -> None:
        self.title, self.mode = title, display_mode(verbose)
        self.started = time.perf_counter()
        self.bar = _new_bar(title, total, leave) if self.mode == "bar" else None

    def update(self, logs: Logs | None = None) -> None:
        """Count one batch and show its logs."""
        if self.bar is not None:
            if logs:
                self.bar.set_postfix_str(format_logs(logs), refresh=False)
            self.bar.update()

    def finish(self, logs: Logs) -> None:
        """Show the logs of the whole pass: in the bar, or as a line."""
        if self.bar is not None:
            self.bar.set_postfix_str(format_logs(logs))
            self.bar.close()
        elif self.mode == "lines":
            seconds = f"{time.perf_counter() - self.started:.1f} s"
            print(
                " - ".join(filter(None, [self.title, seconds, format_logs(logs, " - ")])),
                flush=True,
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()


class ProgressBar(Callback):
    """The callback that shows loss, metrics and the remaining time of each epoch.

    Parameters
    ----------
    verbose : {"auto", 0, 1, 2}
        See :func:`display_mode`.
    """

    def __init__(self, verbose: int | str = "auto") -> None:
        super().__init__()
        display_mode(verbose)  # refuses a wrong value before training
        self.verbose = verbose
        self.progress: Progress | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        title = f"Epoch {epoch + 1}/{self.params['epochs']}"
        self.progress = Progress(title, self.params["steps"], self.verbose)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        if self.progress is not None:
            self.progress.update(logs)

    def after_epoch(self, epoch: int, logs: Logs) -> None:
        if self.progress is not None:
            self.progress.finish(logs)
            self.progress = None

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.progress is not None:  # interrupted within an epoch
            self.progress.__exit__(None, None, None)
            self.progress = None


def display_mode(verbose: int | str) -> str:
    """Return how to show progress.

    Parameters
    ----------
    verbose : {"auto", 0, 1, 2}
        0: nothing; 1: a bar; 2: lines. "auto": a bar on a terminal and in notebooks with
        ipywidgets, lines elsewhere.

    Returns
    -------
    {"nothing", "bar", "lines"}

    Examples
    --------
    >>> from minidl.callbacks.progress import display_mode
    >>> display_mode(2)
    'lines'
    """
    check_choice("progress", "verbose", verbose, ("auto", 0, 1, 2))
    if verbose == "auto":
        verbose = 1 if sys.stderr.isatty() or _in_notebook_with_widgets() else 2
    return ("nothing", "bar", "lines")[int(verbose)]


def _new_bar(title: str, total: int | None, leave: bool) -> Any:
    """Return a tqdm bar: a widget in notebooks that have ipywidgets, else text."""
    with warnings.catch_warnings():
        # tqdm warns in notebooks without ipywidgets; its text bar works there.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm

    return tqdm(total=total, desc=title, unit="batch", leave=leave, dynamic_ncols=True)


def _in_notebook_with_widgets() -> bool:
    """Whether this runs in a Jupyter kernel, and ipywidgets is installed."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    in_kernel = shell is not None and hasattr(shell, "kernel")
    return in_kernel and importlib.util.find_spec("ipywidgets") is not None


def format_logs(logs: Logs, separator: str = ", ") -> str:
    """Return the numbers among the logs as text: ``loss 0.3012, accuracy 0.8750``."""
    return separator.join(
        f"{name} {value:.3g}" if name == "learning_rate" else f"{name} {value:.4f}"
        for name, value in numbers_in(logs).items()
    )
