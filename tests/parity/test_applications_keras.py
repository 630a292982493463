"""VGG16, ResNet50 and InceptionV3 are Keras' networks: each layer, and what comes out.

Keras builds a network with random weights and random BatchNormalization statistics; ours gets
these by the layers' names, which for InceptionV3 means by the order in which its layers are made.
"""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import numpy as np  # noqa: E402

from minidl import applications  # noqa: E402

# Rounding grows over up to a hundred layers; this is what the project promises.
TOLERANCE = 1e-4
# Keras' module, which has the preprocessing, and the last layer before the top.
NETWORKS = {
    "VGG16": ("vgg16", "block5_pool"),
    "ResNet50": ("resnet50", "conv5_block3_out"),
    "InceptionV3": ("inception_v3", "mixed10"),
}
CASES = [("VGG16", 224), ("ResNet50", 224), ("InceptionV3", 299), *[(n, 150) for n in NETWORKS]]


def build_keras(name, size):
    """Return Keras' network with its top, all weights random."""
    keras.backend.clear_session()  # names are counted from the beginning
    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    rng = np.random.default_rng(0)
    for variable in network.weights:
        if variable.name == "moving_variance":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name == "gamma":
            variable.assign(rng.normal(1, 0.1, variable.shape))
        elif variable.name == "kernel":  # as He draws them: the image is not lost on its way up
            variable.assign(variable * 2**0.5)
        else:
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return network


def copy_weights(ours, theirs):
    for layer in ours.layers:
        if layer.parameters:
            layer.set_weights(theirs.get_layer(layer.name).get_weights())


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    spread = np.ptp(theirs)
    assert np.abs(theirs[0] - theirs[1]).max() > 200 * TOLERANCE * spread, "both images look alike"
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * spread)


def draw_images(size):
    """Return two images that have little in common: coarse spots, and dark blue noise."""
    rng = np.random.default_rng(1)
    spots = np.kron(rng.integers(0, 2, (10, 10, 3)) * 255.0, np.ones((30, 30, 1)))
    noise = rng.uniform(0, [20, 60, 200], (300, 300, 3))
    return np.stack([spots, noise])[:, :size, :size].astype("float32")


@pytest.mark.parametrize(("name", "size"), CASES)
def test_outputs_are_those_of_keras(name, size):
    module, last = NETWORKS[name]
    theirs = build_keras(name, size)
    theirs.layers[-1].activation = keras.activations.linear  # a softmax hides differences
    both = keras.Model(theirs.input, [theirs.get_layer(last).output, theirs.output])
    images = draw_images(size)
    preprocess = getattr(keras.applications, module).preprocess_input
    features, logits = (np.array(y) for y in both(preprocess(images.copy())))

    build = getattr(applications, name)
    shape = (size, size, 3)
    network = build(weights=None, include_top=False, input_shape=shape)
    copy_weights(network, theirs)
    assert_close(network.predict(images), features)  # through the inference plan
    assert_close(network.forward(images)[0], features)  # through the training executor
    network = build(weights=None, input_shape=shape, classifier_activation=None)
    copy_weights(network, theirs)
    assert_close(network.predict(images), logits)
    assert_close(network.forward(images)[0], logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_has_the_arguments_of_its_namesake(name):
    theirs = build_keras(name, 224)
    ours = getattr(applications, name)(None, input_shape=(224, 224, 3), include_preprocessing=False)
    assert {layer.name for layer in ours.layers} == {layer.name for layer in theirs.layers}
    for layer in ours.layers[1:]:
        namesake = theirs.get_layer(layer.name)
        made = type(namesake).from_config(layer.get_config())
        assert comparable(made) == comparable(namesake), layer.name
        assert layer.count_params() == namesake.count_params()


def comparable(layer):
    """Return a Keras layer's configuration without what Keras draws or notes by itself."""
    config = layer.get_config()
    for value in config.values():
        if isinstance(value, dict):
            value.get("config", {}).pop("seed", None)
    if config.get("axis") in (-1, 3):
        config["axis"] = -1
    return config


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooled_features_have_the_same_name_and_shape(name, pooling):
    keras.backend.clear_session()
    arguments = {"weights": None, "include_top": False, "pooling": pooling}
    theirs = getattr(keras.applications, name)(**arguments)
    ours = getattr(applications, name)(**arguments)
    assert ours.layers[-1].name == theirs.layers[-1].name
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocessing(mode):
    x = np.random.default_rng(0).uniform(0, 255, (2, 5, 6, 3)).astype("float32")
    theirs = keras.applications.imagenet_utils.preprocess_input(x.copy(), mode=mode)
    ours = applications.imagenet.preprocess_input(x, mode=mode)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
