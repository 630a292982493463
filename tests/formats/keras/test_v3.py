"""Keras 3 files: each tensor gets its layer and its role, or the file is refused."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import refused

from minidl import Input, Model, layers
from minidl.applications import InceptionV3
from minidl.common.errors import FileFormatError
from minidl.formats.hdf5 import open_hdf5
from minidl.formats.keras import v3 as keras_v3
from minidl.formats.keras.architecture import keras_order
from minidl.formats.keras.v3 import name_layers, read_archive, read_v3

STATISTICS = ("moving_mean", "moving_variance")


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("float32")


def put(file, place, *arrays, name=None):
    """Write one layer as Keras does."""
    variables = file.create_group(f"{place}/vars")
    if name is not None:
        variables.attrs["name"] = name
    for i, array in enumerate(arrays):
        variables[str(i)] = array


def weights(*items, named=True):
    """Return the bytes of a ``.weights.h5``; items: (place, name, arrays...)."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        put(file, "", name="model" if named else None)
        for place, name, *arrays in items:
            put(file, f"layers/{place}", *arrays, name=name if named else None)
    return buffer.getvalue()


def read(content, architecture=None, path="a.weights.h5"):
    with open_hdf5(io.BytesIO(content), path) as file:
        return read_v3(file, path, architecture)


def names(file):
    return [(layer.scope, layer.name) for layer in file.layers]


def model(*layers, name="model", kind="Sequential"):
    return {"class_name": kind, "config": {"name": name, "layers": list(layers)}}


def layer(kind, name, **config):
    return {"class_name": kind, "config": {"name": name, **config}}


CONV, BIAS = numbers(3, 3, 2, 4), numbers(4)


# Names


def test_the_name_attribute_counts_and_not_the_group():
    """Keras numbers the groups by depth: in InceptionV3 conv2d_5 is the ninth that was made."""
    content = weights(("conv2d", "conv2d_1", CONV), ("conv2d_1", "conv2d", 2 * CONV))
    found = {item.name: item for item in read(content).layers}
    np.testing.assert_array_equal(found["conv2d"].tensors["kernel"], 2 * CONV)
    np.testing.assert_array_equal(found["conv2d_1"].tensors["kernel"], CONV)
    assert found["conv2d"].places == {"kernel": "layers/conv2d_1/vars/0"}


def test_models_within_models_are_the_scope():
    content = weights(
        ("functional", "base"),
        ("functional/layers/conv2d", "c", CONV, BIAS),
        ("functional/layers/sequential", "inner"),
        ("functional/layers/sequential/layers/conv2d", "c", CONV),
        ("conv2d", "c", CONV),
        ("dropout", "d"),
    )
    assert names(read(content)) == [("", "c"), ("base", "c"), ("base/inner", "c")]


def test_groups_are_read_in_the_order_of_their_numbers():
    content = weights(*((f"dense_{i}", f"d{i}", numbers(2, 3)) for i in range(12)))
    assert names(read(content)) == [("", f"d{i}") for i in range(12)]


def test_a_file_without_names_has_the_groups_names_and_says_so():
    file = read(
        weights(("dense", "a", numbers(2, 3)), ("dense_1", "b", BIAS[:, None]), named=False)
    )
    assert names(file) == [("", "dense"), ("", "dense_1")]
    assert "without layer names" in file.dialect
    assert "without" not in read(weights(("dense", "a", numbers(2, 3)))).dialect


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_the_architecture_tells_the_names_that_a_file_lacks(container):
    architecture = model(
        layer("Conv2D", "first", use_bias=False),
        layer("Dropout", "drop"),
        model(layer("Conv2D", "deep", use_bias=False), name="base", kind="Functional"),
        layer("Conv2D", "second", use_bias=False),
    )
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for place in ("conv2d", "conv2d_1", f"functional/{container}/conv2d"):
            put(file, f"{container}/{place}", CONV)
        put(file, f"{container}/functional")
    file = read(buffer.getvalue(), architecture)
    assert names(file) == [("", "first"), ("", "second"), ("base", "deep")]


