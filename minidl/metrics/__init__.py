"""Metrics: accuracies, precision, recall, ROC AUC, the confusion matrix, losses as metrics.

>>> from minidl import metrics
>>> metrics.get("precision")([0, 1, 1], [0.9, 0.8, 0.2])
0.5
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl import losses
from minidl.common.serialization import lookup
from minidl.losses.base import Loss
from minidl.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from minidl.metrics.confusion import AUC, ConfusionMatrix, CountsMetric, Precision, Recall
from minidl.metrics.metric import Mean, Metric
from minidl.metrics.wrappers import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanMetricWrapper,
    MeanOfLoss,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "ConfusionMatrix",
    "Mean",
    "MeanMetricWrapper",
    "MeanOfLoss",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "get",
]

_BY_NAME: dict[str, type[Metric]] = {
    "mse": MeanSquaredError,
    "bce": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "top_k_categorical_accuracy": TopKCategoricalAccuracy,
    "sparse_top_k_categorical_accuracy": SparseTopKCategoricalAccuracy,
    "precision": Precision,
    "recall": Recall,
    "auc": AUC,
    "confusion_matrix": ConfusionMatrix,
    "binary_crossentropy": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
_BY_NAME.update({cls.__name__: cls for cls in list(_BY_NAME.values())})


def get(
    identifier: Any,
    output_shape: tuple[int | None, ...] | None = None,
    loss: Any = None,
    y_true: ArrayLike | None = None,
) -> Metric:
    """Return the metric for an identifier.

    "accuracy" (or "acc") becomes the binary, sparse or categorical accuracy, as in Keras: one
    output is binary, labels without a class axis are sparse. If `loss` expects logits, the names
    "accuracy", "binary_accuracy", "precision" and "recall" use the threshold 0 instead of 0.5.

    Parameters
    ----------
    identifier : str, dict, type, Metric, Loss or callable
        A function ``f(y_true, y_pred)`` returns one number per sample; the metric is the mean.
    output_shape : tuple, optional
        Shape of the predictions, batch first.
    loss : Loss or str, optional
    y_true : array_like, optional
        Labels; without them the loss decides which accuracy is meant.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from minidl import metrics
    >>> type(metrics.get("accuracy", output_shape=(None, 1))).__name__
    'BinaryAccuracy'
    """
    if isinstance(identifier, Loss):
        return MeanOfLoss(identifier)
    if callable(identifier) and not isinstance(identifier, (Metric, type)):
        return MeanMetricWrapper(identifier)
    if not isinstance(identifier, str):
        return lookup("metric", identifier, _BY_NAME, Metric)
    loss = loss if loss is None else losses.get(loss)
    accuracy = _accuracy_for(output_shape, loss, y_true)
    known = {**_BY_NAME, "accuracy": accuracy, "acc": accuracy}
    metric = lookup("metric", identifier, known, Metric)
    expects_logits = isinstance(loss, losses.BinaryCrossentropy) and loss.from_logits
    if expects_logits and isinstance(metric, (BinaryAccuracy, CountsMetric)):
        metric.threshold = 0.0
    metric.name = identifier
    return metric


def _accuracy_for(
    output_shape: tuple[int | None, ...] | None, loss: Loss | None, y_true: ArrayLike | None
) -> type[Metric]:
    """Choose an accuracy by the shapes, or by the loss if there are no labels yet."""
    sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
    if output_shape is None:
        if not isinstance(loss, losses.CategoricalCrossentropy):  # the sparse one is a subclass
            return BinaryAccuracy
    elif output_shape[-1] == 1:
        return BinaryAccuracy
    elif y_true is not None:
        sparse = np.ndim(y_true) < len(output_shape) or np.shape(y_true)[-1] == 1
    return SparseCategoricalAccuracy if sparse else CategoricalAccuracy
