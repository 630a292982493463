"""safetensors: what the table claims is believed only where it is true."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.safetensors import MAX_HEADER, read_safetensors

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}


def encode(tensors):
    """Return the bytes of a file; tensors: name -> (dtype, array), in this order."""
    table, data = {"__metadata__": {"format": "np"}}, b""
    for name, (dtype, array) in tensors.items():
        part = np.asarray(array, TYPES[dtype]).tobytes()
        offsets = [len(data), len(data) + len(part)]
        table[name] = {"dtype": dtype, "shape": list(np.shape(array)), "data_offsets": offsets}
        data += part
    return with_table(json.dumps(table), data)


def with_table(table, data=b""):
    """Return the bytes of a file with any table."""
    text = table.encode() if isinstance(table, str) else json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "a.safetensors"
        path.write_bytes(content)
        return read_safetensors(path)

    return read


GOOD = encode(
    {
        "base/conv1/kernel": ("F32", np.arange(6).reshape(1, 1, 2, 3)),
        "base/conv1/bias": ("F64", [1, 2, 3]),
        "norm.1.gamma": ("F16", [0.5]),
    }
)


@given(
    shapes=st.lists(st.lists(st.integers(1, 4), max_size=4), max_size=5),
    dtypes=st.lists(st.sampled_from(["F64", "F32", "F16"]), min_size=5, max_size=5),
    seed=st.integers(0, 99),
)
def test_all_numbers_come_back(tmp_path_factory, shapes, dtypes, seed):
    rng = np.random.default_rng(seed)
    tensors = {
        f"layer_{i}/kernel": (dtype, rng.normal(size=shape).astype(TYPES[dtype]))
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=False))
    }
    path = tmp_path_factory.mktemp("trip") / "a.safetensors"
    path.write_bytes(encode(tensors))
    found = {layer.name: layer.tensors["kernel"] for layer in read_safetensors(path).layers}
    assert list(found) == [f"layer_{i}" for i in range(len(shapes))]
    for name, array in found.items():
        np.testing.assert_array_equal(array, tensors[f"{name}/kernel"][1], strict=True)


def test_names_are_split_into_scope_layer_and_role(read):
    file = read(GOOD)
    found = [(layer.scope, layer.name, list(layer.tensors)) for layer in file.layers]
    assert found == [("base", "conv1", ["kernel", "bias"]), ("", "norm.1", ["gamma"])]
    assert file.layers[0].places["bias"] == "base/conv1/bias"
    assert file.dialect == "safetensors"


def test_bfloat16_becomes_float32_exactly(read):
    numbers = np.array([1.5, -3.25, 2.0**-100], np.float32)  # their lower halves are zero
    data = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    file = read(with_table({"a/bias": entry([3], 0, 6, "BF16")}, data))
    np.testing.assert_array_equal(file.layers[0].tensors["bias"], numbers, strict=True)


def test_pytorchs_names_and_layouts(read):
    kernel, dense = np.arange(120.0).reshape(4, 3, 2, 5), np.arange(8.0).reshape(2, 4)
    norm = np.arange(1.0, 5.0)
    file = read(
        encode(
            {
                "module.conv.weight": ("F32", kernel),
                "module.bn.weight": ("F32", norm),
                "module.bn.running_mean": ("F32", -norm),
                "module.bn.num_batches_tracked": ("I64", 7),
                "module.fc.weight": ("F16", dense),
            }
        )
    )
    found = {layer.name: layer.tensors for layer in file.layers}
    np.testing.assert_array_equal(found["conv"]["kernel"], kernel.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(found["fc"]["kernel"], dense.T)
    assert list(found["bn"]) == ["gamma", "moving_mean"]
    assert (file.dialect, file.channels_first) == ("safetensors of PyTorch", True)
    assert file.ignored == ("module.bn.num_batches_tracked",)


def test_arrays_can_be_written_to(read):
    read(GOOD).layers[0].tensors["bias"][0] = 5


@pytest.mark.parametrize(
    ("table", "data", "words"),
    [
        ({"a/bias": entry([2], 0, 4)}, b"1234", ["'a/bias'", "8 bytes"]),
        ({"a/bias": entry([1], 0, 4)}, b"12345678", ["expected 4 bytes", "received 8"]),
        ({"a/bias": entry([1], 0, 4)}, b"", ["0 to 4 of 0"]),
        ({"a/bias": entry([1], 4, 8)}, bytes(8), ["gap"]),
        ({"a/bias": entry([2], 0, 8), "b/bias": entry([1], 4, 8)}, bytes(8), ["overlaps"]),
        ({"a/bias": entry([1], 0, 4), "b/bias": entry([1], 0, 4)}, bytes(4), ["overlaps"]),
        ({"a/bias": entry([-1], 0, 4)}, bytes(4), ["shape"]),
        ({"a/bias": entry([True], 0, 4)}, bytes(4), ["shape"]),
        ({"a/bias": entry([1.0], 0, 4)}, bytes(4), ["shape"]),
        ({"a/bias": entry([0, 10**30], 0, 0)}, b"", ["shape"]),
        ({"a/bias": entry([10**30], 0, 4)}, bytes(4), ["expected"]),
        ({"a/bias": entry([1] * 70, 0, 4)}, bytes(4), ["shape"]),
        ({"a/bias": entry([1], 4, 0)}, bytes(4), ["4 to 0"]),
        ({"a/bias": {**entry([1], 0, 4), "data_offsets": [0, 4, 4]}}, bytes(4), ["offsets"]),
        ({"a/bias": entry([1], 0, 4, "I32")}, bytes(4), ["I32", "F32"]),
        ({"a/bias": entry([1], 0, 4, ["F32"])}, bytes(4), ["F32"]),
        ({"a/bias": 5}, b"", ["'a/bias'"]),
        ([], b"", ["not a JSON object"]),
        ("{", b"", ["JSON"]),
        ("[" * 100_000, b"", ["JSON"]),
        ('{"a/bias": {}, "a/bias": {}}', b"", ["'a/bias' occurs twice"]),
        ({"a/bias": entry([1], 0, 4)}, b"\0\0\xc0\x7f", ["NaN"]),
        ({"a.scale": entry([1], 0, 4)}, bytes(4), ["'a.scale'", "role", "PyTorch"]),
        ({"a.weight": entry([1, 1, 1], 0, 4)}, bytes(4), ["'a.weight'", "(1, 1, 1)", "role"]),
        ({"a.weight": entry([1], 0, 8, "I64")}, bytes(8), ["I64", "F32"]),
        ({"bias": entry([1], 0, 4)}, bytes(4), ["'bias'", "role"]),
        (
            {"a/bias": entry([1], 0, 4), "a/b": entry([1], 4, 8)},
            bytes(8),
            ["'a/bias'", "'a/b'", "one tensor"],
        ),
    ],
)
def test_a_lying_table_is_refused(read, table, data, words):
    with refused(FileFormatError, "a.safetensors", *words):
        read(with_table(table, data))


def test_a_table_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER + 100)  # takes no room on the disk
    with refused(FileFormatError, str(MAX_HEADER)):
        read_safetensors(path)


def test_files_that_are_absent_or_cannot_be_read(tmp_path):
    with refused(FileNotFoundError, "no such file"):
        read_safetensors(tmp_path / "none")
    with refused(IsADirectoryError, str(tmp_path)):
        read_safetensors(tmp_path)


@given(data=st.data())
def test_damage_is_found_or_harmless(tmp_path_factory, data):
    """Flipped or lost bytes give an error, or tensors of proper shapes: nothing else."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    path = tmp_path_factory.mktemp("damage") / "a"
    path.write_bytes(content)
    try:
        file = read_safetensors(path)
    except FileFormatError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        arrays = [array for layer in file.layers for array in layer.tensors.values()]
        assert all(np.isfinite(array).all() for array in arrays)
        assert sum(array.nbytes for array in arrays) <= len(GOOD)


@given(cut=st.integers(0, len(GOOD) - 1))
def test_a_file_that_was_cut_off_is_always_refused(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "a"
    path.write_bytes(GOOD[:cut])
    with refused(FileFormatError, str(path)):
        read_safetensors(path)
