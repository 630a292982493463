"""fine_tune: first a new head on a frozen base, then the base's upper layers, gently.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.training import fine_tune
>>> base = Sequential([Input((4,)), layers.Dense(8, "relu"), layers.Dense(3, name="upper")])
>>> model = Sequential([base, layers.Dense(1, activation="sigmoid")])
>>> model.compile("adam", "binary_crossentropy")
>>> history = fine_tune(model, (np.eye(4), np.array([0, 1, 0, 1])), head_epochs=2, epochs=3,
...                     unfreeze_from="upper", verbose=0)
>>> history.epoch
[0, 1, 2, 3, 4]
"""

from __future__ import annotations

from typing import Any

from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.normalization import BatchNormalization
from minidl.training.callback import History

__all__ = ["fine_tune"]


def fine_tune(
    model, train, val=None, head_epochs: int = 10, epochs: int = 10,
    unfreeze_from: str | None = None, learning_rate: float | None = None,
    lr_multiplier: float = 0.1, **fit_arguments: Any,
) -> History:  # fmt: skip
    """Train the head of `model` on its frozen base; then the base from one layer up as well.

    The base is what is frozen already or, where nothing is, the models that were called as
    layers. Its BatchNormalization layers stay frozen to the end: small batches would spoil the
    statistics that all other weights were trained for.

    Parameters
    ----------
    model : Model
        Compiled.
    train, val : (x, y) or Dataset
    head_epochs, epochs : int
        Of the first and of the second part; 0 leaves a part out.
    unfreeze_from : str, optional
        The lowest layer of the base that the second part trains; None: all of them.
    learning_rate : float, optional
        By default the optimizer's.
    lr_multiplier : float
        In the second part the base learns at ``learning_rate * lr_multiplier``.
    **fit_arguments
        For ``fit``, in both parts: callbacks, verbose, batch_size, augmented_passes, ...

    Returns
    -------
    History
        Of both parts, one after the other.

    Raises
    ------
    ValueError
        If the model has no base, or no layer of that name.
    """
    base = _base_layers(model)
    if unfreeze_from is not None:
        model.get_layer(unfreeze_from)  # complains before anything is trained
    if learning_rate is not None:
        model.optimizer.learning_rate = learning_rate
    for layer in base:
        layer.trainable = False
    whole = History()
    for part in ("head", "base"):
        count = head_epochs if part == "head" else epochs
        if part == "base" and count and not whole.interrupted:
            _unfreeze(model, base, unfreeze_from, lr_multiplier)
        if count and not whole.interrupted:
            _append(whole, _fit(model, train, val, len(whole.epoch), count, fit_arguments))
    return whole


def _base_layers(model) -> list[Layer]:
    """Return the layers of the base: the frozen ones, else those of the inlined models."""
    frozen = [layer for layer in model.layers if layer.parameters and not layer.trainable]
    inlined = [layer for record in model.inlined.values() for layer in record.network.layers]
    base = frozen or [layer for layer in inlined if layer.parameters]
    if not base:
        raise ValueError(
            f"{model.label}: fine_tune found no base; freeze it (model.freeze(until=...)), or "
            "build the model as Sequential([base, ...])"
        )
    if all(layer in base for layer in model.layers if layer.parameters):
        raise ValueError(f"{model.label}: fine_tune found no head to train above the base")
    return base


def _unfreeze(model: Network, base: list[Layer], from_: str | None, multiplier: float) -> None:
    """Make the base trainable from a layer up, at its own rate, but for BatchNormalization."""
    was_trainable = {id(layer) for layer in model.layers if layer.trainable}
    model.unfreeze(from_=from_)
    for layer in model.layers:
        if layer in base:
            layer.learning_rate_multiplier = multiplier
            layer.trainable = layer.trainable and not isinstance(layer, BatchNormalization)
        else:
            layer.trainable = id(layer) in was_trainable


def _fit(model, train, val, initial_epoch: int, count: int, arguments) -> History:
    x, y = train if isinstance(train, tuple) else (train, None)
    return model.fit(
        x, y, validation_data=val, initial_epoch=initial_epoch, epochs=initial_epoch + count,
        **arguments,
    )  # fmt: skip


def _append(whole: History, part: History) -> None:
    whole.epoch += part.epoch
    whole.interrupted = part.interrupted
    for name, values in part.history.items():
        whole.history.setdefault(name, []).extend(values)
