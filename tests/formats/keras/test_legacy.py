"""Keras' legacy HDF5 files: each tensor is found, in all dialects, whatever the order."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.keras_files import random_layers, write_keras1, write_keras2, write_keras3
from support.tiny import refused

from minidl import Input, Sequential, layers
from minidl.common.errors import FileFormatError
from minidl.formats.hdf5 import open_hdf5
from minidl.formats.keras.legacy import read_legacy

WRITERS = {"Keras 1": write_keras1, "Keras 2": write_keras2, "Keras 3 legacy": write_keras3}


def small_net():
    """A network with each kind of layer that has tensors."""
    return Sequential(
        [
            Input((6, 6, 3), name="input"),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(name="flat"),
            layers.Dense(2, name="b"),  # a name that ends like a bias of Keras 1
        ]
    )


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def read(path):
    with open_hdf5(path) as file:
        return read_legacy(file, path)


def assert_holds(file, expected):
    """Assert that the file has exactly these layers, in this order, with these tensors."""
    expected = [(name, tensors) for name, tensors in expected if tensors]
    assert [layer.name for layer in file.layers] == [name for name, _ in expected]
    for layer, (_, tensors) in zip(file.layers, expected, strict=True):
        assert set(layer.tensors) == set(tensors) == set(layer.places)
        for role, array in tensors.items():
            np.testing.assert_array_equal(layer.tensors[role], array, strict=True)


@pytest.mark.parametrize("text", ["str", "bytes"])
@pytest.mark.parametrize("limit", [64512, 24], ids=["whole", "chunked"])
@pytest.mark.parametrize("dialect", WRITERS)
def test_every_dialect_gives_every_tensor(tmp_path, dialect, text, limit):
    path, content = tmp_path / "a.h5", random_layers(small_net())
    for shuffled in (None, np.random.default_rng(1)):
        WRITERS[dialect](content, path, text=text, limit=limit, shuffled=shuffled)
        file = read(path)
        assert_holds(file, content)
        assert file.dialect == f"{dialect} weights"
        assert file.architecture is None


@pytest.mark.parametrize("text", ["str", "bytes"])
@pytest.mark.parametrize("dialect", WRITERS)
def test_a_whole_model_brings_its_architecture(tmp_path, dialect, text):
    path, content = tmp_path / "a.h5", random_layers(small_net())
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}
    WRITERS[dialect](content, path, text=text, config=config)
    with h5py.File(path, "a") as file:  # what training left there does not matter
        file["optimizer_weights/Adam/iteration"] = np.int64(3)
        file.attrs["training_config"] = "{"
    file = read(path)
    assert_holds(file, content)
    assert file.architecture == config
    assert file.dialect == f"{dialect} model"
    assert file.layers[0].places["kernel"].startswith("model_weights/conv/")


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dialect", WRITERS)
def test_a_model_inside_the_model_keeps_its_layers_apart(tmp_path, dialect, frozen):
    path, content = tmp_path / "a.h5", random_layers(small_net())
    head = ("head", {"kernel": numbers(2, 1)})
    order = ("base",) if frozen else ()
    options = {"scope": "base"} if dialect.startswith("Keras 3") else {}
    WRITERS[dialect]([("base", content), head], path, frozen=order, **options)
    file = read(path)
    assert_holds(file, [*content, head])
    assert {layer.scope for layer in file.layers[:-1]} == {"base"}
    assert file.layers[-1].scope == ""


def test_models_of_models_of_keras_3(tmp_path):
    """As Keras 3.15 writes them: the names of inner models, with or without the outermost."""
    inside = [("base/conv", {"kernel": numbers(3, 3)}), ("head", {"bias": numbers(2)})]
    plain = ("last", {"kernel": numbers(2, 2)})
    write_keras3([("mid", inside), plain], tmp_path / "a.h5", scope="")
    found = [(layer.scope, layer.name) for layer in read(tmp_path / "a.h5").layers]
    assert found == [("mid/base", "conv"), ("mid", "head"), ("", "last")]


def test_a_layer_used_twice_is_known_by_its_own_name(tmp_path):
    """TensorFlow 1 numbered names that it met again: "fc_1/kernel:0" lies in the group "fc"."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = ["fc"]
        group = file.create_group("fc")
        group.attrs["weight_names"] = ["fc_1/kernel_2:0", "fc_1/bias_2:0"]
        group["fc_1/kernel_2:0"], group["fc_1/bias_2:0"] = numbers(2, 3), numbers(3)
    [layer] = read(tmp_path / "a.h5").layers
    assert (layer.name, layer.scope, list(layer.tensors)) == ("fc", "", ["kernel", "bias"])


@pytest.mark.parametrize(("classes", "expected"), [("Dense", "mine"), ("Sequential", "other")])
def test_the_architecture_tells_a_layer_from_a_model(tmp_path, classes, expected):
    """A layer renamed in Keras 3 looks like a model with one layer inside."""
    inner = {"name": "mine", **({"layers": []} if classes == "Sequential" else {})}
    item = {"class_name": classes, "config": inner}
    config = {"class_name": "Functional", "config": {"layers": [item]}}
    write_keras3([("mine", [("other", {"kernel": numbers(2, 3)})])], tmp_path / "a.h5",
                 config=config)  # fmt: skip
    assert [layer.name for layer in read(tmp_path / "a.h5").layers] == [expected]


