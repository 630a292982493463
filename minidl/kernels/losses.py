"""Cross-entropy losses and their gradients in one pass over the predictions.

Predictions and targets have the shape (N, K), with a sample in each row. Each function returns the
loss of each row (N,) and the gradient (N, K) of ``sum(scale * losses)``. `scale` (N,) holds the
sample weights divided by the size of the batch.

>>> import numpy as np
>>> from minidl.kernels.losses import softmax_crossentropy
>>> losses, gradient = softmax_crossentropy(
...     logits=np.zeros((1, 2)), targets=np.array([[1.0, 0.0]]), scale=np.ones(1))
>>> losses.round(4), gradient
(array([0.6931]), array([[-0.5,  0.5]]))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels.runtime.jit import jit

__all__ = [
    "CLIP",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sigmoid_crossentropy",
    "softmax_crossentropy",
]

CLIP = 1e-7  # probabilities are clipped to [CLIP, 1 - CLIP], as in Keras


def softmax_crossentropy(
    logits: np.ndarray, targets: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``-sum(targets * log(softmax(logits)))`` of each row, and the gradient.

    Each row of targets sums to 1.
    """
    return _run(_softmax_crossentropy, logits, targets, scale)


def categorical_crossentropy(
    probabilities: np.ndarray, targets: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``-sum(targets * log(clip(p / sum(p))))`` of each row, and the gradient."""
    return _run(_categorical_crossentropy, probabilities, targets, scale, CLIP, 1 - CLIP)


def sigmoid_crossentropy(
    logits: np.ndarray, targets: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean binary cross-entropy of ``sigmoid(logits)`` of each row, and the gradient."""
    return _run(_sigmoid_crossentropy, logits, targets, scale)


def binary_crossentropy(
    probabilities: np.ndarray, targets: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean binary cross-entropy of each row, and the gradient."""
    return _run(_binary_crossentropy, probabilities, targets, scale, CLIP, 1 - CLIP)


def _run(
    kernel: Callable[..., None],
    predictions: np.ndarray,
    targets: np.ndarray,
    scale: np.ndarray,
    *limits: float,
) -> tuple[np.ndarray, np.ndarray]:
    losses = np.empty(len(predictions), predictions.dtype)
    gradient = np.empty(predictions.shape, predictions.dtype)
    bounds: list[Any] = [predictions.dtype.type(limit) for limit in limits]
    kernel(predictions, targets, scale, *bounds, losses, gradient)
    return losses, gradient


@jit
def _softmax_crossentropy(
    z: np.ndarray, t: np.ndarray, scale: np.ndarray, losses: np.ndarray, dz: np.ndarray
) -> None:
    rows, width = z.shape
    for n in range(rows):
        largest = z[n, 0]
        for k in range(1, width):
            if z[n, k] > largest:
                largest = z[n, k]
        total = 0.0
        for k in range(width):
            dz[n, k] = math.exp(z[n, k] - largest)
            total += dz[n, k]
        log_total = math.log(total)
        loss = 0.0
        for k in range(width):
            loss += t[n, k] * (log_total - (z[n, k] - largest))
        losses[n] = loss
        for k in range(width):
            dz[n, k] = (dz[n, k] / total - t[n, k]) * scale[n]


@jit
def _categorical_crossentropy(
    p: np.ndarray,
    t: np.ndarray,
    scale: np.ndarray,
    low: float,
    high: float,
    losses: np.ndarray,
    dp: np.ndarray,
) -> None:
    rows, width = p.shape
    for n in range(rows):
        total = 0.0
        for k in range(width):
            total += p[n, k]
        loss = 0.0
        inner = 0.0  # sum(dq * q): the gradient of the division by `total`
        for k in range(width):
            q = p[n, k] / total
            dp[n, k] = 0.0
            if q < low:
                q = low
            elif q > high:
                q = high
            else:  # also for NaN, so that the loss becomes NaN
                dp[n, k] = -t[n, k] / q
                inner -= t[n, k]
            loss -= t[n, k] * math.log(q)
        losses[n] = loss
        for k in range(width):
            dp[n, k] = (dp[n, k] - inner) / total * scale[n]


@jit
def _sigmoid_crossentropy(
    z: np.ndarray, t: np.ndarray, scale: np.ndarray, losses: np.ndarray, dz: np.ndarray
) -> None:
    rows, width = z.shape
    for n in range(rows):
        loss = 0.0
        for k in range(width):
            x = z[n, k]
            e = math.exp(-abs(x))  # never overflows
            if x >= 0:
                loss += x - x * t[n, k] + math.log1p(e)
                y = 1.0 / (1.0 + e)
            else:
                loss += math.log1p(e) - x * t[n, k]
                y = e / (1.0 + e)
            dz[n, k] = (y - t[n, k]) * scale[n] / width
        losses[n] = loss / width


@jit
def _binary_crossentropy(
    p: np.ndarray,
    t: np.ndarray,
    scale: np.ndarray,
    low: float,
    high: float,
    losses: np.ndarray,
    dp: np.ndarray,
) -> None:
    rows, width = p.shape
    for n in range(rows):
        loss = 0.0
        for k in range(width):
            q = p[n, k]
            slope = 1.0
            if q < low:
                q = low
                slope = 0.0
            elif q > high:
                q = high
                slope = 0.0
            loss -= t[n, k] * math.log(q) + (1.0 - t[n, k]) * math.log(1.0 - q)
            dp[n, k] = slope * ((1.0 - t[n, k]) / (1.0 - q) - t[n, k] / q) * scale[n] / width
        losses[n] = loss / width
