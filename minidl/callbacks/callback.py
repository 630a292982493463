"""The interface of callbacks, and the group that calls all callbacks of a training.

>>> from minidl.callbacks import LambdaCallback
>>> shout = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
>>> shout.on_epoch_end(0, {"loss": 0.5})
0 0.5
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

__all__ = ["Callback", "CallbackGroup", "LambdaCallback", "Logs", "numbers_in"]

Logs = dict[str, Any]  # loss and metrics by name; nearly all of them are numbers


class Callback:
    """Base class; subclasses override the events they need.

    Attributes
    ----------
    model : Model
        Set before training begins.
    params : dict
        ``epochs``, ``steps`` (batches per epoch, or None), ``verbose`` and ``resume``.
    state : tuple of str
        Names of the attributes that a checkpoint saves, so that a resumed training
        continues exactly.
    transient : tuple of str
        Names among `state` that are discarded when training ends.
    writes_files : bool
        Whether the callback's only purpose is to write files. Of several processes that train
        together, only the first one calls it.

    Examples
    --------
    >>> from minidl.callbacks import Callback
    >>> class Counter(Callback):
    ...     batches = 0
    ...     def on_train_batch_end(self, batch, logs):
    ...         self.batches += 1
    """

    state: tuple[str, ...] = ()
    transient: tuple[str, ...] = ()
    writes_files = False
    model: Any = None

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs) -> None: ...

    def after_epoch(self, epoch: int, logs: Logs) -> None:
        """Save or print; called after all callbacks' ``on_epoch_end``."""

    def get_state(self) -> dict[str, Any]:
        """Return the attributes named in `state`."""
        return {name: getattr(self, name) for name in self.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set the attributes named in `state`."""
        for name in self.state:
            if name in state:
                setattr(self, name, state[name])


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    **functions : callable
        By the names of the events: ``on_epoch_begin``, ``on_epoch_end``, ``on_train_begin``,
        ``on_train_end``, ``on_train_batch_begin``, ``on_train_batch_end``.

    Examples
    --------
    >>> from minidl.callbacks import LambdaCallback
    >>> losses = []
    >>> collect = LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]))
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        super().__init__()
        for event, function in functions.items():
            if not event.startswith("on_") or not hasattr(Callback, event):
                raise TypeError(f"LambdaCallback: unknown event {event!r}")
            if not callable(function):
                raise TypeError(
                    f"LambdaCallback: expected {event} to be a function, received {function!r}"
                )
            setattr(self, event, function)


class CallbackGroup:
    """All callbacks of one training: History, the user's in their order, the progress bar.

    Parameters
    ----------
    model : Model
    history : History
    given : Callback, sequence of Callback or None
        The user's callbacks.
    bar : ProgressBar
    writes : bool
        Whether this process writes files.
    """

    def __init__(
        self,
        model: Any,
        history: Callback,
        given: Callback | Sequence[Callback] | None,
        bar: Callback,
        writes: bool = True,
    ) -> None:
        self.model = model
        given = [given] if isinstance(given, Callback) else given or []
        if not isinstance(given, (list, tuple)) or any(not isinstance(c, Callback) for c in given):
            raise TypeError(f"callbacks: expected a list of Callback objects, received {given!r}")
        self.callbacks = [history, *(c for c in given if writes or not c.writes_files), bar]
        self.last_epoch: dict[str, Any] = {}  # training state at the end of the last whole epoch

    def begin(self, **params: Any) -> None:
        """Give all callbacks their model and parameters, and call ``on_train_begin``."""
        self.model.stop_training = False
        for callback in self.callbacks:
            callback.model, callback.params = self.model, dict(params)
        self.call("on_train_begin", {})

    def call(self, event: str, *arguments: Any) -> None:
        """Call one event of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)

    def start(self, epoch: int) -> int:
        """Begin a new training at `epoch`, and return the epoch."""
        self.last_epoch = {"epoch": epoch}
        return epoch

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Call ``on_train_batch_end``; a model saved from now on is within an epoch."""
        self.model.training_state = {**self.last_epoch, "batches": batch + 1}
        self.call("on_train_batch_end", batch, logs)

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """Call ``on_epoch_end``, collect the callbacks' states, then call ``after_epoch``."""
        history, *others = self.callbacks
        for callback in others:  # may add to the logs, so they run before History
            callback.on_epoch_end(epoch, logs)
        history.on_epoch_end(epoch, logs)
        self.last_epoch = self.model.training_state = {
            "epoch": epoch + 1,
            "callbacks": {key: c.get_state() for key, c in self.named() if c.state},
        }
        self.call("after_epoch", epoch, logs)

    def end(self) -> None:
        """Call ``on_train_end`` and discard transient state."""
        self.call("on_train_end", {})
        saved = self.model.training_state.get("callbacks", {})
        for key, callback in self.named():
            for name in callback.transient:
                saved.get(key, {}).pop(name, None)

    def restore(self) -> int:
        """Restore the callbacks' state from a checkpoint; return the epoch to continue with."""
        saved = self.last_epoch = self.model.training_state
        epoch = saved.get("epoch", 0)
        if "batches" in saved:
            warnings.warn(
                f"fit: the training to be resumed was interrupted in epoch {epoch + 1} after "
                f"{saved['batches']} batches, which are trained on once more; for an exact "
                "resume load a file that ModelCheckpoint wrote",
                stacklevel=6,
            )
        for key, callback in self.named():
            callback.set_state(saved.get("callbacks", {}).get(key, {}))
        return epoch

    def named(self) -> Iterator[tuple[str, Callback]]:
        """Yield callbacks by class name; repeated classes are numbered in order."""
        seen: Counter[str] = Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            seen[name] += 1
            yield (name if seen[name] == 1 else f"{name}_{seen[name]}"), callback


def numbers_in(logs: Logs) -> Logs:
    """Return the logs that are numbers, unlike a confusion matrix."""
    return {name: value for name, value in logs.items() if isinstance(value, Real)}
