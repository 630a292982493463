"""Matching files with models: right whatever the names' numbers and orders, or not at all."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.keras_files import random_layers as all_layers
from support.keras_files import write_keras1, write_keras2, write_keras3
from support.tiny import assert_same_arrays, refused

from minidl import Input, Model, Sequential, layers
from minidl.common.errors import FileFormatError
from minidl.formats.matching import load_weights, match
from minidl.formats.reading import read_weight_file
from minidl.formats.weight_file import LayerTensors, WeightFile

WRITERS = [write_keras1, write_keras2, write_keras3]


def random_layers(network, seed=0):
    """Return the layers that have tensors, with new values."""
    return [pair for pair in all_layers(network, seed) if pair[1]]


def assert_loads(network, path, content, **options):
    """Assert that loading gives the network, layer by layer, the tensors of `content`."""
    load_weights(network, path, **options)
    expected = [tensors for _, tensors in content]
    weighted = [layer for layer in network.layers if layer.weights]
    for layer, tensors in zip(weighted, expected, strict=True):
        for parameter in layer.weights:
            np.testing.assert_array_equal(parameter.value, tensors[parameter.name])


def assert_refused(network, path, *words, **options):
    """Assert that loading is refused with these words, and changes nothing."""
    before = network.get_weights()
    with refused(FileFormatError, str(path), *words):
        load_weights(network, path, **options)
    assert_same_arrays(network.get_weights(), before)


def named_net():
    return Sequential(
        [
            Input((5, 5, 2)),
            layers.Conv2D(3, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(2, name="head"),
        ],
        name="pets",
    )


def auto_net(depth=4, units=3, dtype="float32", name=None):
    """Dense layers of one shape without names, which only their numbers tell apart."""
    inputs = Input((units,), dtype=dtype)
    stack = [layers.Dense(units) for _ in range(depth)]
    return Sequential([inputs, *stack], name=name)


# Names


@pytest.mark.parametrize("write", WRITERS)
def test_layers_with_names_match_by_name_in_any_order(tmp_path, write):
    network = named_net()
    content = random_layers(network)
    for order in itertools.permutations(content):
        write(list(order), tmp_path / "a.h5")
        assert_loads(network, tmp_path / "a.h5", content)


NUMBERINGS = {
    "keras 3": lambda i: "dense" if i == 0 else f"dense_{i}",
    "keras 2": lambda i: f"dense_{i + 1}",
    "later in a session": lambda i: f"dense_{i + 95}",
    "with gaps": lambda i: f"dense_{3 * i + 7}",
}


@pytest.mark.parametrize("numbering", NUMBERINGS)
@given(order=st.permutations(range(12)))
def test_layers_without_names_match_by_the_rank_of_their_numbers(
    tmp_path_factory, numbering, order
):
    path = tmp_path_factory.mktemp("ranks") / "a.h5"
    network = auto_net(12)
    content = random_layers(network)
    in_file = [(NUMBERINGS[numbering](i), tensors) for i, (_, tensors) in enumerate(content)]
    write_keras2([in_file[i] for i in order], path)
    assert_loads(network, path, content)


def test_kinds_of_keras_1_and_of_early_tensorflow(tmp_path):
    network = Sequential(
        [
            Input((5, 5, 2)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    content = random_layers(network)
    for kinds in (
        ["convolution2d_1", "batchnormalization_1", "dense_1"],
        ["conv2d_3", "batch_normalization_v1", "dense"],
    ):
        named = [(kind, tensors) for kind, (_, tensors) in zip(kinds, content, strict=True)]
        write_keras1(named, tmp_path / "a.h5")
        assert_loads(network, tmp_path / "a.h5", content)


def test_a_name_that_the_user_gave_wins_over_its_number(tmp_path):
    network = Sequential([Input((3,)), layers.Dense(3), layers.Dense(3, name="dense_1")])
    content = random_layers(network)
    write_keras2([("dense_1", content[1][1]), ("dense_2", content[0][1])], tmp_path / "a.h5")
    assert_loads(network, tmp_path / "a.h5", content)


OLD_RESNET = ["res2a_branch2a", "res2a_branch2b", "res2a_branch2c", "res2a_branch1"]
NEW_RESNET = [f"conv2_block1_{i}_conv" for i in (1, 2, 3, 0)]


def residual_block(names=NEW_RESNET):
    """The beginning of ResNet50, all kernels of one shape, in the order of today's Keras."""
    x = inputs = Input((4, 4, 2))
    x = layers.Conv2D(2, 1, name="conv1_conv")(x)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    shortcut = layers.Conv2D(2, 1, name=names[3])(x)
    shortcut = layers.BatchNormalization(name="conv2_block1_0_bn")(shortcut)
    for i, name in enumerate(names[:3], start=1):
        x = layers.Conv2D(2, 1, name=name)(x)
        x = layers.BatchNormalization(name=f"conv2_block1_{i}_bn")(x)
    x = layers.Add()([shortcut, x])
    x = layers.GlobalAveragePooling2D()(x)
    return Model(inputs, layers.Dense(3, name="predictions")(x), name="resnet50")


