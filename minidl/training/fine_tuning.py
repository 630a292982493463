"""Fine-tuning: train a new head on a frozen base, then the base's upper layers at a lower rate.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.training import fine_tune
>>> base = Sequential([Input((4,)), layers.Dense(8, "relu"), layers.Dense(3, name="upper")])
>>> model = Sequential([base, layers.Dense(1, activation="sigmoid")])
>>> model.compile("adam", "binary_crossentropy")
>>> history = fine_tune(model, (np.eye(4), np.array([0, 1, 0, 1])), head_epochs=2, epochs=3,
...                     from_layer="upper", verbose=0)
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

__all__ = ["base_layers", "check_is_in_base", "fine_tune"]


def fine_tune(
    model: Any,
    train: Any,
    validation_data: Any = None,
    head_epochs: int = 10,
    epochs: int = 10,
    from_layer: str | None = None,
    learning_rate: float | None = None,
    learning_rate_multiplier: float = 0.1,
    initial_epoch: int = 0,
    **fit_arguments: Any,
) -> History:
    """Train the head of a model on its frozen base, then the base from one layer upwards, too.

    The base consists of the models that were called as layers. Without such models, it is the
    highest frozen layer with weights and all layers below it. BatchNormalization layers of the base
    stay frozen, because small batches would spoil their statistics.

    Parameters
    ----------
    model : Model
        Compiled.
    train, validation_data : (x, y), (x, y, sample_weight) or Dataset
    head_epochs, epochs : int
        Epochs of the first and of the second phase; 0 skips a phase.
    from_layer : str, optional
        The lowest layer of the base that the second phase trains; by default the first one.
    learning_rate : float, optional
        By default the optimizer's.
    learning_rate_multiplier : float
        In the second phase the base is trained at this fraction of the learning rate.
    initial_epoch : int
        Number of epochs that count as done before the first phase.
    **fit_arguments
        Other arguments of ``fit`` for both phases, such as callbacks, verbose or batch_size.

    Returns
    -------
    History
        The epochs of both phases.

    Raises
    ------
    ValueError
        If the model has no base or no head, the base lacks the layer, or a number is invalid.
    TypeError
        For arguments of ``fit`` that differ between the phases.

    Examples
    --------
    >>> import numpy as np
    >>> from minidl import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(3, trainable=False), layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> history = fine_tune(model, (np.eye(2), np.ones(2)), head_epochs=1, epochs=1, verbose=0)
    >>> model.layers[0].trainable, model.layers[0].learning_rate_multiplier
    (True, 0.1)
    """
    # Keywords of version 0.1
    validation_data = fit_arguments.pop("val", validation_data)
    from_layer = fit_arguments.pop("unfreeze_from", from_layer)
    multiplier = fit_arguments.pop("lr_multiplier", learning_rate_multiplier)

    check_integer("fine_tune", "head_epochs", head_epochs, 0)
    check_integer("fine_tune", "epochs", epochs, 0)
    check_integer("fine_tune", "initial_epoch", initial_epoch, 0)
    check_number(
        "fine_tune", "learning_rate_multiplier", multiplier, minimum=0, exclusive="minimum"
    )
    for name in ("resume", "x", "y"):
        if name in fit_arguments:
            raise TypeError(f"fine_tune: {name} cannot be set, because both phases need their own")
    base = base_layers(model)
    check_is_in_base(model, base, from_layer)
    if learning_rate is not None:
        model.optimizer.learning_rate = learning_rate
    for layer in base:
        layer.trainable = False
    x, y, weight = (*train, None, None)[:3] if isinstance(train, tuple) else (train, None, None)
    history = History()
    for phase, count in (("head", head_epochs), ("base", epochs)):
        if count == 0 or history.interrupted:
            continue
        if phase == "base":
            _unfreeze(model, base, from_layer, multiplier)
        first = initial_epoch + len(history.epoch)
        history.extend(
            model.fit(
                x,
                y,
                sample_weight=weight,
                validation_data=validation_data,
                initial_epoch=first,
                epochs=first + count,
                **fit_arguments,
            )
        )
    return history


def base_layers(model: Network) -> list[Layer]:
    """Return the layers of the base that have weights, in the order of the model.

    Parameters
    ----------
    model : Model

    Returns
    -------
    list of Layer

    Raises
    ------
    ValueError
        If the model has no base or no head.

    Examples
    --------
    >>> from minidl import Input, Sequential, layers
    >>> base = Sequential([Input((2,)), layers.Dense(3, name="lower"), layers.ReLU()])
    >>> [layer.name for layer in base_layers(Sequential([base, layers.Dense(1)]))]
    ['lower']
    """
    weighted = [layer for layer in model.layers if layer.parameters]
    base: list[Layer] = []
    for record in model.inlined.values():
        inner = {id(layer) for layer in record.network.layers}
        if not all(id(layer) in inner for layer in weighted):  # a loaded model may contain itself
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


def check_is_in_base(model: Network, base: list[Layer], from_layer: str | None) -> None:
    """Raise ValueError unless `from_layer` is None or at most the highest layer of the base."""
    names = [layer.name for layer in model.layers]
    highest = names.index(base[-1].name)
    if from_layer is not None and from_layer not in names[: highest + 1]:
        raise ValueError(
            f"{model.label}: expected from_layer to be a layer of the base (up to "
            f"{base[-1].name!r}), received {from_layer!r}"
        )


def _unfreeze(model: Network, base: list[Layer], from_layer: str | None, multiplier: float) -> None:
    """Unfreeze the base from a layer upwards, at its own rate, except BatchNormalization."""
    was_trainable = {id(layer) for layer in model.layers if layer.trainable}
    model.unfreeze(from_layer)
    for layer in model.layers:
        if layer in base:
            layer.learning_rate_multiplier = multiplier
            layer.trainable = layer.trainable and not isinstance(layer, BatchNormalization)
        else:
            layer.trainable = id(layer) in was_trainable
