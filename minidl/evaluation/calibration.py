"""Whether probabilities mean what they say: the calibration error, and a temperature that mends it.

Of photos that a calibrated classifier calls "80 % cat", 80 % are cats. Training rarely leaves a
network so; one number, by which all logits are divided, mends most of it and changes no decision
(Guo, Pleiss, Sun and Weinberger, 2017, https://arxiv.org/abs/1706.04599).

>>> import numpy as np
>>> from minidl.evaluation.calibration import expected_calibration_error, temperature_of
>>> says, is_so = np.array([[0.1, 0.9]] * 10), np.array([1] * 6 + [0] * 4)
>>> round(expected_calibration_error(says, is_so), 3)  # it says 90 %, and 60 % are
0.3
>>> t = temperature_of(says, is_so)
>>> mended = says ** (1 / t)
>>> (mended / mended.sum(axis=1, keepdims=True))[0].round(3)
array([0.4, 0.6])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import layers
from minidl.common.argument_checks import check_integer, check_number
from minidl.common.errors import DataError, ShapeError

__all__ = [
    "accuracy_interval",
    "apply_temperature",
    "expected_calibration_error",
    "reliability",
    "temperature_of",
]

BINS = 10  # of equal width


def accuracy_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return between which shares the true accuracy lies, if `right` of `count` were right.

    Wilson's interval (1927): it stays within 0 to 1, and holds for few samples, too.

    Parameters
    ----------
    right, count : int
    z : float
        1.96 for 95 % certainty.

    Examples
    --------
    >>> low, high = accuracy_interval(114, 118)
    >>> round(low, 3), round(high, 3)
    (0.916, 0.987)
    """
    count = check_integer("accuracy_interval", "count", count, 1)
    right = check_integer("accuracy_interval", "right", right, 0, count)
    z = check_number("accuracy_interval", "z", z, 0, exclusive="minimum")
    share, spread = right / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def expected_calibration_error(probabilities, labels, bins: int = BINS) -> float:
    """Return by how much confidence and accuracy differ, on average over bins of confidence.

    Parameters
    ----------
    probabilities : (N, K)
        Of each class; a column (N, 1) or (N,) is the probability of class 1 of two.
    labels : (N,) of int
        From 0 to K - 1.
    bins : int
        Of equal width, from 0 to 1. An empty bin counts for nothing.

    Raises
    ------
    ShapeError
        If there is not one label for each row.
    DataError
        If there are no rows, or labels or probabilities are out of range, or the probabilities of
        a row are not 1 together.
    ValueError
        For a wrong number of bins.
    """
    p, labels = _checked(probabilities, labels)
    compared = reliability(p.max(axis=1), p.argmax(axis=1) == labels, bins)
    return compared["expected_calibration_error"]


def reliability(certainty: np.ndarray, right: np.ndarray, bins: int = BINS) -> dict[str, Any]:
    """Compare how certain answers are with how often they are right.

    Parameters
    ----------
    certainty : (N,)
        The probability of each predicted class.
    right : (N,) of bool
    bins : int
        Of equal width from 0 to 1; each holds its upper end.

    Returns
    -------
    dict
        ``bins``: each with its limits, the number of samples, their mean certainty and their
        accuracy; ``expected_calibration_error``: the mean of \\|accuracy - certainty\\| over the
        bins, weighted by their samples; ``mean_certainty``.
    """
    check_integer("calibration", "bins", bins, 1)
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, certainty, side="left") - 1, 0, bins - 1)
    rows, error = [], 0.0
    for k in range(bins):
        inside = places == k
        count = int(inside.sum())
        mean = float(certainty[inside].mean(dtype=np.float64)) if count else None
        share = float(right[inside].mean()) if count else None
        if count:
            error += count / len(certainty) * abs(share - mean)
        rows.append(
            {
                "from": round(float(edges[k]), 10), "to": round(float(edges[k + 1]), 10),
                "samples": count, "certainty": mean, "accuracy": share,
            }
        )  # fmt: skip
    return {
        "bins": rows,
        "expected_calibration_error": error,
        "mean_certainty": float(certainty.mean(dtype=np.float64)),
    }


