"""MobileNetV2, MobileNetV3 and EfficientNetB0 predict as Keras 2 and 3, from every format.

All weights are random, the statistics of BatchNormalization and Normalization among them. Outputs
agree within 1e-5 of their range.
"""

import functools

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")
tf_keras = pytest.importorskip("tf_keras", reason="Keras 2 is not installed")

import h5py  # noqa: E402
import numpy as np  # noqa: E402
from keras.src.legacy.saving import legacy_h5_format  # noqa: E402

import minidl  # noqa: E402
from minidl import applications  # noqa: E402

TOLERANCE = 1e-5
# Function, its arguments, image size, last layer of the body. 75 leaves odd sizes at each stage.
NETWORKS = {
    "mobilenet_v2 of 0.35": ("MobileNetV2", {"alpha": 0.35}, 75, "out_relu"),
    "mobilenet_v2": ("MobileNetV2", {}, 64, "out_relu"),
    "efficientnetb0": ("EfficientNetB0", {}, 75, "top_activation"),
    "mobilenet_v3_small": ("MobileNetV3Small", {}, 75, None),
    "mobilenet_v3_large": ("MobileNetV3Large", {}, 64, None),
    "mobilenet_v3_large minimalistic": ("MobileNetV3Large", {"minimalistic": True}, 64, None),
}
LIBRARIES = {"keras3": keras, "keras2": tf_keras}


def write_weights(model, path):
    """Write weights in the format of the file's name: of Keras 2 and 3, or legacy."""
    if isinstance(model, keras.Model) and path.name == "legacy.h5":
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    else:
        model.save_weights(path)


def write_model(model, path):
    model.save(path)


WEIGHTS = {
    "legacy.h5": write_weights,
    "a.weights.h5": write_weights,
    "model.h5": write_model,
    "model.keras": write_model,
}
MODELS = ("model.h5", "model.keras")


@functools.lru_cache(maxsize=1)
def network_of(library, network):
    """Return the library's network with random weights, images, and its logits."""
    name, arguments, size, _ = NETWORKS[network]
    theirs = getattr(LIBRARIES[library].applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=10,
        classifier_activation=None,
        **arguments,
    )
    rng = np.random.default_rng(0)
    # The gates of EfficientNetB0 halve the signal in each block.
    variances = (0.4, 1.2) if name == "EfficientNetB0" else (0.5, 1.5)
    theirs.set_weights([random_weight(rng, weight, variances) for weight in theirs.weights])
    for layer in theirs.layers:
        if type(layer).__name__ == "Normalization":
            layer.finalize_state()  # Keras computes with a copy of the statistics
    # Two images that have little in common: coarse spots, and dark blue noise.
    spots = np.kron(rng.integers(0, 2, (5, 5, 3)) * 255.0, np.ones((15, 15, 1)))[:size, :size]
    noise = rng.uniform(0, [20, 60, 200], (size, size, 3))
    images = np.stack([spots, noise]).astype("float32")
    x = images / 127.5 - 1 if name == "MobileNetV2" else images
    return theirs, images, np.asarray(theirs(x, training=False))


def random_weight(rng, weight, variances):
    """Draw a weight such that the signal neither dies out nor explodes."""
    name, shape = weight.name.split("/")[-1].removesuffix(":0"), tuple(weight.shape)
    if name in ("moving_variance", "variance"):
        return rng.uniform(*variances, shape)
    if name == "gamma":
        return rng.normal(1, 0.1, shape)
    if name == "count":
        return np.array(7)
    if name.endswith("kernel"):
        fan_in = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])  # 1: depthwise
        return rng.normal(0, (2 / fan_in) ** 0.5, shape)
    return rng.normal(0, 0.1, shape)


def assert_predicts(ours, images, expected):
    """Compare what the inference plan and what the training executor compute."""
    assert np.ptp(expected, axis=0).max() > 500 * TOLERANCE * np.ptp(expected), "images look alike"
    for y in (ours.predict(images), ours.forward(images)[0]):
        np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * np.ptp(expected))


@pytest.mark.parametrize("file", WEIGHTS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_of_each_format_fit(library, network, file, tmp_path):
    theirs, images, logits = network_of(library, network)
    name, arguments, size, _ = NETWORKS[network]
    WEIGHTS[file](theirs, tmp_path / file)
    ours = getattr(applications, name)(
        tmp_path / file,
        input_shape=(size, size, 3),
        classes=10,
        classifier_activation=None,
        **arguments,
    )
    assert ours.count_params() == theirs.count_params()
    assert_predicts(ours, images, logits)


@pytest.mark.parametrize("file", MODELS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_models_are_rebuilt(library, network, file, tmp_path):
    theirs, images, logits = network_of(library, network)
    theirs.save(tmp_path / file)
    x = images / 127.5 - 1 if NETWORKS[network][0] == "MobileNetV2" else images
    assert_predicts(minidl.load_model(tmp_path / file), x, logits)


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_have_the_arguments_of_their_namesakes(network):
    """Compare each layer that has weights or padding with the layer of that name in Keras 3."""
    name, arguments, size, last = NETWORKS[network]
    shape = (size, size, 3)
    theirs = getattr(keras.applications, name)(weights=None, input_shape=shape, **arguments)
    ours = getattr(applications, name)(None, input_shape=shape, **arguments)
    kinds = (keras.layers.Normalization, minidl.layers.Normalization)  # numbered by the session
    compared = [layer for layer in ours.layers if layer.parameters and type(layer) not in kinds]
    weighted = [layer for layer in theirs.layers if layer.weights and type(layer) not in kinds]
    assert len(compared) == len(weighted)
    compared += [layer for layer in ours.layers if layer.name.endswith(("_pad", "_drop", "_add"))]
    for layer in compared:
        namesake = theirs.get_layer(layer.name)
        made = type(namesake).from_config(layer.get_config())
        assert comparable(made) == comparable(namesake), layer.name
        assert layer.count_params() == namesake.count_params()
    if last is not None:
        assert theirs.get_layer(last).output.shape == ours.tap(last).output_shape


def comparable(layer):
    """Return a Keras layer's configuration without what Keras draws or notes by itself."""
    config = layer.get_config()
    config.pop("seed", None)
    config.pop("activation", None)  # a layer of its own in Keras, or a synonym
    for value in config.values():
        if isinstance(value, dict):
            value.get("config", {}).pop("seed", None)
    if config.get("axis") in (-1, 3):
        config["axis"] = -1
    return {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}
