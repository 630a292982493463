"""Calibration of classifiers: calibration error, reliability diagrams, temperature scaling.

A classifier is calibrated if 80 % of the samples that it predicts with a confidence of 80 % are
correct. Training rarely produces such a network. Temperature scaling divides all logits by one
number; it corrects most of the error and changes no predicted class (Guo, Pleiss, Sun and
Weinberger, 2017, https://arxiv.org/abs/1706.04599).

>>> import numpy as np
>>> from minidl.evaluation.calibration import expected_calibration_error, fit_temperature
>>> p, labels = np.array([[0.1, 0.9]] * 10), np.array([1] * 6 + [0] * 4)
>>> round(expected_calibration_error(p, labels), 3)  # confidence 90 %, accuracy 60 %
0.3
>>> scaled = p ** (1 / fit_temperature(p, labels))
>>> (scaled / scaled.sum(axis=1, keepdims=True))[0].round(3)
array([0.4, 0.6])
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl import layers
from minidl.common.argument_checks import check_integer, check_number
from minidl.common.errors import DataError, ShapeError
from minidl.losses.labels import sparse_labels
from minidl.models.model import Model
from minidl.training.logits import final_activation

__all__ = [
    "accuracy_interval",
    "apply_temperature",
    "expected_calibration_error",
    "fit_temperature",
    "reliability",
]

BINS = 10  # of equal width


def accuracy_interval(correct: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Compute the Wilson (1927) confidence interval of an accuracy.

    Parameters
    ----------
    correct, count : int
        Number of correct predictions and of samples.
    z : float
        Quantile of the normal distribution; 1.96 for a 95 % interval.

    Returns
    -------
    low, high : float
        Limits within 0 to 1, valid for few samples, too.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> low, high = accuracy_interval(114, 118)
    >>> round(low, 3), round(high, 3)
    (0.916, 0.987)
    """
    check_integer("accuracy_interval", "count", count, minimum=1)
    check_integer("accuracy_interval", "correct", correct, minimum=0, maximum=count)
    check_number("accuracy_interval", "z", z, minimum=0, exclusive="minimum")
    accuracy, spread = correct / count, z * z / count
    center = (accuracy + spread / 2) / (1 + spread)
    half = z * np.sqrt(accuracy * (1 - accuracy) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS
) -> float:
    """Compute the mean difference between confidence and accuracy over bins of confidence.

    Parameters
    ----------
    probabilities : array, shape (N, K)
        Probability of each class. A single column (N, 1), or (N,), is the probability of class 1
        of two.
    labels : array of int, shape (N,)
        Class indices, 0 to K - 1.
    bins : int
        Number of bins of equal width, from 0 to 1.

    Returns
    -------
    float
        0 for a calibrated classifier.

    Raises
    ------
    ShapeError
        If there is not one label for each row.
    DataError
        If there are no rows, labels or probabilities are out of range, or the probabilities of a
        row do not sum to 1.
    ValueError
        If `bins` is not a positive integer.

    Examples
    --------
    >>> expected_calibration_error([0.75] * 4, [1, 1, 1, 0])
    0.0
    """
    p, classes = _checked(probabilities, labels)
    return reliability(p.max(axis=1), p.argmax(axis=1) == classes, bins)[
        "expected_calibration_error"
    ]


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Compare confidence with accuracy, bin by bin.

    Parameters
    ----------
    confidence : ndarray, shape (N,)
        Probability of each predicted class.
    correct : ndarray of bool, shape (N,)
        Whether each prediction is correct.
    bins : int
        Number of bins of equal width, from 0 to 1. Each bin includes its upper limit.

    Returns
    -------
    dict
        ``bins``: for each bin its limits ``from`` and ``to``, the number of ``samples``, their
        mean confidence ``certainty`` and their ``accuracy`` (None for an empty bin);
        ``expected_calibration_error``: the mean of \\|accuracy - confidence\\| over the bins,
        weighted by their samples; ``mean_certainty``: the mean confidence.

    Raises
    ------
    ValueError
        If `bins` is not a positive integer.

    Examples
    --------
    >>> table = reliability(np.array([0.9, 0.9]), np.array([True, False]))
    >>> round(table["expected_calibration_error"], 3), table["bins"][8]["accuracy"]
    (0.4, 0.5)
    """
    check_integer("calibration", "bins", bins, minimum=1)
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    rows, error = [], 0.0
    for k in range(bins):
        inside = bin_of == k
        row: dict[str, Any] = {
            "from": round(float(edges[k]), 10),
            "to": round(float(edges[k + 1]), 10),
            "samples": int(inside.sum()),
            "certainty": None,
            "accuracy": None,
        }
        if inside.any():
            row["certainty"] = float(confidence[inside].mean(dtype=np.float64))
            row["accuracy"] = float(correct[inside].mean())
            error += inside.mean() * abs(row["accuracy"] - row["certainty"])
        rows.append(row)
    return {
        "bins": rows,
        "expected_calibration_error": float(error),
        "mean_certainty": float(confidence.mean(dtype=np.float64)),
    }


def fit_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Fit the temperature that minimizes the cross-entropy of scaled probabilities.

    The mean cross-entropy is a convex function of 1 / temperature; Newton's method finds its
    minimum. Use held-out samples: on training samples the network is overconfident.

    Parameters
    ----------
    probabilities, labels
        As for :func:`expected_calibration_error`.

    Returns
    -------
    float
        Above 1 for an overconfident network. It is limited to 0.05 to 20, because no finite
        temperature is optimal for a network without errors.

    Raises
    ------
    ShapeError, DataError
        As for :func:`expected_calibration_error`.

    Examples
    --------
    >>> round(fit_temperature([0.9, 0.9, 0.9, 0.9], [1, 1, 1, 0]), 2)  # accuracy 75 %
    2.0
    """
    p, classes = _checked(probabilities, labels)
    z = np.log(np.maximum(p, 1e-12))  # logits, up to a constant that softmax ignores
    target = z[np.arange(len(z)), classes]
    inverse = 1.0
    for _ in range(100):
        q = np.exp(inverse * (z - z.max(axis=1, keepdims=True)))
        q /= q.sum(axis=1, keepdims=True)
        mean = (q * z).sum(axis=1)
        slope = (mean - target).mean()
        curvature = ((q * z**2).sum(axis=1) - mean**2).mean()
        step = slope / max(curvature, 1e-12)
        step = np.clip(step, -inverse, inverse / 2)  # at most double or halve it per iteration
        inverse = float(np.clip(inverse - step, 1 / 20, 20))
        if abs(step) < 1e-9 * inverse:
            break
    return 1 / inverse


