"""Written safetensors files: the same bits come back, whatever the dtype."""

import numpy as np
import pytest

from minidl.formats.safetensors import read_safetensors
from minidl.formats.safetensors_writing import write_safetensors


def test_all_dtypes_come_back(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"layer_{kind}/kernel": rng.normal(size=(2, 3)).astype(kind) for kind in ("f2", "f4", "f8")
    }
    write_safetensors(tmp_path / "a.safetensors", {**tensors, "t/kernel": rng.random((3, 2)).T})
    found = {
        layer.name: layer.tensors["kernel"]
        for layer in read_safetensors(tmp_path / "a.safetensors").layers
    }
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name.split("/")[0]], array, strict=True)
    assert found["t"].shape == (2, 3)


def test_other_dtypes_are_refused(tmp_path):
    with pytest.raises(TypeError, match="a/kernel: expected floating-point numbers, received i8"):
        write_safetensors(tmp_path / "a.safetensors", {"a/kernel": np.arange(3)})
    assert list(tmp_path.iterdir()) == []
