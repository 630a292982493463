"""minidl: a deep-learning micro-framework in NumPy and Numba.

>>> import numpy as np
>>> import minidl
>>> from minidl import Input, Sequential, layers
>>> minidl.set_random_seed(0)
>>> model = Sequential([Input((2,)), layers.Dense(8, activation="tanh"), layers.Dense(1)])
>>> model.compile("adam", "mse")
>>> model.predict(np.zeros((3, 2))).shape
(3, 1)

Names are loaded when they are first used, so ``import minidl`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "Input": "minidl.layers.symbolic",
    "Model": "minidl.model",
    "Sequential": "minidl.sequential",
    "get_num_threads": "minidl.kernels.parallel",
    "load_model": "minidl.loading",
    "set_num_threads": "minidl.kernels.parallel",
    "set_random_seed": "minidl.seeding",
}
_MODULES = (
    "applications", "callbacks", "data", "datasets", "errors", "explain", "io", "layers", "losses",
    "metrics", "optimizers", "plotting", "report", "seeding", "training",
)  # fmt: skip

__all__ = ["__version__", *_NAMES, *_MODULES]

if TYPE_CHECKING:
    from minidl import (
        applications,
        callbacks,
        data,
        datasets,
        errors,
        explain,
        io,
        layers,
        losses,
        metrics,
        optimizers,
        plotting,
        report,
        seeding,
        training,
    )
    from minidl.kernels.parallel import get_num_threads, set_num_threads
    from minidl.layers.symbolic import Input
    from minidl.loading import load_model
    from minidl.model import Model
    from minidl.seeding import set_random_seed
    from minidl.sequential import Sequential


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"minidl.{name}")
    else:
        raise AttributeError(f"module 'minidl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