# The convolutions of InceptionV3 in Keras' order, numbered as they were made (Keras 3.15).
DEPTH_ORDER = """
1 2 3 4 5 9 7 10 6 8 11 12 16 14 17 13 15 18 19 23 21 24 20 22 25 26 28 29 27 30 35 36 32 37 33 38
31 34 39 40 45 46 42 47 43 48 41 44 49 50 55 56 52 57 53 58 51 54 59 60 65 66 62 67 63 68 61 64 69
70 73 74 71 75 72 76 81 78 82 79 80 83 84 77 85 90 87 91 88 89 92 93 86 94
"""


def test_layers_are_listed_as_keras_lists_them():
    network = InceptionV3(weights=None, include_top=False, input_shape=(75, 75, 3))
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    made = {id(layer): str(i) for i, layer in enumerate(sorted_by_making(convolutions), start=1)}
    listed = [made[id(item)] for item in keras_order(network) if id(item) in made]
    assert listed == DEPTH_ORDER.split()


def sorted_by_making(items):
    return sorted(items, key=lambda item: item.construction_number)


def fork():
    """A network in which Keras lists the branch that was made last, and is longer, first."""
    x = Input((6, 6, 2))
    short = layers.Conv2D(4, 3, padding="same", name="short")(x)
    long = layers.Conv2D(4, 3, padding="same", name="long")(x)
    return Model(x, layers.Add()([short, layers.ReLU()(long)]))


def test_a_file_without_names_gets_those_of_the_model_in_keras_order():
    content = weights(("conv2d", None, CONV), ("conv2d_1", None, 2 * CONV), named=False)
    file = name_layers(read(content), fork())
    assert names(file) == [("", "long"), ("", "short")]
    np.testing.assert_array_equal(file.layers[1].tensors["kernel"], 2 * CONV)
    named = read(weights(("conv2d", "a", CONV)))
    assert name_layers(named, fork()) is named


@pytest.mark.parametrize("place", ["conv2d_2", "dense", "functional/layers/conv2d"])
def test_a_file_without_names_that_does_not_fit_is_refused(place):
    content = weights((place, None, CONV if "conv" in place else numbers(2, 3)), named=False)
    with refused(FileFormatError, "a.weights.h5", "without layer names", place.split("/")[-1]):
        name_layers(read(content), fork())


# Roles


@pytest.mark.parametrize(
    ("place", "arrays", "roles"),
    [
        ("conv2d", [CONV], ["kernel"]),
        ("conv2d_7", [CONV, BIAS], ["kernel", "bias"]),
        ("depthwise_conv2d", [CONV, numbers(8)], ["kernel", "bias"]),
        ("dense", [numbers(2, 3), numbers(3)], ["kernel", "bias"]),
        ("batch_normalization", [BIAS] * 4, ["gamma", "beta", *STATISTICS]),
        ("batch_normalization_3", [BIAS] * 3, ["beta", *STATISTICS]),
        ("batch_normalization", [BIAS] * 2, [*STATISTICS]),
        ("my_conv", [CONV, BIAS], ["kernel", "bias"]),
        ("my_norm", [BIAS] * 4, ["gamma", "beta", *STATISTICS]),
    ],
)
def test_roles_follow_from_class_and_shapes(place, arrays, roles):
    [found] = read(weights((place, "a", *arrays))).layers
    assert list(found.tensors) == roles
    for i, role in enumerate(roles):
        np.testing.assert_array_equal(found.tensors[role], arrays[i], strict=True)
        assert found.places[role] == f"layers/{place}/vars/{i}"


@pytest.mark.parametrize(
    ("flags", "roles"),
    [
        ({}, ["gamma", "beta", *STATISTICS]),
        ({"scale": True, "center": False}, ["gamma", *STATISTICS]),
        ({"scale": False, "center": True}, ["beta", *STATISTICS]),
        ({"scale": False, "center": False}, [*STATISTICS]),
    ],
)
def test_the_architecture_decides_what_shapes_leave_open(flags, roles):
    content = weights(("batch_normalization", "n", *[BIAS] * len(roles)))
    architecture = model(layer("BatchNormalization", "n", **flags))
    assert list(read(content, architecture).layers[0].tensors) == roles


