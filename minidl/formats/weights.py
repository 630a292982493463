"""Parameters of a network as named arrays, and back: all of them, or none.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.formats.weights import assign_weights
>>> model = Sequential([Input((2,)), layers.Dense(1, use_bias=False, name="fc")])
>>> assign_weights(model, {"weights/fc/kernel": np.ones((2, 1))}, "a.h5")
>>> model.get_weights()[0].ravel()
array([1., 1.], dtype=float32)
"""

from __future__ import annotations

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.graph.network import Network

__all__ = ["assign_weights", "named_weights"]

DTYPES = ("float16", "float32", "float64")  # that a file's weights may be rounded to


def named_weights(model: Network, dtype: str | None = None) -> dict[str, np.ndarray]:
    """Return each parameter's array under ``weights/<its path>``, rounded where `dtype` is given.

    Raises
    ------
    ValueError
        If two parameters have the same path: one would overwrite the other; or if a number is
        too large for `dtype`.
    """
    arrays: dict[str, np.ndarray] = {}
    for parameter in model.weights:
        name = f"weights/{parameter.path}"
        if name in arrays:
            raise ValueError(
                f"{model.label}: two parameters are called {parameter.path}; give each "
                "add_weight of the layer a name of its own"
            )
        arrays[name] = parameter.value if dtype is None else _rounded(parameter, dtype)
    return arrays


def _rounded(parameter, dtype: str) -> np.ndarray:
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, received {dtype!r}")
    with np.errstate(over="ignore"):
        array = parameter.value.astype(dtype)
    if np.isfinite(parameter.value).all() and not np.isfinite(array).all():
        largest = np.abs(parameter.value).max()
        raise ValueError(
            f"{parameter.path}: {largest:.3g} is too large for {dtype}; save without dtype"
        )
    return array


def assign_weights(model: Network, arrays: dict[str, np.ndarray], path) -> None:
    """Give each parameter the array ``weights/<its path>``; complain before anything is changed.

    Raises
    ------
    FileFormatError
        If a tensor is missing, unknown, misshapen or not finite; `path` is for the message.
    """
    prefix = "weights/"
    found = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    wanted = {parameter.path: parameter for parameter in model.weights}
    missing = [name for name in wanted if name not in found]
    surplus = [name for name in found if name not in wanted]
    if missing or surplus:
        raise FileFormatError(
            f"{path}: does not fit {model.label}; missing in the file: {_shown(missing)}; "
            f"unknown to the model: {_shown(surplus)}"
        )
    for name, parameter in wanted.items():
        if found[name].shape != parameter.shape:
            raise FileFormatError(
                f"{path}: {name} has shape {found[name].shape}, expected {parameter.shape}"
            )
        if not np.isfinite(found[name]).all():
            raise FileFormatError(f"{path}: {name} contains NaN or infinite values")
    for name, parameter in wanted.items():
        parameter.assign(found[name])


def _shown(names: list[str]) -> str:
    return (", ".join(names[:5]) + (", ..." if len(names) > 5 else "")) or "nothing"
