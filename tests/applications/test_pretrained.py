"""Arguments of the pretrained networks: validation and the choice of weight files."""

import inspect
import sys
import types

import numpy as np
import pytest

from minidl.applications import (
    VGG16,
    EfficientNetB0,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    InceptionV3,
    MobileNetV2,
    MobileNetV3Large,
    MobileNetV3Small,
    PetsNet,
    ResNet18,
    ResNet34,
    ResNet50,
    imagenet,
)

NETWORKS = [
    VGG16,
    ResNet50,
    InceptionV3,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    ResNet18,
    ResNet34,
    MobileNetV2,
    EfficientNetB0,
    MobileNetV3Small,
    MobileNetV3Large,
]
OWN_PARAMETERS = {
    ResNet50: ["variant"],
    MobileNetV2: ["alpha"],
    MobileNetV3Small: ["alpha", "minimalistic"],
    MobileNetV3Large: ["alpha", "minimalistic"],
}
MINIMUM = {InceptionV3: 75}  # by default 32
each_network = pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)


def test_all_networks_share_their_parameters():
    names = [list(inspect.signature(build).parameters) for build in (*NETWORKS, PetsNet)]
    for build, own in zip((*NETWORKS, PetsNet), names, strict=True):
        assert own == names[0] + OWN_PARAMETERS.get(build, [])


@each_network
def test_invalid_input_shapes_are_refused(build):
    n = MINIMUM.get(build, 32)
    for shape in [
        (n - 1, n, 3), (n, n - 1, 3), (n, n, 1), (n, n, None), (n, n), (n, n, 3, 1), n, "32",
        (float(n), n, 3), (True, n, 3), ("a", n, 3), (),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=rf"expected input_shape .* at least {n}, received"):
            build(weights=None, include_top=False, input_shape=shape)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (None, None, 3)}, "the top needs images of a known size"),
        ({"input_shape": (None, 64, 3), "until": "fc2"}, "the top needs images of a known size"),
        ({"pooling": "avg"}, "pooling='avg' is for a network without its top"),
        ({"pooling": "mean", "include_top": False}, "expected pooling to be None, 'avg' or 'max'"),
        ({"until": "block3_poll"}, "no layer 'block3_poll' .* similar names: block3_pool"),
        ({"until": "zzz"}, "no layer 'zzz' .* similar names: input_layer, ..., block5_pool"),
        ({"until": 3}, "no layer 3 to cut"),
        ({"until": "fc1", "include_top": False}, "'fc1' belongs to the top; pass include_top=True"),
        ({"classes": 0}, "'predictions': expected units"),
        ({"classes": 2.5}, "'predictions': expected units"),
        ({"weights": "imagenet", "classes": 2}, "1000 classes, received classes=2"),
        (
            {"weights": "imagenet", "classifier_activation": "sigmoid"},
            "trained with softmax, received classifier_activation='sigmoid'",
        ),
        (
            {"weights": "imagenet", "input_shape": (150, 150, 3)},
            r"fits images of \(224, 224, 3\) only, received input_shape \(150, 150, 3\)",
        ),
    ],
)
def test_invalid_and_contradictory_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        VGG16(**{"weights": None, **arguments})
    assert "\n" not in str(error.value)


def test_weights_argument(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="vgg16: expected weights None, .*; imagnet: there is no such file"
    ):
        VGG16(weights="imagnet")
    with pytest.raises(IsADirectoryError, match="received a folder"):
        VGG16(weights=tmp_path)
    with pytest.raises(TypeError, match="expected weights None, 'imagenet' or a path, received 7"):
        VGG16(weights=7)