def test_training_state_is_left_out():
    buffer = io.BytesIO(weights(("dropout", "d"), ("dense", "a", numbers(2, 3))))
    with h5py.File(buffer, "r+") as file:
        put(file, "optimizer", np.int64(3), np.float32(0.1), numbers(2, 3), name="adam")
        put(file, "layers/dropout/seed_generator", np.zeros(2, "uint32"), name="seed_generator")
        put(file, "metrics/mean", np.float32(1), np.float32(2))
    assert names(read(buffer.getvalue())) == [("", "a")]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([("layer_normalization", "a", BIAS, BIAS)], ["'a'", "layer_normalization", "(4,), (4,)"]),
        ([("dense", "a", numbers(2, 3), BIAS, BIAS)], ["'a'", "LoRA"]),
        ([("conv2d", "a", numbers(2, 3))], ["'a'", "(2, 3)"]),
        ([("dense", "a", CONV)], ["'a'", "(3, 3, 2, 4)"]),
        ([("conv2d", "a", CONV, CONV)], ["'a'"]),
        ([("batch_normalization", "a", BIAS)], ["'a'"]),
        ([("batch_normalization", "a", *[BIAS] * 7)], ["'a'"]),
        ([("batch_normalization", "a", *[numbers(1, 4)] * 4)], ["'a'"]),
        ([("my_layer", "a", BIAS)], ["'a'", "my_layer"]),
        ([("dense", "a", numbers(2, 3)), ("dense_1", "a", numbers(2, 3))], ["two layers", "'a'"]),
        ([("dense", "a", np.ones((2, 3), "int8"), BIAS)], ["int8", "layers/dense/vars/0"]),
    ],
)
def test_tensors_of_unknown_meaning_are_refused(items, words):
    with refused(FileFormatError, "a.weights.h5", *words):
        read(weights(*items))


def test_a_layer_that_differs_from_its_configuration_is_refused():
    architecture = model(layer("Conv2D", "c", use_bias=True))
    with refused(FileFormatError, "'c'", "(3, 3, 2, 4)"):
        read(weights(("conv2d", "c", CONV)), architecture)


def spoilt(change):
    buffer = io.BytesIO(weights(("dense", "a", numbers(2, 3), numbers(3))))
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f["layers/dense/vars"].move("1", "2"), ["layers/dense/vars", "'2'"]),
        (lambda f: f["layers/dense/vars"].move("1", "kernel"), ["'kernel'"]),
        (lambda f: f["layers/dense"].create_dataset("extra", data=1.0), ["layers/dense/extra"]),
        (lambda f: f.create_dataset("extra", data=1.0), ["extra", "no layer"]),
        (lambda f: f["vars"].create_dataset("0", data=1.0), ["outside its layers"]),
        (lambda f: f.create_dataset("layers/odd/vars", data=1.0), ["layers/odd/vars"]),
        (lambda f: f.create_group("layers/dense/vars/2"), ["layers/dense/vars/2"]),
        (
            lambda f: f["layers/dense/vars/0"].attrs.create("dtype", "bfloat16"),
            ["bfloat16", "layers/dense/vars/0"],
        ),
    ],
)
def test_files_that_keras_would_not_write_are_refused(change, words):
    with refused(FileFormatError, "a.weights.h5", *words):
        read(spoilt(change))


def test_one_of_several_shards_is_refused(tmp_path):
    (tmp_path / "big.weights.json").write_text("{}")
    with refused(FileFormatError, "shards"):
        read(weights(("dense", "a", BIAS[:, None])), path=tmp_path / "big_00000.weights.h5")


# Archives

ARCHITECTURE = model(layer("Dense", "head", units=3, use_bias=True))
WEIGHTS = weights(("dense", "head", numbers(2, 3), numbers(3)))


