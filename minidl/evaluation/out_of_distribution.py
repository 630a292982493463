"""Out-of-distribution (OOD) detection: a score for inputs unlike the training data.

A classifier of cats and dogs assigns one of the two classes to any image, often with a high
probability. The OOD score tells known from unknown inputs: it is the Mahalanobis distance of a
sample's features from the nearest class mean, with one covariance for all classes (Lee, Lee, Lee
and Shin, 2018, https://arxiv.org/abs/1807.03888). It is scaled so that a chosen share of known
samples scores below the threshold of 1.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers, out_of_distribution
>>> model = Sequential([Input((2,)), layers.Activation("linear", name="features"),
...                     layers.Dense(1, activation="sigmoid")])
>>> rng = np.random.default_rng(0)
>>> x = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(8, 1, (200, 2))])
>>> out_of_distribution.fit(model, x, np.repeat([0, 1], 200), layer="features", share=0.99)
>>> p, scores = out_of_distribution.predict(model, np.array([[0.0, 0.5], [4.0, -9.0]]))
>>> (scores > out_of_distribution.THRESHOLD).tolist()
[False, True]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.common.argument_checks import check_fraction
from minidl.common.errors import DataError
from minidl.models.model import Model

__all__ = ["THRESHOLD", "fit", "fitted_score", "is_fitted", "predict"]

THRESHOLD = 1.0  # a sample with a higher OOD score is unknown
SHRINKAGE = 0.01  # of the covariance towards a multiple of the identity, so that it is invertible
BATCH_SIZE = 32
KEY = "out_of_distribution"  # of the metadata
FORMER_KEY = "novelty"  # of version 0.1; language: ok


def fit(
    model: Model,
    x: np.ndarray,
    y: ArrayLike,
    layer: str = "avg_pool",
    share: float = 0.98,
    known: np.ndarray | None = None,
) -> None:
    """Fit the OOD score to known samples and store it in the model's metadata.

    ``model.save`` writes the metadata to the file.

    Parameters
    ----------
    model : Model
        A classifier with one output.
    x : ndarray, shape (N, ...)
        Training samples, as the model accepts them.
    y : array of int or str, shape (N,)
        Class labels.
    layer : str
        Name of a layer with an output of shape (N, features).
    share : float
        Share of the known samples that score below the threshold.
    known : ndarray, shape (M, ...), optional
        Held-out samples that set the scale. Default: `x`. Held-out features lie slightly
        farther from the class means than those of the training samples.

    Raises
    ------
    DataError
        If a class has fewer than two samples, or its features do not vary.
    ValueError
        If the model has several outputs, the layer does not exist or its output has another
        shape, or `share` is out of range.
    """
    check_fraction("out_of_distribution.fit", "share", share, exclusive="both")
    if not model.single_output:
        raise ValueError(
            f"out_of_distribution.fit: expected a model with one output, {model.label} has several"
        )
    features, labels = _features(model, layer, x), np.asarray(y).reshape(-1)
    classes, indices, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(labels) != len(features) or (counts < 2).any():
        raise DataError(
            "out_of_distribution.fit: expected one label for each sample and at least two samples "
            "of each class"
        )
    means = np.stack([features[indices == k].mean(axis=0) for k in range(len(classes))])
    fitted = {
        "layer": layer,
        "share": share,
        "means": means.astype(np.float32),
        "whitening": _whitening(features - means[indices]).astype(np.float32),
    }
    distances = _distances(fitted, features if known is None else _features(model, layer, known))
    limit = float(np.quantile(distances, share))
    if not 0 < limit < np.inf:
        raise DataError(
            f"out_of_distribution.fit: expected finite features that differ, those of {layer!r} "
            "are constant within each class or not finite"
        )
    model.metadata.pop(FORMER_KEY, None)
    model.metadata[KEY] = {**fitted, "limit": limit}


def is_fitted(model: Model) -> bool:
    """Return whether a model stores a fitted OOD score, from :func:`fit` or from its file.

    Examples
    --------
    >>> from minidl import Input, Sequential, layers
    >>> is_fitted(Sequential([Input((2,)), layers.Dense(1)]))
    False
    """
    return KEY in model.metadata or FORMER_KEY in model.metadata


def fitted_score(model: Model) -> dict[str, Any]:
    """Return what :func:`fit` stored.

    Returns
    -------
    dict
        ``layer``, whose output is the features; ``means``, shape (K, D), of the classes;
        ``whitening``, shape (D, D); and ``limit``. The score of features f is the smallest norm of
        ``(f - mean) @ whitening``, divided by the limit.

    Raises
    ------
    ValueError
        If :func:`fit` was not called.
    """
    if not is_fitted(model):
        raise ValueError(
            f"{model.label}: no OOD score is fitted. Call out_of_distribution.fit(model, x, y)."
        )
    return model.metadata.get(KEY) or model.metadata[FORMER_KEY]


def predict(model: Model, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the model's outputs and the OOD score of each sample.

    Parameters
    ----------
    model : Model
        A model for which :func:`fit` was called.
    x : ndarray, shape (N, ...)

    Returns
    -------
    outputs : ndarray, shape (N, K)
    scores : ndarray of float64, shape (N,)
        Samples that score above ``THRESHOLD`` are unknown.

    Raises
    ------
    ValueError
        If :func:`fit` was not called.
    """
    fitted = fitted_score(model)
    tapped = Model(model.input, [model.output, model.tap(fitted["layer"]).output])
    outputs, features = tapped.predict(x, batch_size=BATCH_SIZE, verbose=0)
    return outputs, _distances(fitted, features) / fitted["limit"]


def _features(model: Model, layer: str, x: np.ndarray) -> np.ndarray:
    tapped = model.tap(layer)
    if len(tapped.output_shape) != 2:
        raise ValueError(
            f"{layer}: expected a layer with an output (N, features), received one with "
            f"{tapped.output_shape}"
        )
    return tapped.predict(x, batch_size=BATCH_SIZE, verbose=0).astype(np.float64)


def _whitening(deviations: np.ndarray) -> np.ndarray:
    """Return W (D, D) such that ``|x @ W|`` is the Mahalanobis distance of x from 0."""
    covariance = deviations.T @ deviations / len(deviations)
    size = len(covariance)
    variance = np.trace(covariance) / size or 1.0
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * variance * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(covariance))


def _distances(fitted: dict[str, Any], features: np.ndarray) -> np.ndarray:
    """Return the distance of each row from the nearest class mean."""
    offsets = features[:, None] - fitted["means"]  # (N, 1, D) - (K, D) -> (N, K, D)
    return np.linalg.norm(offsets @ fitted["whitening"], axis=2).min(axis=1)
