"""Regularizers: penalties on the size of parameters, which training adds to the loss.

>>> import numpy as np
>>> from minidl.layers.regularizers import L2
>>> float(L2(0.1)(np.array([1.0, 2.0])))
0.5
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.serialization import Configurable, lookup

__all__ = ["L1", "L1L2", "L2", "Regularizer", "RegularizerLike", "get"]


class Regularizer(Configurable):
    """Base class: a penalty and its gradient."""

    def __call__(self, w: np.ndarray) -> float:
        """Return the penalty of the array `w`."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def gradient(self, w: np.ndarray) -> np.ndarray:
        """Return the gradient of the penalty with respect to `w`, in its shape."""
        raise NotImplementedError(f"{type(self).__name__}.gradient")


RegularizerLike = str | dict[str, Any] | type[Regularizer] | Regularizer | None


class L1L2(Regularizer):
    """``l1 * sum(|w|) + l2 * sum(w ** 2)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(L1L2(l1=1.0, l2=0.5)(np.array([-1.0, 2.0])))
    5.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = l1, l2

    def __call__(self, w: np.ndarray) -> float:
        return self.l1 * np.abs(w).sum() + self.l2 * np.square(w).sum()

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return self.l1 * np.sign(w) + (2 * self.l2) * w


class L1(L1L2):
    """``l1 * sum(|w|)``, which makes weights sparse.

    Examples
    --------
    >>> import numpy as np
    >>> float(L1(1.0)(np.array([-1.0, 2.0])))
    3.0
    """

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)


class L2(L1L2):
    """``l2 * sum(w ** 2)``, which keeps weights small.

    Examples
    --------
    >>> import numpy as np
    >>> float(L2(0.5)(np.array([-1.0, 2.0])))
    2.5
    """

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)


def get(identifier: RegularizerLike) -> Regularizer | None:
    """Return the regularizer for None, a name ("l2"), a dict or an object.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> get("l2").l2
    0.01
    """
    if identifier is None:
        return None
    known = {"l1": L1, "l2": L2, "l1l2": L1L2}
    return lookup("regularizer", identifier, known, Regularizer)