def archive(path, compression=zipfile.ZIP_STORED, **members):
    """Write a ``.keras`` file; a member of None is left out."""
    content = {
        "metadata.json": b'{"keras_version": "3.15.1"}',
        "config.json": json.dumps(ARCHITECTURE).encode(),
        "model.weights.h5": WEIGHTS,
        **members,
    }
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in content.items():
            if data is not None:
                file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]
)
def test_an_archive_gives_layers_and_architecture(tmp_path, compression):
    file = read_archive(archive(tmp_path / "a.keras", compression))
    assert file.architecture == ARCHITECTURE
    assert "(.keras)" in file.dialect
    assert names(file) == [("", "head")]
    np.testing.assert_array_equal(file.layers[0].tensors["bias"], numbers(3))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"config.json": None}, ["config.json is missing"]),
        ({"model.weights.h5": None}, ["model.weights.h5 is missing"]),
        ({"model.weights.h5": None, "model.weights.npz": b""}, ["model.weights.npz"]),
        ({"config.json": b"{"}, ["config.json", "JSON"]),
        ({"config.json": b"[" * 100_000}, ["config.json", "JSON"]),
        ({"config.json": b"\xff\xfe\xfa"}, ["config.json", "JSON"]),
        ({"config.json": b"[1]"}, ["no model"]),
        ({"model.weights.h5": b"something else"}, []),
        ({"model.weights.h5": WEIGHTS[:-100]}, []),
    ],
)
def test_incomplete_archives_are_refused(tmp_path, members, words):
    with refused(FileFormatError, "a.keras", *words):
        read_archive(archive(tmp_path / "a.keras", **members))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_occur_twice_are_refused(tmp_path):
    path = archive(tmp_path / "a.keras")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("config.json", b"{}")
    with refused(FileFormatError, "one config.json", "received 2"):
        read_archive(path)


def test_an_archive_that_would_burst_is_not_unpacked(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.keras", zipfile.ZIP_DEFLATED, **{"config.json": b" " * 2**21})
    monkeypatch.setattr(keras_v3, "SMALL", 2**20)
    with refused(FileFormatError, "config.json", "2097152"):
        read_archive(path)


def test_an_archive_that_lies_about_sizes_is_refused(tmp_path):
    content = bytearray(archive(tmp_path / "a.keras").read_bytes())
    end = content.rindex(b"PK\x01\x02")  # the directory's entry of model.weights.h5
    content[end + 24 : end + 28] = (100).to_bytes(4, "little")
    (tmp_path / "a.keras").write_bytes(content)
    with refused(FileFormatError, "a.keras", "damaged"):
        read_archive(tmp_path / "a.keras")


def test_an_encrypted_archive_is_refused(tmp_path):
    content = bytearray(archive(tmp_path / "a.keras").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := content.find(mark, place + 1)) >= 0:
            content[place + offset] |= 1
    (tmp_path / "a.keras").write_bytes(content)
    with refused(FileFormatError, "a.keras", "encrypted"):
        read_archive(tmp_path / "a.keras")


def test_an_archive_that_is_absent_or_none(tmp_path):
    with refused(FileNotFoundError, "no such file"):
        read_archive(tmp_path / "none.keras")
    (tmp_path / "a.keras").write_bytes(b"text")
    with refused(IsADirectoryError, str(tmp_path)):
        read_archive(tmp_path)
    with refused(FileFormatError, "a.keras", "archive is damaged"):
        read_archive(tmp_path / "a.keras")


@given(data=st.data())
def test_damaged_archives_give_an_error_or_the_same_tensors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "a.keras"
    compression = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    content = bytearray(archive(path, compression).read_bytes())
    # Half of the damage goes to the last part, where the directory is.
    for _ in range(data.draw(st.integers(0, 3))):
        first = data.draw(st.sampled_from([0, len(content) - 300]))
        content[data.draw(st.integers(first, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.just(0) | st.integers(0, len(content)))
    path.write_bytes(content[: len(content) - cut])
    try:
        file = read_archive(path)
    except FileFormatError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert file.architecture == ARCHITECTURE
        [head] = file.layers
        np.testing.assert_array_equal(head.tensors["kernel"], numbers(2, 3), strict=True)
        np.testing.assert_array_equal(head.tensors["bias"], numbers(3), strict=True)


@given(data=st.data())
def test_damaged_weight_files_never_crash(tmp_path_factory, data):
    content = bytearray(WEIGHTS)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        file = read(bytes(content))
    except FileFormatError as error:
        assert "a.weights.h5" in str(error)  # noqa: PT017
    else:
        for found in file.layers:
            assert all(np.isfinite(array).all() for array in found.tensors.values())