def apply_temperature(model: Model, temperature: float) -> None:
    """Divide a classifier's logits by a temperature, in the weights of its last layer.

    Parameters
    ----------
    model : Model
        Its last layer is Dense with a sigmoid or softmax.
    temperature : float
        A positive number.

    Raises
    ------
    ValueError
        If the temperature is not positive, or the model ends in another layer.

    Examples
    --------
    >>> from minidl import Input, Sequential
    >>> model = Sequential([Input((1,)), layers.Dense(1, "sigmoid", kernel_initializer="ones")])
    >>> apply_temperature(model, 2.0)
    >>> model.get_weights()[0].item()
    0.5
    """
    temperature = check_number(
        "apply_temperature", "temperature", temperature, minimum=0, exclusive="minimum"
    )
    last = model.layers[-1]
    classifies = model.single_output and final_activation(model) in ("sigmoid", "softmax")
    uses = sum(node.layer is last for node in model.nodes)
    if not isinstance(last, layers.Dense) or not classifies or uses != 1:
        raise ValueError(
            f"{model.label}: expected a model that ends in Dense with a sigmoid or softmax, used "
            f"once, as its one output; its last layer is {last.label}"
        )
    scaled = [parameter.value / temperature for parameter in last.parameters]
    if not all(np.isfinite(value).all() for value in scaled):
        raise ValueError(f"apply_temperature: temperature {temperature!r} leaves no finite weights")
    for parameter, value in zip(last.parameters, scaled, strict=True):
        parameter.assign(value)


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (N, K), K >= 2, and class indices (N,)."""
    p = np.asarray(probabilities, float)
    p = p[:, None] if p.ndim == 1 else p
    if p.ndim != 2:
        raise ShapeError(f"calibration: expected probabilities (N, K), received shape {p.shape}")
    p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
    if not len(p) or not ((p >= -1e-6) & (p <= 1 + 1e-6)).all():
        raise DataError("calibration: expected probabilities from 0 to 1, at least one row")
    sums = p.sum(axis=1)
    if abs(sums - 1).max() > 1e-3:  # rows of float16 sum to 1 more precisely than this
        worst = float(sums[abs(sums - 1).argmax()])
        raise DataError(
            f"calibration: expected rows of probabilities that sum to 1, received sum {worst:g}"
        )
    return p, sparse_labels("calibration", labels, p)
