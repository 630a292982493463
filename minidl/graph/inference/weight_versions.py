"""Watch: have the parameters changed since a copy of them was made?

>>> import numpy as np
>>> from minidl.graph.inference.weight_versions import Watch
>>> from minidl.layers.base import Parameter
>>> parameter = Parameter("kernel", np.zeros((2, 3)))
>>> watch = Watch([parameter])
>>> parameter.assign(np.ones((2, 3)))
>>> watch.sees_change()
True
"""

from __future__ import annotations

import math

import numpy as np

from minidl.layers.base import Parameter

__all__ = ["Watch"]

SAMPLE = 128  # numbers of each parameter


class Watch:
    """Notices changed parameters.

    minidl counts every change that it makes. For arrays that a user wrote to in place, a
    sample of each is compared: that finds changes of large parts, but not of single numbers
    (see :meth:`minidl.layers.base.Parameter.changed`).

    Parameters
    ----------
    parameters : list of Parameter
    """

    def __init__(self, parameters: list[Parameter]):
        self.parameters = parameters
        self.versions = self._versions()
        self.samples = [_sample(parameter.value) for parameter in parameters]
        self.seen = self._look()

    def sees_change(self) -> bool:
        """Return whether any parameter is another one than when the watch began."""
        return self._versions() != self.versions or self._look() != self.seen

    def _versions(self) -> int:
        return sum(parameter.version for parameter in self.parameters)  # they only ever grow

    def _look(self) -> bytes:
        return np.concatenate(self.samples).tobytes() if self.samples else b""


def _sample(value: np.ndarray) -> np.ndarray:
    """Return a view of numbers from all over an array, and from ever other last indices."""
    flat = value.reshape(-1)
    step = max(1, flat.size // SAMPLE)
    while step > 1 and math.gcd(step, value.shape[-1]) > 1:  # else some filters are never seen
        step -= 1
    return flat[::step]
