"""Weights as named arrays: export, rounding, and import of all or none."""

import numpy as np
import pytest
from support.tiny import assert_same_arrays, refused

from minidl import Input, Sequential, layers
from minidl.common.errors import FileFormatError
from minidl.formats.weights import assign_weights, named_weights


def network():
    return Sequential([Input((3,)), layers.Dense(2, name="a"), layers.Dense(1, name="b")])


def test_export_and_import():
    source, target = network(), network()
    arrays = named_weights(source)
    assert list(arrays) == [
        "weights/a/kernel",
        "weights/a/bias",
        "weights/b/kernel",
        "weights/b/bias",
    ]
    assign_weights(target, {**arrays, "optimizer/step": np.ones(1)}, "a.h5")
    assert_same_arrays(target.get_weights(), source.get_weights())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_export_in_another_dtype(dtype):
    model = network()
    for array, weight in zip(
        named_weights(model, dtype).values(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(array, weight.astype(dtype), strict=True)


def test_export_refuses_overflow_and_unknown_dtypes():
    model = network()
    model.weights[0].assign(np.full((3, 2), 1e5))  # the largest float16 is 65504
    with refused(ValueError, "a/kernel", "1e+05", "float16"):
        named_weights(model, "float16")
    with refused(ValueError, "dtype", "int8"):
        named_weights(model, "int8")


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "nan"])
def test_import_checks_all_tensors_before_it_assigns_any(fault):
    model = network()
    before = [weight.copy() for weight in model.get_weights()]
    arrays = {name: array + 1 for name, array in named_weights(model).items()}
    words = {
        "missing": "missing in the file: b/bias",
        "unknown": "unknown to the model: c",
        "shape": "expected shape (1,), received (4,)",
        "nan": "'b/bias' contains NaN",
    }[fault]
    if fault == "missing":
        del arrays["weights/b/bias"]
    elif fault == "unknown":
        arrays["weights/c"] = np.ones(1)
    else:
        arrays["weights/b/bias"] = np.ones(4) if fault == "shape" else np.array([np.nan])
    with refused(FileFormatError, "a.h5", words):
        assign_weights(model, arrays, "a.h5")
    assert_same_arrays(model.get_weights(), before)
