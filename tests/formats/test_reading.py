"""Which reader a file gets is decided by its content; damage is found, and never loads by half."""

import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checks import thorough
from support.keras_files import random_layers, write_keras1, write_keras2, write_keras3
from support.tiny import assert_same_arrays, refused

from minidl import Input, Sequential, layers
from minidl.common.errors import FileFormatError
from minidl.formats.checkpoint import write_checkpoint
from minidl.formats.matching import load_weights
from minidl.formats.reading import read_weight_file


def small_net():
    return Sequential(
        [
            Input((4, 4, 1)),
            layers.Conv2D(2, 3, name="conv"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def header(tensors):
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def hdf5(change):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        change(file)
    return buffer.getvalue()


def keras_v3(file):
    variables = file.create_group("layers/dense/vars")
    variables.attrs["name"] = "fc"
    variables["0"], variables["1"] = np.ones((2, 3), "f4"), np.ones(3, "f4")


def as_archive(content):
    config = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
    return archive(**{"metadata.json": "{}", "config.json": config, "model.weights.h5": content})


# What is read


@pytest.mark.parametrize("name", ["weights.h5", "weights.keras", "weights.txt", "weights"])
@pytest.mark.parametrize("write", [write_keras1, write_keras2, write_keras3, "own", "own model"])
def test_the_content_decides_and_not_the_name(tmp_path, write, name):
    network, path = small_net(), tmp_path / name
    if write == "own":
        network.save_weights(path)
    elif write == "own model":
        network.save(path)
    else:
        write(network, path)
    file = read_weight_file(path)
    assert file.dialect.split()[0] == ("minidl" if isinstance(write, str) else "Keras")
    shapes = [a.shape for layer in file.layers for a in layer.tensors.values()]
    assert sorted(shapes) == sorted(parameter.shape for parameter in network.weights)
    before = network.get_weights()
    other = small_net()
    load_weights(other, str(path))
    assert_same_arrays(other.get_weights(), before)


@pytest.mark.parametrize(
    ("content", "dialect", "layer"),
    [
        (hdf5(keras_v3), "Keras 3 weights", "fc"),
        (as_archive(hdf5(keras_v3)), "Keras 3 model", "fc"),
        (
            header({"fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}) + bytes(8),
            "safetensors",
            "fc",
        ),
    ],
)
def test_files_of_other_readers_reach_them(tmp_path, content, dialect, layer):
    (tmp_path / "a.h5").write_bytes(content)
    file = read_weight_file(tmp_path / "a.h5")
    assert file.dialect.startswith(dialect)
    assert [found.name for found in file.layers] == [layer]


def test_own_files_with_models_around_layers_and_with_odd_parameters(tmp_path):
    arrays = {f"weights/{name}": np.ones(2) for name in ("a/fc/bias", "b/fc/bias", "mine/w/x")}
    write_checkpoint(tmp_path / "a.h5", {"kind": "weights"}, {**arrays, "optimizer/m": np.ones(1)})
    found = read_weight_file(tmp_path / "a.h5").layers
    assert {(layer.scope, layer.name, *layer.tensors) for layer in found} == {
        ("a", "fc", "bias"), ("b", "fc", "bias"), ("", "mine", "w/x")
    }  # fmt: skip


# What is refused

REFUSED = {
    "empty": (b"", ["empty"]),
    "random": (np.random.default_rng(0).bytes(5000), ["not", "minidl", "Keras"]),
    "zeros": (bytes(5000), ["not", "minidl"]),
    "text": (b"hello\n", ["not", "minidl"]),
    "web page": (b"<!DOCTYPE html><html>", ["web page"]),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", ["git lfs pull"]),
    "json": (b'{"metadata": {}, "weight_map": {}}', ["sharded", "one file"]),
    "gzip": (b"\x1f\x8b" + bytes(50), ["decompress"]),
    "npy": (b"\x93NUMPY" + bytes(50), ["NumPy"]),
    "npz": (archive(**{"a.npy": b""}), ["NumPy"]),
    "torch": (archive(**{"archive__data.pkl": b""}), ["pickle", "truncated"]),
    "zip": (archive(readme=b"hello"), ["config.json"]),
    "cut zip": (archive(readme=b"hello" * 99)[:200], ["damaged"]),
    "before 1.0": (hdf5(lambda f: f.attrs.__setitem__("nb_layers", 3)), ["before 1.0", "2015"]),
    "other hdf5": (hdf5(lambda f: f.__setitem__("x", np.ones(3))), ["layer_names"]),
    **{
        f"pickle {protocol}": (pickle.dumps({"a": 1}, protocol), ["pickle", "arbitrary code"])
        for protocol in range(2, 6)
    },
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_files_are_refused_in_one_sentence(tmp_path, kind):
    content, words = REFUSED[kind]
    (tmp_path / "a.h5").write_bytes(content)
    with refused(FileFormatError, "a.h5", *words):
        read_weight_file(tmp_path / "a.h5")


def test_missing_files_and_folders(tmp_path):
    with refused(FileNotFoundError, "nowhere.h5", "no such file"):
        read_weight_file(tmp_path / "nowhere.h5")
    with refused(IsADirectoryError, str(tmp_path), "folder"):
        read_weight_file(tmp_path)


def test_own_files_are_checked_like_all_others(tmp_path):
    network, path = small_net(), tmp_path / "a.h5"
    network.save_weights(path)
    content = bytearray(path.read_bytes())
    for damaged, words in (
        (content[:-9], ["damaged"]),
        (b"x" + content[1:], ["header is damaged"]),
    ):
        path.write_bytes(damaged)
        with refused(FileFormatError, "a.h5", *words):
            read_weight_file(path)
    network.weights[0].assign(np.full(network.weights[0].shape, np.nan))
    network.save_weights(path)
    with refused(FileFormatError, "conv/kernel", "NaN"):
        read_weight_file(path)


# Damage. Keras' files have no checksum: a changed number may go unseen, but it is a number,
# it is in the right place, and nothing is loaded by half.

NETWORK = small_net()
CONTENT = random_layers(NETWORK)


def written(write, **options):
    buffer = io.BytesIO()
    write(CONTENT, buffer, **options)
    return buffer.getvalue()


FILES = {
    "Keras 1": written(write_keras1),
    "Keras 2": written(write_keras2),
    "Keras 2, chunked": written(write_keras2, limit=120),
    "Keras 3": written(write_keras3),
    "model": written(write_keras3, config={"class_name": "Sequential", "config": []}),
}


def complaint_about(read, path):
    """Return what a reader has against a file, in one sentence that names it; None for nothing."""
    try:
        read(path)
    except FileFormatError as error:
        complaint = str(error)
    else:
        return None
    assert str(path) in complaint
    assert "\n" not in complaint
    assert len(complaint) < 500
    return complaint


def assert_loads_wholly_or_not_at_all(path, content):
    """Return whether it loads."""
    path.write_bytes(content)
    network = small_net()
    before = network.get_weights()
    if complaint_about(lambda path: load_weights(network, path), path):
        assert_same_arrays(network.get_weights(), before)
        return False
    for parameter, old in zip(network.weights, before, strict=True):
        assert parameter.value.shape == old.shape
        assert parameter.value.dtype == old.dtype
        assert np.isfinite(parameter.value).all()
    return True


@pytest.mark.parametrize("kind", FILES)
def test_undamaged_files_load(tmp_path, kind):
    assert assert_loads_wholly_or_not_at_all(tmp_path / "a.h5", FILES[kind])


@pytest.mark.parametrize("kind", FILES)
@thorough
@given(data=st.data())
def test_flipped_bits(tmp_path_factory, kind, data):
    content = bytearray(FILES[kind])
    places = st.integers(0, 8 * len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place // 8] ^= 1 << place % 8
    path = tmp_path_factory.mktemp("flipped") / "a.h5"
    assert_loads_wholly_or_not_at_all(path, content)


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data())
def test_overwritten_bytes(tmp_path_factory, kind, data):
    content = bytearray(FILES[kind])
    start = data.draw(st.integers(0, len(content) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=16) | st.just(b"\xff" * 8) | st.just(bytes(8)))
    content[start : start + len(patch)] = patch
    path = tmp_path_factory.mktemp("patched") / "a.h5"
    assert_loads_wholly_or_not_at_all(path, content)


@pytest.mark.parametrize("kind", FILES)
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere_is_refused(tmp_path_factory, kind, part):
    content = FILES[kind]
    path = tmp_path_factory.mktemp("cut") / "a.h5"
    assert not assert_loads_wholly_or_not_at_all(path, content[: int(part * len(content))])


@pytest.mark.parametrize("kind", ["Keras 1", "Keras 3"])
def test_bits_all_over_the_file(tmp_path, kind):
    """Not one brings the C library down, or keeps it busy."""
    path, rng = tmp_path / "a.h5", np.random.default_rng(0)
    for place in range(0, len(FILES[kind]), 31):
        damaged = bytearray(FILES[kind])
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        complaint_about(read_weight_file, path)
