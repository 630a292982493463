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

from minidl.callbacks.history import History
from minidl.common.argument_checks import check_integer, check_number
from minidl.graph.network import Network
from minidl.layers.base import Layer
from minidl.layers.normalization import BatchNormalization

__all__ = ["fine_tune"]


def fine_tune(
    model, train, val=None, head_epochs: int = 10, epochs: int = 10,
    unfreeze_from: str | None = None, learning_rate: float | None = None,
    lr_multiplier: float = 0.1, **fit_arguments: Any,
) -> History:  # fmt: skip
    """Train the head of `model` on its frozen base; then the base from one layer up as well.

    The base are the models that were called as layers or, where there are none, the highest
    frozen layer with weights and all layers below it. Its BatchNormalization layers stay frozen
    to the end: small batches would spoil the statistics that all other weights were trained for.

    Parameters
    ----------
    model : Model
        Compiled.
    train, val : (x, y), (x, y, sample_weight) or Dataset
    head_epochs, epochs : int
        Of the first and of the second part; 0 leaves a part out.
    unfreeze_from : str, optional
        The lowest layer of the base that the second part trains; None: all of them.
    learning_rate : float, optional
        By default the optimizer's.
    lr_multiplier : float
        In the second part the base learns at ``learning_rate * lr_multiplier``.
    **fit_arguments
        For ``fit``, in both parts: callbacks, verbose, batch_size, augmented_passes, ... but
        for those that fine_tune has itself, and `resume`.

    Returns
    -------
    History
        Of both parts, one after the other.

    Raises
    ------
    ValueError
        If the model has no base or no head, the base no layer of that name, or a number is none.
    TypeError
        For arguments of ``fit`` that fine_tune cannot hand on.
    """
    base = _base_layers(model)
    _check(model, base, head_epochs, epochs, unfreeze_from, lr_multiplier, fit_arguments)
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
            whole.extend(_fit(model, train, val, len(whole.epoch), count, fit_arguments))
    return whole


def _base_layers(model) -> list[Layer]:
    """Return the layers of the base that have weights."""
    weighted = [layer for layer in model.layers if layer.parameters]
    base = []
    for record in model.inlined.values():
        inner = {id(layer) for layer in record.network.layers}
        if not all(id(layer) in inner for layer in weighted):  # a loaded model may hold itself
            base += [layer for layer in weighted if id(layer) in inner]
    if not base:
        frozen = [i for i, layer in enumerate(weighted) if not layer.trainable]
        base = weighted[: frozen[-1] + 1] if frozen else []
    if not base:
        raise ValueError(
            f"{model.label}: fine_tune found no base; freeze it (model.freeze(until=...)), or "
            "build the model as Sequential([base, ...])"
        )
    if all(layer in base for layer in weighted):
        raise ValueError(f"{model.label}: fine_tune found no head to train above the base")
    return base


def _check(model, base, head_epochs, epochs, unfreeze_from, lr_multiplier, fit_arguments) -> None:
    """Complain of arguments before anything is trained."""
    check_integer("fine_tune", "head_epochs", head_epochs, 0)
    check_integer("fine_tune", "epochs", epochs, 0)
    check_number("fine_tune", "lr_multiplier", lr_multiplier, 0, exclusive="minimum")
    for name in ("resume", "initial_epoch", "validation_data", "x", "y"):
        if name in fit_arguments:
            raise TypeError(f"fine_tune: takes no {name}; it calls fit twice with its own")
    names = [layer.name for layer in model.layers]
    highest = names.index(base[-1].name)
    if unfreeze_from is not None and unfreeze_from not in names[: highest + 1]:
        raise ValueError(
            f"{model.label}: unfreeze_from={unfreeze_from!r} is no layer of the base (up to "
            f"{base[-1].name!r}); the second part would train nothing of it"
        )


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
    x, y, weight = (*train, None, None)[:3] if isinstance(train, tuple) else (train, None, None)
    return model.fit(
        x, y, sample_weight=weight, validation_data=val, initial_epoch=initial_epoch,
        epochs=initial_epoch + count, **arguments,
    )  # fmt: skip
