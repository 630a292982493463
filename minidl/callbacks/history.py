"""History: the logs of all epochs, returned by ``fit``.

>>> from minidl.callbacks import History
>>> history = History()
>>> history.on_epoch_end(0, {"loss": 0.5})
>>> history.history
{'loss': [0.5]}
"""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minidl.callbacks.callback import Callback, Logs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["History"]


class History(Callback):
    """The logs of each epoch: ``history.history["val_accuracy"]`` has one item per epoch.

    Attributes
    ----------
    history : dict of str to list
    epoch : list of int
        Epoch numbers from 0; with ``resume=True`` including the earlier ones.
    seconds : float
        Duration of this call of ``fit``.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    state = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.interrupted = False
        self.seconds = 0.0
        self.started = time.perf_counter()

    def plot(self, path: str | Path | None = None, title: str = "") -> Figure:
        """Draw the learning curves with matplotlib.

        Parameters
        ----------
        path : str or Path, optional
            File to save the figure to; its suffix decides the format: ``.png``, ``.svg``, ``.pdf``.
        title : str

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from minidl.common import plotting

        figure = plotting.history_figure(self, title)
        if path is not None:
            plotting.save_figure(figure, path)
        return figure

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.seconds = time.perf_counter() - self.started

    def extend(self, other: History) -> None:
        """Append the epochs of another training."""
        self.epoch += other.epoch
        self.seconds += other.seconds
        self.interrupted = other.interrupted
        for name, values in other.history.items():
            self.history.setdefault(name, []).extend(values)

    def __repr__(self) -> str:
        return f"<History {len(self.epoch)} epochs: {', '.join(self.history)}>"

    def _repr_html_(self) -> str:
        """Return learning curves, if matplotlib is installed, and a table for notebooks."""
        from minidl.common import plotting

        logs = plotting.number_logs(self)
        if not logs:
            return f"<p>{html.escape(repr(self))}</p>"
        try:
            svg = plotting.to_svg(self.plot(), f"history-{id(self)}", "learning curves")
        except ImportError:
            svg = ""
        epochs, table = self._html_table(logs)
        width = 400 * sum(not name.startswith("val_") for name in logs)
        return (
            f'<div style="max-width: {width}px">{svg}</div><details{"" if svg else " open"}>'
            f"<summary>{epochs} epochs in {self.seconds:.1f} s</summary>{table}</details>"
        )

    def _html_table(self, logs: dict[str, list[float]]) -> tuple[int, str]:
        """Return the number of epochs and a table with one row per epoch."""
        from minidl.common import plotting

        columns = {
            name: dict(zip(plotting.epochs_of(self, name) or [], values, strict=False))
            for name, values in logs.items()
        }
        epochs = sorted({epoch for column in columns.values() for epoch in column})
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        rows = ""
        for epoch in epochs:
            values = (column.get(epoch) for column in columns.values())
            cells = "".join(f"<td>{'' if v is None else format(v, '.4g')}</td>" for v in values)
            rows += f"<tr><td>{epoch}</td>{cells}</tr>"
        table = f"<table><thead><tr><th>epoch</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        return len(epochs), table