def old_name(name):
    """Today's name in the file of 2016."""
    names = dict(zip(NEW_RESNET, OLD_RESNET, strict=True))
    names |= {
        n.replace("conv", "bn").replace("bn2_", "conv2_"): o.replace("res", "bn")
        for n, o in names.items()
    }
    names |= {"conv1_conv": "conv1", "conv1_bn": "bn_conv1", "predictions": "fc1000"}
    return names.get(name, name)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_old_resnet_file_cannot_exchange_kernels(tmp_path, seed):
    network = residual_block()
    content = random_layers(network)
    old = [(old_name(name), tensors) for name, tensors in content]
    assert {"conv1", "bn_conv1", "bn2a_branch2c", "res2a_branch1", "fc1000"} <= {n for n, _ in old}
    np.random.default_rng(seed).shuffle(old)
    write_keras1(old, tmp_path / "a.h5")
    assert_loads(network, tmp_path / "a.h5", content)


def test_the_classifier_of_the_file_of_2018_is_called_probs(tmp_path):
    network = residual_block()
    content = random_layers(network)
    write_keras2([({"predictions": "probs"}.get(n, n), t) for n, t in content], tmp_path / "a.h5")
    assert_loads(network, tmp_path / "a.h5", content)


def test_names_of_other_networks_are_not_taken_for_resnets(tmp_path):
    """A "conv1" alone is anybody's."""
    network = residual_block()
    content = random_layers(network)
    renamed = [({"conv1_conv": "conv1"}.get(n, n), t) for n, t in content]
    write_keras2(renamed, tmp_path / "a.h5")
    assert_refused(
        network, tmp_path / "a.h5", "missing tensors for conv1_conv", "in the file: conv1 "
    )


# Models inside models


@pytest.mark.parametrize("frozen", [(), ("base",)])
@pytest.mark.parametrize("write", [write_keras1, write_keras2])
def test_a_base_saved_as_one_layer(tmp_path, write, frozen):
    base = named_net()
    head = layers.Dense(4)
    network = Sequential([base, head])
    content = random_layers(network)
    write([("base", content[:-1]), ("dense_7", content[-1][1])], tmp_path / "a.h5", frozen=frozen)
    assert_loads(network, tmp_path / "a.h5", content)


def twins(first="left", second="right", names=(None, None)):
    """Two networks without names inside one; the second was made first."""
    parts = {}
    for name in (second, first):
        parts[name] = auto_net(2, name=name)
    x = Input((3,))
    both = layers.Concatenate()([parts[first](x), parts[second](x)])
    return Model(x, layers.Dense(3)(both)), parts[first], parts[second]


@pytest.mark.parametrize("numbers", [(0, 0), (0, 2), (2, 0), (40, 7)])
def test_layers_of_one_number_are_told_apart_by_the_model_around_them(tmp_path, numbers):
    network, left, right = twins()
    want = dict(zip("lr", (random_layers(left, 1), random_layers(right, 2)), strict=True))
    in_file = [
        (name, [(f"dense_{n + i}", tensors) for i, (_, tensors) in enumerate(want[name[0]])])
        for name, n in zip(("left", "right"), numbers, strict=True)
    ]
    last = {"kernel": np.ones((6, 3), "f4"), "bias": np.ones(3, "f4")}
    write_keras2([*in_file, ("dense_50", last)], tmp_path / "a.h5")
    load_weights(network, tmp_path / "a.h5")
    for part, key in ((left, "l"), (right, "r")):
        got = [a for layer in part.layers for a in layer.get_weights()]
        assert_same_arrays(got, [a for _, tensors in want[key] for a in tensors.values()])