def test_a_random_generators_state_is_no_weight(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = ["flip"]
        group = file.create_group("flip")
        group.attrs["weight_names"], group["StateVar:0"] = ["StateVar:0"], np.arange(3)
    assert read(tmp_path / "a.h5").layers == []


def test_the_real_inception_file(shared_data):
    path = shared_data / "weights/inception_v3_weights_tf_dim_ordering_tf_kernels_notop_mixed8.h5"
    file = read(path)
    names = [layer.name for layer in file.layers]
    assert file.dialect == "Keras 2 weights"
    assert sorted(names) == sorted(
        f"{kind}_{i}" for kind in ("conv2d", "batch_normalization") for i in range(1, 77)
    )
    assert names.index("conv2d_9") < names.index("conv2d_6")  # Keras' order, by depth
    assert file.layers[0].tensors["kernel"].shape == (3, 3, 3, 32)
    assert file.layers[1].tensors.keys() == {"beta", "moving_mean", "moving_variance"}


# What cannot be accounted for


def edited(path, change):
    """Write the small network and let `change` spoil the open file."""
    write_keras2(random_layers(small_net()), path)
    with h5py.File(path, "a") as file:
        change(file)
    return path


def listing(group, attribute, change):
    names = list(group.attrs[attribute])
    change(names)
    del group.attrs[attribute]
    group.attrs[attribute] = names


SPOILT = {
    "tensor gone": (lambda f: f.__delitem__("conv/conv/bias:0"), ["conv/conv/bias:0", "missing"]),
    "layer gone": (lambda f: f.__delitem__("conv"), ["'conv'", "missing"]),
    "layer is a tensor": (
        lambda f: (f.__delitem__("flat"), f.__setitem__("flat", np.ones(2))),
        ["'flat'", "group"],
    ),
    "no layer_names": (lambda f: f.attrs.__delitem__("layer_names"), ["layer_names"]),
    "no weight_names": (lambda f: f["conv"].attrs.__delitem__("weight_names"), ["weight_names"]),
    "layer listed twice": (
        lambda f: listing(f, "layer_names", lambda names: names.append("conv")),
        ["'conv'", "twice"],
    ),
    "tensor listed twice": (
        lambda f: listing(f["b"], "weight_names", lambda names: names.append("b/bias:0")),
        ["'b/bias:0'", "twice"],
    ),
    "tensor not listed": (
        lambda f: f["conv"].__setitem__("conv/kernel_1:0", np.ones(2)),
        ["conv/conv/kernel_1:0", "not listed"],
    ),
    "layer not listed": (lambda f: f.__setitem__("conv_1/kernel:0", np.ones(2)), ["'conv_1'"]),
    "tensor at the root": (lambda f: f.__setitem__("kernel:0", np.ones(2)), ["'kernel:0'"]),
    "two tensors for one role": (
        lambda f: (
            f["b"].__setitem__("b/kernel_1:0", f["b/b/kernel:0"][()]),
            listing(f["b"], "weight_names", lambda names: names.append("b/kernel_1:0")),
        ),
        ["'b'", "received two", "kernel"],
    ),
    "theano": (lambda f: f.attrs.__setitem__("backend", b"theano"), ["Theano", "convert"]),
    "names are numbers": (
        lambda f: f.attrs.__setitem__("layer_names", np.arange(3)),
        ["layer_names", "names"],
    ),
    "not a name": (
        lambda f: listing(f, "layer_names", lambda names: names.append("../conv")),
        ["'../conv'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_what_does_not_add_up_is_refused(tmp_path, how):
    change, words = SPOILT[how]
    with refused(FileFormatError, "a.h5", *words):
        read(edited(tmp_path / "a.h5", change))


@pytest.mark.parametrize(
    "name", ["vgg16_weights_tf_dim_ordering_th_kernels.h5", "a_th_dim_ordering_tf_kernels.h5"]
)
def test_official_files_for_theano_are_refused_by_name(tmp_path, name):
    write_keras1(random_layers(small_net()), tmp_path / name)
    with refused(FileFormatError, name, "Theano", "tf_dim_ordering_tf_kernels"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"data_format": "channels_first"}, ["channels_first", "channels_last"]),
        ({"dim_ordering": "th"}, ["channels_first"]),
    ],
)
def test_channels_first_is_refused(tmp_path, config, words):
    layer = {"class_name": "Conv2D", "config": config}
    write_keras2(
        random_layers(small_net()),
        tmp_path / "a.h5",
        config={"class_name": "Sequential", "config": [layer]},
    )
    with refused(FileFormatError, "a.h5", *words):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("text", ["{", "[1]", "{}", "[" * 10_000])
def test_a_broken_architecture_is_refused(tmp_path, text):
    path = tmp_path / "a.h5"
    write_keras2(random_layers(small_net()), path, config={})
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = text
    with refused(FileFormatError, "a.h5", "model_config"):
        read(path)


@given(name=st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1))
def test_any_name_of_a_layer_comes_back(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("names") / "a.h5"
    if name in (".", "top_level_model_weights"):
        return
    write_keras2([(name, {"kernel": numbers(2, 2)})], path)
    assert [layer.name for layer in read(path).layers] == [name]
