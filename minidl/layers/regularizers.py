"""Penalties on a parameter's size, added to the loss by training.

>>> import numpy as np
>>> from minidl.layers.regularizers import L2
>>> float(L2(0.1)(np.array([1.0, 2.0])))
0.5
"""

from __future__ import annotations

import numpy as np

from minidl.common.serialization import Configurable, lookup

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get"]


class Regularizer(Configurable):
    """Base class: a penalty and its gradient."""

    def __call__(self, w: np.ndarray) -> float:
        raise NotImplementedError

    def gradient(self, w: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class L1L2(Regularizer):
    """``l1 * sum(|w|) + l2 * sum(w ** 2)``."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = l1, l2

    def __call__(self, w):
        return self.l1 * np.abs(w).sum() + self.l2 * np.square(w).sum()

    def gradient(self, w):
        return self.l1 * np.sign(w) + (2 * self.l2) * w


class L1(L1L2):
    """``l1 * sum(|w|)``: drives weights to zero."""

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)


class L2(L1L2):
    """``l2 * sum(w ** 2)``: keeps weights small."""

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)


def get(identifier) -> Regularizer | None:
    """Return the regularizer for None, a name ("l2"), a dict or an object."""
    if identifier is None:
        return None
    known = {"l1": L1, "l2": L2, "l1l2": L1L2}
    return lookup("regularizer", identifier, known, Regularizer)
