"""What a callback is, how all are called, and the one that every training has: its history.

>>> from minidl.callbacks.callback import History
>>> history = History()
>>> history.on_epoch_end(0, {"loss": 0.5})
>>> history.history
{'loss': [0.5]}
"""

from __future__ import annotations

import html
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any

__all__ = ["Callback", "CallbackGroup", "History", "LambdaCallback", "numbers_in"]


class Callback:
    """Base class: override the events of interest.

    Attributes
    ----------
    model : Model
        Set before training begins.
    params : dict
        ``epochs``, ``steps`` (batches per epoch, or None), ``verbose`` and ``resume``.
    state : tuple of str
        Names of the attributes that a checkpoint keeps, so that a resumed training
        continues exactly.
    transient : tuple of str
        Those of `state` that are forgotten when training ends.
    """

    state: tuple[str, ...] = ()
    transient: tuple[str, ...] = ()
    model: Any = None

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def on_train_begin(self, logs=None) -> None: ...
    def on_train_end(self, logs=None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs=None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None: ...
    def on_train_batch_begin(self, batch: int, logs=None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None: ...

    def after_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Called when every callback has had its ``on_epoch_end``: the time to save or print."""

    def get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.state}

    def set_state(self, state: dict[str, Any]) -> None:
        for name in self.state:
            if name in state:
                setattr(self, name, state[name])


class History(Callback):
    """What ``fit`` returns: ``history.history["val_accuracy"]`` is a list, one item an epoch.

    Attributes
    ----------
    history : dict of str to list
    epoch : list of int
        The epochs, from 0; with ``resume=True`` the earlier ones, too.
    seconds : float
        How long this call of ``fit`` took.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    state = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.interrupted = False
        self.seconds = 0.0
        self.started = time.perf_counter()

    def plot(self, path=None, title: str = ""):
        """Return the learning curves as a matplotlib figure, and save it where `path` says.

        Parameters
        ----------
        path : str or Path, optional
            Its ending decides the format: ``.png``, ``.svg``, ``.pdf``.
        title : str

        Raises
        ------
        ImportError
            Where matplotlib is missing.
        """
        from minidl.common import plotting

        figure = plotting.history_figure(self, title)
        if path is not None:
            plotting.save_figure(figure, path)
        return figure

    def on_epoch_end(self, epoch, logs):
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def on_train_end(self, logs=None):
        self.seconds = time.perf_counter() - self.started

    def __repr__(self) -> str:
        return f"<History {len(self.epoch)} epochs: {', '.join(self.history)}>"

    def _repr_html_(self) -> str:
        """Show curves, where matplotlib is installed, and a table of all epochs in a notebook."""
        from minidl.common import plotting

        logs = plotting.number_logs(self)
        if not logs:
            return f"<p>{html.escape(repr(self))}</p>"
        columns = {
            n: dict(zip(plotting.epochs_of(self, n) or [], logs[n], strict=False)) for n in logs
        }
        epochs = sorted({epoch for column in columns.values() for epoch in column})
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        rows = ""
        for epoch in epochs:
            values = (column.get(epoch) for column in columns.values())
            cells = "".join(f"<td>{'' if v is None else format(v, '.4g')}</td>" for v in values)
            rows += f"<tr><td>{epoch}</td>{cells}</tr>"
        try:
            svg = plotting.to_svg(self.plot(), f"history-{id(self)}", "learning curves")
        except ImportError:
            svg = ""
        width = 400 * sum(not name.startswith("val_") for name in logs)
        return (
            f'<div style="max-width: {width}px">{svg}</div><details{"" if svg else " open"}>'
            f"<summary>{len(epochs)} epochs in {self.seconds:.1f} s</summary><table>"
            f"<thead><tr><th>epoch</th>{head}</tr></thead><tbody>{rows}</tbody></table></details>"
        )


class LambdaCallback(Callback):
    """A callback made of functions, given by the names of the events.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end, on_train_begin, on_train_end : callable, optional
    on_train_batch_begin, on_train_batch_end : callable, optional
    """

    def __init__(self, **functions: Callable):
        super().__init__()
        for event, function in functions.items():
            if not event.startswith("on_") or not hasattr(Callback, event):
                raise TypeError(f"LambdaCallback: unknown event {event!r}")
            if not callable(function):
                raise TypeError(f"LambdaCallback: {event} is no function, but {function!r}")
            setattr(self, event, function)


class CallbackGroup:
    """Calls all callbacks: History, the user's in their order, and the progress bar last."""

    def __init__(self, model, history: History, given: Iterable[Callback] | None, bar: Callback):
        self.model = model
        given = [given] if isinstance(given, Callback) else given or []
        if not isinstance(given, (list, tuple)) or any(not isinstance(c, Callback) for c in given):
            raise TypeError(f"callbacks: expected a list of Callback objects, received {given!r}")
        self.callbacks = [history, *given, bar]

    def begin(self, **params) -> None:
        self.model.stop_training = False
        for callback in self.callbacks:
            callback.model, callback.params = self.model, dict(params)
        self.call("on_train_begin", {})

    def call(self, event: str, *arguments) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)

    def start(self, epoch: int) -> int:
        """Begin a training that has nothing to do with earlier ones, at `epoch`."""
        self.last_epoch = {"epoch": epoch}
        return epoch

    def batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Tell all; what is saved from now on is in the midst of an epoch."""
        self.model.training_state = {**self.last_epoch, "batches": batch + 1}
        self.call("on_train_batch_end", batch, logs)

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Tell all; what ModelCheckpoint saves contains what all of them have noted."""
        history, *others = self.callbacks
        for callback in others:  # may add to the logs, hence before History
            callback.on_epoch_end(epoch, logs)
        history.on_epoch_end(epoch, logs)
        self.last_epoch = self.model.training_state = {
            "epoch": epoch + 1,
            "callbacks": {key: c.get_state() for key, c in self.named() if c.state},
        }
        self.call("after_epoch", epoch, logs)

    def end(self) -> None:
        """Tell all, then forget what only a training that goes on needs."""
        self.call("on_train_end", {})
        saved = self.model.training_state.get("callbacks", {})
        for key, callback in self.named():
            for name in callback.transient:
                saved.get(key, {}).pop(name, None)

    def restore(self) -> int:
        """Give the callbacks back what a checkpoint kept; return the epoch to continue with."""
        saved = self.last_epoch = self.model.training_state
        epoch = saved.get("epoch", 0)
        if "batches" in saved:
            warnings.warn(
                f"fit: the training to be resumed was interrupted in epoch {epoch + 1} after "
                f"{saved['batches']} batches, which are trained on once more; for an exact "
                "resume load a file that ModelCheckpoint wrote",
                stacklevel=4,
            )
        for key, callback in self.named():
            callback.set_state(saved.get("callbacks", {}).get(key, {}))
        return epoch

    def named(self) -> Iterator[tuple[str, Callback]]:
        """Yield each callback with a name; several of one class are numbered in their order."""
        seen: Counter[str] = Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            seen[name] += 1
            yield (name if seen[name] == 1 else f"{name}_{seen[name]}"), callback


def numbers_in(logs: dict[str, Any]) -> dict[str, float]:
    """Return the logs that can be written as a number; a confusion matrix cannot."""
    return {name: value for name, value in logs.items() if isinstance(value, Real)}