@pytest.fixture
def asked(monkeypatch):
    """Replace download and import by ones that note how they were called."""
    calls = types.SimpleNamespace(keys=[], model=None, path=None, whole=None)

    def fetch(key):
        calls.keys.append(key)
        return f"{key}.h5"

    def load_weights(network, path, whole=None):
        calls.model, calls.path, calls.whole = network, path, whole

    for name, function in (("downloads.registry", fetch), ("matching", load_weights)):
        module = types.ModuleType(f"minidl.formats.{name}")
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.mark.parametrize(
    ("build", "arguments", "key"),
    [
        (VGG16, {"include_top": False}, "vgg16-notop"),
        (VGG16, {"until": "block5_pool", "pooling": "max"}, "vgg16-notop"),
        (VGG16, {"until": "fc1"}, "vgg16"),
        (ResNet50, {}, "resnet50"),
        (ResNet50, {"until": "avg_pool"}, "resnet50-notop"),
        (ResNet50, {"until": "conv4_block6_out"}, "resnet50-notop"),
        (ResNet50, {"classifier_activation": None}, "resnet50"),
        (InceptionV3, {"input_shape": (150, 150, 3)}, "inception_v3"),
        (InceptionV3, {"include_top": False}, "inception_v3-notop"),
    ],
)
def test_the_smallest_official_file_with_all_layers_is_taken(asked, build, arguments, key):
    network = build(**arguments)
    assert asked.keys == [key]
    assert asked.model is network
    assert asked.path == f"{key}.h5"
    # The file may hold whatever the complete network has: with exactly these names and shapes.
    complete = {ResNet50: 25_636_712, InceptionV3: 23_851_784, VGG16: 138_357_544}
    assert sum(p.value.size for layer in asked.whole for p in layer.parameters) == complete[build]
    assert set(network.weights) <= {p for layer in asked.whole for p in layer.parameters}
    assert len({layer.name for layer in asked.whole}) == len(asked.whole)


def test_weights_that_a_file_replaces_are_not_initialized(asked):
    network = InceptionV3(include_top=False)
    assert not any(p.value.any() for p in network.weights if p.name == "kernel")


def test_class_names_come_with_the_weights(asked, tmp_path):
    file = tmp_path / "mine.h5"
    file.touch()
    for arguments, expected in [
        ({}, True),
        ({"weights": file}, True),
        ({"weights": file, "classes": 7}, False),
        ({"weights": None}, False),
        ({"include_top": False}, False),
        ({"until": "avg_pool"}, False),
    ]:
        network = ResNet50(**arguments)
        assert ("class_names" in network.metadata) == expected
    assert ResNet50().metadata["class_names"] == imagenet.class_names()
    assert asked.keys == ["resnet50", "resnet50-notop", "resnet50-notop", "resnet50"]


def test_a_custom_file_is_loaded(tmp_path):
    source = VGG16(weights=None, until="block2_pool")
    source.save_weights(tmp_path / "weights.h5")
    network = VGG16(weights=str(tmp_path / "weights.h5"), until="block2_pool")
    for mine, theirs in zip(network.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_file_of_the_whole_network_serves_a_part_of_it(tmp_path):
    source = ResNet50(weights=None, classes=7)
    source.save_weights(tmp_path / "weights.h5")
    network = ResNet50(weights=tmp_path / "weights.h5", until="conv2_block3_out")
    kernel = "conv2_block1_0_conv"
    np.testing.assert_array_equal(
        network.get_layer(kernel).get_weights()[0], source.get_layer(kernel).get_weights()[0]
    )
    whole = ResNet50(weights=tmp_path / "weights.h5", classes=7)
    x = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3))
    np.testing.assert_array_equal(whole.predict(x), source.predict(x))
    assert whole.output_shape == (None, 7)


def test_real_weights_predict_as_in_keras(shared_data):
    weights = shared_data / "weights"
    file = weights / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop_mixed8.h5"
    expected = np.load(weights / "inception_v3_mixed8_expected.npz")
    network = InceptionV3(weights=file, input_shape=(299, 299, 3), until="mixed8")
    for name in ("mixed0", "mixed4", "mixed7", "mixed8"):
        y = network.tap(name).predict(expected["images"]).mean(axis=(1, 2))
        np.testing.assert_allclose(
            y, expected[name], rtol=0, atol=1e-4 * np.ptp(expected[name]), err_msg=name
        )
