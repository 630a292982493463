"""What a callback is, and the one that every training has: its history.

>>> from minidl.training.callback import History
>>> history = History()
>>> history.on_epoch_end(0, {"loss": 0.5})
>>> history.history
{'loss': [0.5]}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Callback", "History", "LambdaCallback"]


class Callback:
    """Base class: override the events of interest.

    Attributes
    ----------
    model : Model
        Set before training begins.
    params : dict
        ``epochs``, ``steps`` (batches per epoch, or None) and ``verbose``.
    state : tuple of str
        Names of the attributes that a checkpoint keeps, so that a resumed training
        continues exactly.
    """

    state: tuple[str, ...] = ()
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
    """What ``fit`` returns: ``history.history["val_accuracy"]`` is a list, one item an epoch."""

    state = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.interrupted = False

    def on_epoch_end(self, epoch, logs):
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"<History {len(self.epoch)} epochs: {', '.join(self.history)}>"


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
