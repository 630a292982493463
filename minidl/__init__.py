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

from minidl.common.former_names import install as _install_former_names
from minidl.common.optional_formats import register_format as _register_format
from minidl.version import __version__

_NAMES = {
    "Input": "minidl.layers.symbolic",
    "Model": "minidl.models.model",
    "Sequential": "minidl.models.sequential",
    "get_num_threads": "minidl.kernels.runtime.thread_pool",
    "load_model": "minidl.models.loading",
    "set_num_threads": "minidl.kernels.runtime.thread_pool",
    "set_random_seed": "minidl.common.seeding",
}
_MODULES = {
    "applications": "minidl.applications",
    "calibration": "minidl.evaluation.calibration",
    "callbacks": "minidl.callbacks",
    "data": "minidl.data",
    "datasets": "minidl.datasets",
    "distributed": "minidl.distributed",
    "errors": "minidl.common.errors",
    "explain": "minidl.evaluation.explain",
    "io": "minidl.io",
    "layers": "minidl.layers",
    "losses": "minidl.losses",
    "metrics": "minidl.metrics",
    "onnx": "minidl.onnx",
    "optimizers": "minidl.optimizers",
    "out_of_distribution": "minidl.evaluation.out_of_distribution",
    "plotting": "minidl.common.plotting",
    "report": "minidl.report",
    "seeding": "minidl.common.seeding",
    "training": "minidl.training",
}

__all__ = ["__version__", *_NAMES, *_MODULES]

if TYPE_CHECKING:
    from minidl import (
        applications,
        callbacks,
        data,
        datasets,
        distributed,
        io,
        layers,
        losses,
        metrics,
        onnx,
        optimizers,
        report,
        training,
    )
    from minidl.common import errors, plotting, seeding
    from minidl.common.seeding import set_random_seed
    from minidl.evaluation import calibration, explain, out_of_distribution
    from minidl.kernels.runtime.thread_pool import get_num_threads, set_num_threads
    from minidl.layers.symbolic import Input
    from minidl.models.loading import load_model
    from minidl.models.model import Model
    from minidl.models.sequential import Sequential

_install_former_names()
_register_format(".onnx", "minidl.onnx")


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'minidl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
