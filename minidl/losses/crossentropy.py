"""Cross-entropy losses: binary, categorical and sparse categorical.

All compute from logits or from probabilities. Training uses the logits even where the model ends
in sigmoid or softmax, because a saturated probability has no gradient; see :func:`on_logits`.

>>> import numpy as np
>>> from minidl.losses import BinaryCrossentropy
>>> loss = BinaryCrossentropy(from_logits=True)
>>> value, gradient = loss.value_and_gradient([0, 1], np.zeros((2, 1)))
>>> round(value, 4), gradient.ravel().tolist()
(0.6931, [0.25, -0.25])
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.argument_checks import check_fraction
from minidl.kernels import losses as kernels
from minidl.losses.base import Loss, RowLoss
from minidl.losses.labels import as_predictions, binary_labels, one_hot_labels, sparse_labels

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Crossentropy",
    "SparseCategoricalCrossentropy",
    "on_logits",
]


class Crossentropy(RowLoss):
    """Base class of the cross-entropies: the choice of logits or probabilities.

    Attributes
    ----------
    activation : str
        The activation whose outputs are the probabilities that this loss expects.
    """

    activation = ""

    def __init__(self, from_logits: bool, label_smoothing: float, axis: int, name: str) -> None:
        check_fraction(type(self).__name__, "label_smoothing", label_smoothing)
        if axis != -1:
            raise ValueError(
                f"{type(self).__name__}: expected axis=-1 (classes last), received {axis}"
            )
        self.from_logits = bool(from_logits)
        self.label_smoothing = label_smoothing
        self.name = name


class BinaryCrossentropy(Crossentropy):
    """Cross-entropy of binary labels, for ``Dense(1, activation="sigmoid")``.

    Several outputs are independent binary labels; their mean is taken.

    Parameters
    ----------
    from_logits : bool
        True if the predictions are logits instead of probabilities. Probabilities are clipped to
        1e-7 .. 1 - 1e-7, as in Keras; beyond these limits their gradient is zero.
    label_smoothing : float
        Moves the labels towards 0.5 by this fraction.
    axis : int
        Only -1, the last axis, is supported.
    name : str

    Examples
    --------
    >>> from minidl.losses import BinaryCrossentropy
    >>> round(BinaryCrossentropy()([0, 1], [[0.5], [0.25]]), 4)
    1.0397
    """

    activation = "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, name)

    def prepare(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return smoothed labels and predictions of one shape and dtype."""
        predictions = as_predictions(self, y_pred)
        targets = binary_labels(self, y_true, predictions)
        smoothing = self.label_smoothing
        return targets * (1 - smoothing) + 0.5 * smoothing if smoothing else targets, predictions

    def compute(
        self, targets: np.ndarray, predictions: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows' losses and the gradient; see :meth:`RowLoss.compute`."""
        kernel = kernels.sigmoid_crossentropy if self.from_logits else kernels.binary_crossentropy
        return kernel(predictions, targets, scale)


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy of one-hot labels (N, K), for ``Dense(K, activation="softmax")``.

    Parameters
    ----------
    from_logits : bool
        True if the predictions are logits instead of probabilities. Probabilities are divided by
        their sum, then clipped to 1e-7 .. 1 - 1e-7, as in Keras.
    label_smoothing : float
        Spreads this fraction of each label evenly over the K classes.
    axis : int
        Only -1, the last axis, is supported.
    name : str

    Examples
    --------
    >>> from minidl.losses import CategoricalCrossentropy
    >>> round(CategoricalCrossentropy()([[0, 1, 0]], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    activation = "softmax"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(from_logits, label_smoothing, axis, name)

    def prepare(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return smoothed one-hot labels and predictions of one shape and dtype."""
        predictions = as_predictions(self, y_pred)
        targets = one_hot_labels(self, y_true, predictions)
        smoothing = self.label_smoothing
        if smoothing:
            targets = targets * (1 - smoothing) + smoothing / targets.shape[-1]
        return targets, predictions

    def compute(
        self, targets: np.ndarray, predictions: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows' losses and the gradient; see :meth:`RowLoss.compute`."""
        if self.from_logits:
            return kernels.softmax_crossentropy(predictions, targets, scale)
        return kernels.categorical_crossentropy(predictions, targets, scale)


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """Cross-entropy of integer labels (N,), for ``Dense(K, activation="softmax")``.

    Parameters
    ----------
    from_logits : bool
        As for :class:`CategoricalCrossentropy`.
    axis : int
        Only -1, the last axis, is supported.
    name : str

    Examples
    --------
    >>> from minidl.losses import SparseCategoricalCrossentropy
    >>> round(SparseCategoricalCrossentropy()([1], [[0.05, 0.9, 0.05]]), 4)
    0.1054
    """

    def __init__(
        self,
        from_logits: bool = False,
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(from_logits, 0.0, axis, name)

    def prepare(self, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return one-hot labels and predictions of one shape and dtype."""
        predictions = as_predictions(self, y_pred)
        labels = sparse_labels(self, y_true, predictions)
        targets = np.zeros(predictions.shape, predictions.dtype)
        np.put_along_axis(targets, labels[..., None], 1, axis=-1)
        return targets, predictions


def on_logits(loss: Loss, activation: str | None) -> Crossentropy | None:
    """Return the same loss computed from the logits of `activation`.

    Parameters
    ----------
    loss : Loss
    activation : str or None
        The activation that produces the predictions: "sigmoid", "softmax" or None.

    Returns
    -------
    Crossentropy or None
        None if the loss does not expect probabilities of this activation.

    Examples
    --------
    >>> from minidl.losses.crossentropy import BinaryCrossentropy, on_logits
    >>> on_logits(BinaryCrossentropy(), "sigmoid").from_logits
    True
    """
    # A subclass may compute a gradient of its own, so it gets the probabilities it expects.
    builtin = (BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy)
    if not isinstance(loss, Crossentropy) or type(loss) not in builtin:
        return None
    if loss.from_logits or loss.activation != activation:
        return None
    twin = copy.copy(loss)
    twin.from_logits = True
    return twin
