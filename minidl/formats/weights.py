"""Parameters of a network as named arrays: export, and import of all or none.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.formats.weights import assign_weights
>>> model = Sequential([Input((2,)), layers.Dense(1, use_bias=False, name="fc")])
>>> assign_weights(model, {"weights/fc/kernel": np.ones((2, 1))}, "a.h5")
>>> model.get_weights()[0].ravel()
array([1., 1.], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minidl.common.argument_checks import check_choice
from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, check_finite, file_errors
from minidl.graph.network import Network
from minidl.layers.parameter import Parameter

__all__ = ["assign_weights", "named_weights"]

PREFIX = "weights/"
DTYPES = ("float16", "float32", "float64")


def named_weights(model: Network, dtype: str | None = None) -> dict[str, np.ndarray]:
    """Return each parameter's array under ``weights/<its path>``.

    Parameters
    ----------
    model : Network
    dtype : {"float16", "float32", "float64"}, optional
        Round the arrays to this dtype.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        If two parameters have the same path, or a number is too large for `dtype`.
    """
    arrays: dict[str, np.ndarray] = {}
    for parameter in model.weights:
        name = PREFIX + parameter.path
        if name in arrays:
            raise ValueError(
                f"{model.label}: expected parameters with different paths, received two called "
                f"{parameter.path}; give each add_weight of the layer its own name"
            )
        arrays[name] = parameter.value if dtype is None else _rounded(parameter, dtype)
    return arrays


def _rounded(parameter: Parameter, dtype: str) -> np.ndarray:
    check_choice("save", "dtype", dtype, DTYPES)
    with np.errstate(over="ignore"):
        array = parameter.value.astype(dtype)
    if np.isfinite(parameter.value).all() and not np.isfinite(array).all():
        largest = np.abs(parameter.value).max()
        raise ValueError(
            f"{parameter.path}: {largest:.3g} is too large for {dtype}; save without dtype"
        )
    return array


def assign_weights(model: Network, arrays: Mapping[str, np.ndarray], path: StrPath) -> None:
    """Assign each parameter the array ``weights/<its path>``, after all checks.

    Parameters
    ----------
    model : Network
    arrays : dict of str to array
    path : str or Path
        The file of the arrays, for messages.

    Raises
    ------
    FileFormatError
        If a tensor is missing, unknown, of another shape, or not finite.
    """
    found = {key.removeprefix(PREFIX): a for key, a in arrays.items() if key.startswith(PREFIX)}
    expected = {parameter.path: parameter for parameter in model.weights}
    with file_errors(path):
        if found.keys() != expected.keys():
            raise FileFormatError(
                f"does not fit {model.label}; missing in the file: {_listed(expected, found)}; "
                f"unknown to the model: {_listed(found, expected)}"
            )
        for name, parameter in expected.items():
            if found[name].shape != parameter.shape:
                raise FileFormatError(
                    f"tensor {name!r}: expected shape {parameter.shape}, received "
                    f"{found[name].shape}"
                )
            check_finite(found[name], name)
            parameter.check(found[name])
    for name, parameter in expected.items():
        parameter.assign(found[name])


def _listed(names: Mapping[str, object], others: Mapping[str, object]) -> str:
    """Return up to five of the names that are not among `others`."""
    missing = [name for name in names if name not in others]
    return (", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")) or "nothing"
