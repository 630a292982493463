"""Random seeds and generators.

Functions with random results accept a seed or a NumPy generator. Without either, they use minidl's
global generator, which :func:`set_random_seed` restarts.

>>> import minidl
>>> minidl.set_random_seed(7)
>>> a = minidl.common.seeding.draw_seed()
>>> minidl.set_random_seed(7)
>>> a == minidl.common.seeding.draw_seed()
True
"""

from __future__ import annotations

import math

import numpy as np

from minidl.common.argument_checks import check_integer

__all__ = ["as_generator", "draw_seed", "layer_generator", "set_random_seed"]

_global = np.random.default_rng()


def set_random_seed(seed: int) -> None:
    """Restart the global generator, and with it initializers, shuffling and dropout.

    Parameters
    ----------
    seed : int
        Any non-negative integer.

    Raises
    ------
    ValueError
        If `seed` is not a non-negative integer.

    Examples
    --------
    >>> import minidl
    >>> minidl.set_random_seed(0)
    """
    global _global
    _global = np.random.default_rng(check_integer("set_random_seed", "seed", seed, 0, math.inf))


def draw_seed() -> int:
    """Return a new 63-bit seed from the global generator."""
    return int(_global.integers(2**63 - 1))


def as_generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    """Return a generator for a seed, a generator, or None (the global generator)."""
    if seed is None:
        return _global
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(seed)


def layer_generator(rng: np.random.Generator | None, seed: int | None) -> np.random.Generator:
    """Return the generator for one call of a random layer, from the step's and the layer's seed."""
    rng = as_generator(rng)
    return rng if seed is None else np.random.default_rng([seed, int(rng.integers(2**32))])
