"""How a parameter's first values are drawn: Keras' initialisers, defaults and formulas.

>>> import numpy as np
>>> from minidl.layers.initializers import GlorotUniform
>>> GlorotUniform()((2, 3), np.random.default_rng(0)).shape
(2, 3)
"""

from __future__ import annotations

import math

import numpy as np

from minidl.common.argument_checks import check_choice
from minidl.common.serialization import Configurable, lookup

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "RandomNormal",
    "RandomUniform",
    "VarianceScaling",
    "Zeros",
    "get",
]


class Initializer(Configurable):
    """Base class: called with a shape and a generator, returns a float64 array.

    Parameters
    ----------
    seed : int, optional
        Where given, the values depend on this seed alone.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return self.draw(shape, rng if self.seed is None else np.random.default_rng(self.seed))

    def draw(self, shape, rng) -> np.ndarray:
        raise NotImplementedError


class Constant(Initializer):
    """The same `value` everywhere."""

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.value = value

    def draw(self, shape, rng):
        return np.full(shape, self.value)


class Zeros(Constant):
    """Zero everywhere."""

    def __init__(self):
        super().__init__(0.0)


class Ones(Constant):
    """One everywhere."""

    def __init__(self):
        super().__init__(1.0)


class RandomNormal(Initializer):
    """A normal distribution."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, shape, rng):
        return rng.normal(self.mean, self.stddev, shape)


class RandomUniform(Initializer):
    """A uniform distribution between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, shape, rng):
        return rng.uniform(self.minval, self.maxval, shape)


class VarianceScaling(Initializer):
    """Zero mean and variance ``scale / fan``, so that signals keep their size from layer to layer.

    `mode` says which fan: "fan_in", "fan_out" or "fan_avg"; `distribution` is "uniform",
    "untruncated_normal" or "truncated_normal" (cut off at two standard deviations).
    Glorot and Bengio (2010): scale 1, fan_avg. He et al. (2015): scale 2, fan_in.
    """

    def __init__(self, scale=1.0, mode="fan_in", distribution="truncated_normal", seed=None):
        super().__init__(seed)
        check_choice("VarianceScaling", "mode", mode, ("fan_in", "fan_out", "fan_avg"))
        distributions = ("uniform", "truncated_normal", "untruncated_normal")
        check_choice("VarianceScaling", "distribution", distribution, distributions)
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def draw(self, shape, rng):
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, math.sqrt(variance), shape)
        # A normal cut at two deviations keeps 0.8796 of its standard deviation.
        return truncated_normal(rng, shape) * (math.sqrt(variance) / 0.87962566103423978)


class GlorotUniform(VarianceScaling):
    """Keras' default for kernels."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """As GlorotUniform, drawn from a truncated normal distribution."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeNormal(VarianceScaling):
    """For layers followed by ReLU."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """As HeNormal, drawn from a uniform distribution."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Variance 1 / fan_in, for self-normalising networks (LeCun et al., 1998)."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """As LecunNormal, drawn from a uniform distribution."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


def get(identifier) -> Initializer:
    """Return the initialiser for a name ("he_normal", "HeNormal"), a dict or an object."""
    return lookup("initializer", identifier, _KNOWN, Initializer)


def compute_fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return how many inputs an output has, and how many outputs an input has."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def truncated_normal(rng: np.random.Generator, shape) -> np.ndarray:
    """Draw standard normal numbers, redrawing those beyond two standard deviations."""
    x = rng.standard_normal(shape)
    while (outside := np.abs(x) > 2).any():
        x[outside] = rng.standard_normal(np.count_nonzero(outside))
    return x


_KNOWN = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_normal": HeNormal,
    "he_uniform": HeUniform,
    "lecun_normal": LecunNormal,
    "lecun_uniform": LecunUniform,
}
_KNOWN.update({cls.__name__: cls for cls in list(_KNOWN.values())})