def test_layers_of_one_number_in_unknown_models_are_refused(tmp_path):
    network, left, right = twins()
    in_file = [
        (name, [(f"dense_{i}", t) for i, (_, t) in enumerate(random_layers(part))])
        for name, part in (("one", left), ("other", right))
    ]
    last = {"kernel": np.ones((6, 3), "f4"), "bias": np.ones(3, "f4")}
    write_keras2([*in_file, ("dense_50", last)], tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", "dense", "several")


def test_one_name_in_two_models_of_the_file_needs_the_models_name(tmp_path):
    base = named_net()
    network = Sequential([base])
    content = random_layers(network)
    inner = content
    write_keras2([("pets", inner), ("others", inner)], tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", "unexpected")  # one is too many
    write_keras2([("a", inner), ("b", inner)], tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", "conv", "received 2 (in a, b)")


def test_joined_networks_count_in_the_order_of_construction(tmp_path):
    """Where both have a "dense", one gets another number; the order stays."""
    first, second = auto_net(1), auto_net(2)
    network = Sequential([first, second])
    assert [layer.name for layer in network.layers][:2] != ["dense_1", "dense_2"]
    content = random_layers(Sequential([first, second]))
    in_file = [(f"dense_{i}", tensors) for i, (_, tensors) in enumerate(content)]
    for nested in (in_file, [("a", in_file[:1]), ("b", in_file[1:])]):
        write_keras2(nested, tmp_path / "a.h5")
        assert_loads(network, tmp_path / "a.h5", content)


def test_numbers_against_the_order_of_construction_are_refused(tmp_path):
    """Keras would count the head first, as it was made first; minidl named it last."""
    head = layers.Dense(3)
    base = auto_net(1)
    network = Model(base.input, head(base.output))
    content = random_layers(network)
    write_keras2([("dense", content[0][1]), ("dense_1", content[1][1])], tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", "dense", "order", "give these layers names")


# Parts of a network


def beginning(whole, name):
    """Return a network up to a layer."""
    return Model(whole.input, whole.tap(name).output)


def cut_net(depth=6, kept=4):
    """A network without names, and its first layers."""
    whole = auto_net(depth)
    return whole, beginning(whole, f"dense_{kept - 1}")


@pytest.mark.parametrize("start", [0, 1, 95])
@pytest.mark.parametrize("stored", [4, 5, 6])
def test_a_file_of_the_whole_or_of_a_longer_part_fills_a_part(tmp_path, stored, start):
    whole, part = cut_net(6, 4)
    content = random_layers(whole)
    in_file = [(f"dense_{start + i}", tensors) for i, (_, tensors) in enumerate(content[:stored])]
    write_keras2(in_file[::-1], tmp_path / "a.h5")
    assert_loads(part, tmp_path / "a.h5", content[:4], whole=whole.layers)


@pytest.mark.parametrize("stored", [3, 7])
def test_a_file_of_too_few_or_too_many_layers_is_refused(tmp_path, stored):
    whole, part = cut_net(6, 4)
    in_file = [(f"dense_{i}", t) for i, (_, t) in enumerate(random_layers(auto_net(stored)))]
    write_keras2(in_file, tmp_path / "a.h5")
    assert_refused(part, tmp_path / "a.h5", "4 dense", f"received {stored}", whole=whole.layers)


def test_without_a_whole_nothing_may_be_left_over(tmp_path):
    whole, part = cut_net(6, 4)
    write_keras2(random_layers(whole), tmp_path / "a.h5")
    assert_refused(part, tmp_path / "a.h5", "4 dense", "received 6")


def forked_net():
    """Two branches of equal shapes, without names, and the network up to the second one."""
    x = Input((3,))
    first = layers.Dense(3)(x)
    left, right = layers.Dense(3)(first), layers.Dense(3)(first)
    whole = Model(x, layers.Dense(3)(layers.Add()([left, right])))
    return whole, beginning(whole, "dense_2")


def test_a_part_that_skips_a_layer_takes_the_right_ones(tmp_path):
    """Ranks within the part would take the left branch's kernel from the whole file."""
    whole, part = forked_net()
    content = random_layers(whole)
    tensors = [t for _, t in content]
    expected = [("", tensors[0]), ("", tensors[2])]
    for stored in ([0, 1, 2, 3], [0, 1, 2], [0, 2]):
        write_keras2([(f"dense_{i + 5}", tensors[i]) for i in stored], tmp_path / "a.h5")
        assert_loads(part, tmp_path / "a.h5", expected, whole=whole.layers)
    # Made without the left branch at all, as someone else's file: no gap in the numbers.
    write_keras2([("dense_1", tensors[0]), ("dense_2", tensors[2])], tmp_path / "a.h5")
    assert_loads(part, tmp_path / "a.h5", expected, whole=whole.layers)
    # The first and the left branch's numbers far apart: may be anything.
    write_keras2([("dense_1", tensors[0]), ("dense_4", tensors[2])], tmp_path / "a.h5")
    assert_refused(part, tmp_path / "a.h5", "2 dense", whole=whole.layers)


def test_named_layers_of_the_whole_may_be_left_out(tmp_path):
    whole = named_net()
    part = beginning(whole, "norm")
    content = random_layers(whole)
    write_keras2(content, tmp_path / "a.h5")
    assert_loads(part, tmp_path / "a.h5", content[:2], whole=whole.layers)
    assert_refused(part, tmp_path / "a.h5", "unexpected", "head")
    write_keras2([*content, ("alien", {"kernel": np.ones(2, "f4")})], tmp_path / "a.h5")
    assert_refused(part, tmp_path / "a.h5", "in the file: alien", whole=whole.layers)


def test_a_classifier_of_other_classes_may_be_left_out(tmp_path):
    whole = named_net()
    part = beginning(whole, "norm")
    content = random_layers(whole)
    content[-1] = ("head", {"kernel": np.ones((27, 9), "f4"), "bias": np.ones(9, "f4")})
    write_keras2(content, tmp_path / "a.h5")
    assert_loads(part, tmp_path / "a.h5", content[:2], whole=whole.layers)


# What does not fit


def test_a_file_of_another_network_is_evident(tmp_path):
    names = [f"block1_conv{i}" for i in range(1, 5)]
    kernel = {"kernel": np.ones((1, 1, 2, 2), "f4"), "bias": np.ones(2, "f4")}
    write_keras1([(name, kernel) for name in names], tmp_path / "vgg16.h5")
    assert_refused(
        residual_block(),
        tmp_path / "vgg16.h5",
        "(Keras 1 weights): does not fit Model 'resnet50'",
        "missing tensors for conv1_conv (kernel, bias), conv1_bn",
        "block1_conv1, block1_conv2",
        "unexpected layers",
        "VGG16",
    )


def changed(content, layer, change):
    """Return the content with the tensors of one layer changed."""
    return [(name, change(dict(t)) if name == layer else t) for name, t in content]


FAULTS = {
    "missing": (
        lambda t: {k: t[k] for k in t if k != "bias"},
        ["layer 'conv': missing tensor 'bias' of shape (3,)"],
    ),
    "surplus": (
        lambda t: {**t, "gamma": t["bias"]},
        ["layer 'conv': unexpected tensor 'gamma' of shape (3,)"],
    ),
    "shape": (
        lambda t: {**t, "kernel": t["kernel"][:, :, :, :2]},
        ["conv", "expected kernel of shape (3, 3, 2, 3)", "received (3, 3, 2, 2)"],
    ),
    "theano": (
        lambda t: {**t, "kernel": t["kernel"].transpose(3, 2, 0, 1)},
        ["received (3, 2, 3, 3)", "Theano"],
    ),
    "nan": (lambda t: {**t, "bias": t["bias"] * np.nan}, ["bias", "NaN"]),
    "infinite": (lambda t: {**t, "kernel": t["kernel"] + np.inf}, ["kernel", "infinite"]),
    "integers": (lambda t: {**t, "bias": np.arange(3)}, ["bias", "float32"]),
    "too large": (
        lambda t: {**t, "bias": np.full(3, 1e300)},
        ["bias", "too large", "float32"],
    ),
    "layer gone": (lambda t: {}, ["missing tensors for conv (kernel, bias)"]),
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_bad_tensor_refuses_the_whole_file(tmp_path, write, fault):
    change, words = FAULTS[fault]
    network = named_net()
    if write is write_keras1:
        words = [word for word in words if word not in ("bias", "kernel")]
    write(changed(random_layers(network), "conv", change), tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", *words)


def test_many_faults_are_still_one_sentence(tmp_path):
    network = auto_net(40)
    content = [(name, {r: a[:2] for r, a in t.items()}) for name, t in random_layers(network)]
    write_keras2(content, tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", "77 more")


def test_inception_of_2016_is_refused_by_name(tmp_path):
    """Its batch normalizations have a gamma, its convolutions a bias."""
    stack = []
    for _ in range(3):
        stack += [layers.Conv2D(2, 1, use_bias=False), layers.BatchNormalization(scale=False)]
    network = Sequential([Input((4, 4, 2)), *stack], name="inception_v3")
    content = []
    for i in range(3):
        four = {role: np.ones(2, "f4") for role in ("gamma", "beta", "moving_mean")}
        content.append((f"convolution2d_{i + 1}", {"kernel": np.ones((1, 1, 2, 2), "f4")}))
        content.append((f"batchnormalization_{i + 1}", {**four, "moving_variance": four["beta"]}))
    write_keras1(content, tmp_path / "a.h5")
    assert_refused(network, tmp_path / "a.h5", "2016 InceptionV3 checkpoint", "use the 2017 file")


def test_float64_and_float16(tmp_path):
    network = auto_net(2, dtype="float64")
    content = [
        (n, {r: a.astype("f8") / 3 for r, a in t.items()}) for n, t in random_layers(network)
    ]
    write_keras2(content, tmp_path / "a.h5")
    assert_loads(network, tmp_path / "a.h5", content)
    assert network.weights[0].value.dtype == np.float64
    halves = [(n, {r: a.astype("f2") for r, a in t.items()}) for n, t in content]
    write_keras2(halves, tmp_path / "a.h5")
    assert_loads(network, tmp_path / "a.h5", halves)
    assert network.weights[0].value.dtype == np.float64


def test_what_was_loaded_is_the_models_own(tmp_path):
    network = named_net()
    write_keras2(random_layers(network), tmp_path / "a.h5")
    file = read_weight_file(tmp_path / "a.h5")
    load_weights(network, tmp_path / "a.h5")
    first = network.get_weights()
    for _, array in match(network.layers, file):
        array += 1
    assert_same_arrays(network.get_weights(), first)
    assert all(p.array.flags.c_contiguous and p.array.flags.writeable for p in network.weights)


# minidl's own files


def test_own_files_match_by_name_and_otherwise_by_rank(tmp_path):
    network, path = auto_net(3), tmp_path / "a.h5"
    network.save_weights(path)
    other = auto_net(3)
    load_weights(other, path)
    assert_same_arrays(other.get_weights(), network.get_weights())
    inside = Sequential([auto_net(1), auto_net(2)])  # other numbers, the same order
    load_weights(inside, path)
    assert_same_arrays(inside.get_weights(), network.get_weights())
    assert_refused(auto_net(2), path, "minidl weights", "2 dense", "received 3")
    assert_refused(
        named_net(), path, "missing tensors for conv", "in the file: dense, dense_1, dense_2"
    )


def test_a_file_without_any_names_is_matched_by_a_model_only():
    entry = LayerTensors("dense", {"kernel": np.ones((2, 2), "f4")})
    file = WeightFile("a.h5", "Keras 3 weights (.weights.h5) without layer names", [entry])
    with refused(FileFormatError, "a.h5", "load_weights"):
        match([], file)