def temperature_of(probabilities, labels) -> float:
    """Return the temperature at which the probabilities fit the labels best.

    The mean cross-entropy is a convex function of 1 / temperature; Newton's method finds its
    minimum. Use photos that were not trained on: on others, the network is too sure of itself.

    Parameters
    ----------
    probabilities, labels
        As for :func:`expected_calibration_error`.

    Returns
    -------
    float
        Above 1 for a network that is too sure. It stays between 0.05 and 20, as no finite
        number would do for one that is always right.
    """
    p, labels = _checked(probabilities, labels)
    z = np.log(np.maximum(p, 1e-12))  # logits but for a constant, which softmax does not see
    own = z[np.arange(len(z)), labels]
    inverse = 1.0
    for _ in range(100):
        q = np.exp(inverse * (z - z.max(axis=1, keepdims=True)))
        q /= q.sum(axis=1, keepdims=True)
        mean = (q * z).sum(axis=1)
        slope = (mean - own).mean()
        curvature = ((q * z**2).sum(axis=1) - mean**2).mean()
        step = slope / max(curvature, 1e-12)
        step = np.clip(step, -inverse, inverse / 2)  # at most twice or half of it at a time
        inverse = float(np.clip(inverse - step, 1 / 20, 20))
        if abs(step) < 1e-9 * inverse:
            break
    return 1 / inverse


def apply_temperature(model, temperature: float) -> None:
    """Divide a classifier's logits by `temperature`, by means of its last layer's weights.

    Parameters
    ----------
    model : Model
        Its last layer is Dense with a sigmoid or softmax.
    temperature : float

    Raises
    ------
    ValueError
        If the temperature is not positive, or the model ends otherwise.
    """
    check_number("apply_temperature", "temperature", temperature, 0, exclusive="minimum")
    last = model.layers[-1]
    classifies = model.single_output and model.output_activations[0] in ("sigmoid", "softmax")
    used = sum(node.layer is last for node in model.nodes)
    if not isinstance(last, layers.Dense) or not classifies or used != 1:
        raise ValueError(
            f"{model.label}: expected a model that ends in Dense with a sigmoid or softmax, used "
            f"once, as its one output; its last layer is {last.label}"
        )
    divided = [parameter.value / temperature for parameter in last.parameters]
    if not all(np.isfinite(value).all() for value in divided):
        raise ValueError(f"temperature: {temperature!r} leaves no finite weights")
    for parameter, value in zip(last.parameters, divided, strict=True):
        parameter.assign(value)


def _checked(probabilities, labels) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, K) and (N,), of two columns where there is one."""
    p, labels = np.asarray(probabilities, float), np.asarray(labels)
    p = p[:, None] if p.ndim == 1 else p
    if p.ndim != 2 or labels.shape != (len(p),):
        raise ShapeError(
            f"calibration: expected probabilities (N, K) and labels (N,), received {p.shape} and "
            f"{labels.shape}"
        )
    p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
    if not len(p) or not ((p >= -1e-6) & (p <= 1 + 1e-6)).all():
        raise DataError("calibration: expected probabilities from 0 to 1, at least one row")
    total = p.sum(axis=1)
    if abs(total - 1).max() > 1e-3:  # float16 adds up to 1 within less
        far = float(total[abs(total - 1).argmax()])
        raise DataError(f"calibration: expected rows of probabilities to sum to 1, one has {far:g}")
    whole = labels.dtype.kind in "iub" or (
        labels.dtype.kind == "f" and (labels == np.rint(labels)).all()
    )
    if not whole:
        raise DataError(
            f"calibration: expected labels 0..{p.shape[1] - 1} as whole numbers, received others"
        )
    labels = labels.astype(np.int64)
    if labels.min() < 0 or labels.max() >= p.shape[1]:
        raise DataError(
            f"calibration: expected labels 0..{p.shape[1] - 1}, received {labels.min()}.."
            f"{labels.max()}"
        )
    return p, labels
