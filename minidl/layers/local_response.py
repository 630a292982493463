"""LocalResponseNormalization: the normalization over neighboring channels of AlexNet.

>>> import numpy as np
>>> from minidl.layers import LocalResponseNormalization
>>> LocalResponseNormalization(1, alpha=1.0, beta=0.5, bias=0.0)(np.array([[3.0, -2.0]]))
array([[ 1., -1.]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.common.argument_checks import check_integer, check_number
from minidl.layers.base import Gradients, Layer, Output, Rng
from minidl.layers.capabilities import Capabilities

__all__ = ["LocalResponseNormalization"]


class LocalResponseNormalization(Layer):
    """Divide each channel by a power of the energy of its neighboring channels.

    ``y = x / (bias + alpha / size * sum(x**2 over size channels)) ** beta``

    Krizhevsky, Sutskever and Hinton (2012). The arguments are those of PyTorch and ONNX.

    Parameters
    ----------
    size : int
        Number of channels in the sum. Of an even number, the additional channel comes after.
    alpha, beta : float
    bias : float
    **kwargs
        See :class:`Layer`.

    Raises
    ------
    ValueError
        If `size` is not a positive integer, or another argument not a number.

    Examples
    --------
    >>> import numpy as np
    >>> LocalResponseNormalization(5)(np.zeros((1, 4, 4, 8), "float32")).shape
    (1, 4, 4, 8)
    """

    capabilities = Capabilities(ignores_training=True, independent_samples=True)

    def __init__(
        self,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size = check_integer(self.label, "size", size, 1)
        self.alpha = check_number(self.label, "alpha", alpha)
        self.beta = check_number(self.label, "beta", beta)
        self.bias = check_number(self.label, "bias", bias)

    def forward(self, x: np.ndarray, training: bool = False, rng: Rng = None) -> Output:
        before, after = (self.size - 1) // 2, self.size // 2
        energy = self.bias + self.alpha / self.size * _window_sum(x * x, before, after)
        return x * energy**-self.beta, (x, energy)

    def backward(self, dy: np.ndarray, cache: Any, need_dx: bool = True) -> Gradients:
        x, energy = cache
        before, after = (self.size - 1) // 2, self.size // 2
        # Channel c reads the channels c - before to c + after: the sum over its readers is
        # mirrored.
        denergy = _window_sum(dy * x * energy ** (-self.beta - 1), after, before)
        factor = 2 * self.alpha * self.beta / self.size
        return dy * energy**-self.beta - factor * x * denergy, []


def _window_sum(x: np.ndarray, before: int, after: int) -> np.ndarray:
    """Return for each channel c the sum of the channels c - before to c + after."""
    channels = x.shape[-1]
    total = x.copy()
    for shift in range(1, min(after, channels - 1) + 1):
        total[..., :-shift] += x[..., shift:]
    for shift in range(1, min(before, channels - 1) + 1):
        total[..., shift:] += x[..., :-shift]
    return total
