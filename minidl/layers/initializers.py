"""Initializers: Keras' distributions for the initial values of parameters.

>>> import numpy as np
>>> from minidl.layers.initializers import GlorotUniform
>>> GlorotUniform()((2, 3), np.random.default_rng(0)).shape
(2, 3)
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from minidl.common.argument_checks import check_choice
from minidl.common.serialization import Configurable, lookup
from minidl.layers.names import snake_case

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "InitializerLike",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "RandomNormal",
    "RandomUniform",
    "VarianceScaling",
    "Zeros",
    "get",
]

# Standard deviation of a standard normal distribution truncated at two standard deviations.
TRUNCATED_STDDEV = 0.87962566103423978


class Initializer(Configurable):
    """Base class: called with a shape and a generator, it returns a float64 array.

    Parameters
    ----------
    seed : int, optional
        If given, the values depend on this seed alone.
    """

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return the initial values of a parameter.

        Parameters
        ----------
        shape : tuple of int
        rng : numpy.random.Generator
            Ignored if the initializer has a seed.
        """
        return self.draw(shape, rng if self.seed is None else np.random.default_rng(self.seed))

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Draw values from `rng`; implemented by subclasses."""
        raise NotImplementedError(f"{type(self).__name__}.draw")


InitializerLike = str | dict[str, Any] | type[Initializer] | Initializer


class Constant(Initializer):
    """The same `value` everywhere."""

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.value = value

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return np.full(shape, self.value)


class Zeros(Constant):
    """Zero everywhere."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """One everywhere."""

    def __init__(self) -> None:
        super().__init__(1.0)


class RandomNormal(Initializer):
    """A normal distribution with the given `mean` and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.normal(self.mean, self.stddev, shape)


class RandomUniform(Initializer):
    """A uniform distribution between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(self.minval, self.maxval, shape)


class VarianceScaling(Initializer):
    """Zero mean and variance ``scale / fan``, which preserves the scale of activations.

    Glorot and Bengio (2010) use scale 1 and fan_avg, He et al. (2015) scale 2 and fan_in.

    Parameters
    ----------
    scale : float
    mode : {"fan_in", "fan_out", "fan_avg"}
        Number of inputs of an output, number of outputs of an input, or their mean.
    distribution : {"uniform", "truncated_normal", "untruncated_normal"}
        "truncated_normal" has no values beyond two standard deviations.
    seed : int, optional
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ):
        super().__init__(seed)
        where = type(self).__name__
        distributions = ("uniform", "truncated_normal", "untruncated_normal")
        self.scale = scale
        self.mode = check_choice(where, "mode", mode, ("fan_in", "fan_out", "fan_avg"))
        self.distribution = check_choice(where, "distribution", distribution, distributions)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        fan_in, fan_out = compute_fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, math.sqrt(variance), shape)
        return truncated_normal(rng, shape) * (math.sqrt(variance) / TRUNCATED_STDDEV)


class _Preset(VarianceScaling):
    """VarianceScaling with fixed arguments."""

    arguments: ClassVar[tuple[float, str, str]]

    def __init__(self, seed: int | None = None):
        super().__init__(*self.arguments, seed)


class GlorotUniform(_Preset):
    """Keras' default for kernels."""

    arguments = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Preset):
    """As GlorotUniform, drawn from a truncated normal distribution."""

    arguments = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_Preset):
    """For layers followed by ReLU."""

    arguments = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Preset):
    """As HeNormal, drawn from a uniform distribution."""

    arguments = (2.0, "fan_in", "uniform")


class LecunNormal(_Preset):
    """Variance 1 / fan_in, for self-normalizing networks (LeCun et al., 1998)."""

    arguments = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Preset):
    """As LecunNormal, drawn from a uniform distribution."""

    arguments = (1.0, "fan_in", "uniform")


def get(identifier: InitializerLike) -> Initializer:
    """Return the initializer for a name ("he_normal", "HeNormal"), a dict or an object.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> get("random_normal").stddev
    0.05
    """
    return lookup("initializer", identifier, _KNOWN, Initializer)


def compute_fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the number of inputs of an output and the number of outputs of an input."""
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw standard normal numbers, redrawing those beyond two standard deviations."""
    x = rng.standard_normal(shape)
    while (outside := np.abs(x) > 2).any():
        x[outside] = rng.standard_normal(np.count_nonzero(outside))
    return x


_CLASSES: tuple[type[Initializer], ...] = (
    Zeros,
    Ones,
    Constant,
    RandomNormal,
    RandomUniform,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
)
_KNOWN = {snake_case(cls.__name__): cls for cls in _CLASSES} | {c.__name__: c for c in _CLASSES}
