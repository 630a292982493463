"""Loss functions: cross-entropies and the mean squared error.

A loss is called with the true labels first, as in Keras. ``value_and_gradient`` also returns the
gradient with respect to the predictions, where backpropagation begins.

>>> from minidl import losses
>>> losses.get("mse")([0.0], [2.0])
4.0
"""

from __future__ import annotations

from typing import Any

from minidl.common.serialization import lookup
from minidl.losses.base import Loss
from minidl.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from minidl.losses.squared_error import MeanSquaredError

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
]

_BY_NAME: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "bce": BinaryCrossentropy,
}
_BY_NAME.update({cls.__name__: cls for cls in list(_BY_NAME.values())})


def get(identifier: Any) -> Loss:
    """Return the loss for an identifier.

    Parameters
    ----------
    identifier : str, dict, type or Loss
        A name such as "mse" or "binary_crossentropy", a saved configuration, a class or a loss.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For a plain function, which minidl cannot differentiate.

    Examples
    --------
    >>> from minidl import losses
    >>> losses.get("bce").name
    'binary_crossentropy'
    """
    if callable(identifier) and not isinstance(identifier, (Loss, type)):
        name = getattr(identifier, "__name__", repr(identifier))
        raise TypeError(
            f"loss {name!r}: minidl cannot differentiate a plain function; subclass"
            " minidl.losses.Loss and write value_and_gradient(y_true, y_pred, sample_weight=None)"
        )
    return lookup("loss", identifier, _BY_NAME, Loss)
