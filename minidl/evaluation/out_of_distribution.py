"""Is this like anything the network was trained on? A score beside the probabilities.

A classifier of cats and dogs has to call a teapot one of them, and is often sure of it. Its inner
features tell more: training photos of a class gather around a mean, and what is far from all means
is something else. The distance is Mahalanobis', with one covariance for all classes (Lee, Lee, Lee
and Shin, 2018, https://arxiv.org/abs/1807.03888), divided by the one that a chosen share of known
photos stays below: above 1 the honest answer is "neither, as far as I can tell".

>>> import numpy as np
>>> from minidl import Input, Sequential, layers, out_of_distribution
>>> model = Sequential([Input((2,)), layers.Activation("linear", name="features"),
...                     layers.Dense(1, activation="sigmoid")])
>>> rng = np.random.default_rng(0)
>>> x = np.concatenate([rng.normal(0, 1, (200, 2)), rng.normal(8, 1, (200, 2))])
>>> out_of_distribution.fit(model, x, np.repeat([0, 1], 200), layer="features", share=0.99)
>>> p, scores = out_of_distribution.predict(model, np.array([[0.0, 0.5], [4.0, -9.0]]))
>>> (scores > 1).tolist()
[False, True]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.argument_checks import check_fraction
from minidl.common.errors import DataError
from minidl.models.model import Model

__all__ = ["fit", "knows", "predict"]

SHRINKAGE = 0.01  # of the covariance towards a multiple of the identity: no direction is empty
BATCH = 32


def fit(model: Model, x, y, layer: str = "avg_pool", share: float = 0.98, known=None) -> None:
    """Note in the model what its features of known samples are like; ``save`` keeps it.

    Parameters
    ----------
    model : Model
        A classifier with one output.
    x : array (N, ...)
        Samples that it was trained on, as it takes them.
    y : (N,) of int or str
        Their classes.
    layer : str
        Name of a layer whose output is a row of features for each sample.
    share : float
        Of the known samples that are to score below 1.
    known : array (M, ...), optional
        Samples from the same source that it was not trained on, to set the scale by: their
        features lie a little farther out than those of `x`, which is used where this is missing.

    Raises
    ------
    DataError
        If a class has fewer than two samples, or its features do not differ.
    ValueError
        If the model has several outputs, the layer's is not a row, there is no layer of that name,
        or `share` is no fraction.
    """
    check_fraction("novelty", "share", share, exclusive="both")
    if not model.single_output:
        raise ValueError(f"novelty: expected a model with one output, {model.label} has several")
    features, y = _features(model, layer, x), np.asarray(y).reshape(-1)
    classes, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(y) != len(features) or (counts < 2).any():
        raise DataError("novelty: expected one label for each sample, two samples of each class")
    means = np.stack([features[place == k].mean(axis=0) for k in range(len(classes))])
    within = features - means[place]
    noted = {"layer": layer, "share": share, "means": means.astype(np.float32)}
    noted["whitening"] = _whitening(within).astype(np.float32)
    distances = _distances(noted, features if known is None else _features(model, layer, known))
    noted["limit"] = float(np.quantile(distances, share))
    if not 0 < noted["limit"] < np.inf:
        raise DataError(
            f"novelty: expected features that differ, those of {layer!r} are the same for all "
            "samples of a class, or not finite"
        )
    model.metadata["novelty"] = noted


def knows(model: Model) -> bool:
    """Return whether :func:`fit` has been called on this model, or on the one it was saved from."""
    return "novelty" in model.metadata


def predict(model: Model, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the model's outputs (N, K), and for each sample how novel it is: above 1, unknown.

    Raises
    ------
    ValueError
        If :func:`fit` was not called.
    """
    if not knows(model):
        raise ValueError(f"{model.label}: out_of_distribution.fit(model, x, y) has to come first")
    noted = model.metadata["novelty"]
    both = Model(model.input, [model.output, model.tap(noted["layer"]).output])
    outputs, features = both.predict(x, batch_size=BATCH, verbose=0)
    return outputs, _distances(noted, features) / noted["limit"]


def _features(model: Model, layer: str, x) -> np.ndarray:
    tapped = model.tap(layer)
    if len(tapped.output_shape) != 2:
        raise ValueError(
            f"{layer}: expected a layer that gives a row of features for each sample, its output "
            f"is {tapped.output_shape}"
        )
    return tapped.predict(x, batch_size=BATCH, verbose=0).astype(np.float64)


def _whitening(within: np.ndarray) -> np.ndarray:
    """Return W (D, D) such that ``|x @ W|`` is the Mahalanobis distance of x from 0."""
    covariance = within.T @ within / len(within)
    size = len(covariance)
    even = np.trace(covariance) / size or 1.0
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(covariance))


def _distances(noted: dict[str, Any], features: np.ndarray) -> np.ndarray:
    """Return the distance of each row from the nearest mean."""
    # (N, 1, D) - (K, D) -> (N, K, D)
    offsets = features[:, None] - noted["means"]
    return np.linalg.norm(offsets @ noted["whitening"], axis=2).min(axis=1)
