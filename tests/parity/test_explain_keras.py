"""Grad-CAM compared with the Keras recipe, which uses TensorFlow's gradients."""

import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")

import numpy as np  # noqa: E402
import tensorflow  # noqa: E402

import minidl  # noqa: E402
from minidl.evaluation.explain import grad_cam  # noqa: E402


def build(lib):
    layers = lib.layers
    x = lib.Input((20, 18, 3))
    stem = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(x)
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, padding="same", name="a")(stem))
    y = layers.Activation("relu", name="last")(layers.Add(name="sum")([y, stem]))
    z = layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D(name="mean")(y))
    return lib.Model(x, layers.Activation("softmax", name="probabilities")(z))


def keras_grad_cam(model, images, layer, classes):
    inner = keras.Model(
        model.inputs, [model.get_layer(layer).output, model.get_layer("scores").output]
    )
    with tensorflow.GradientTape() as tape:
        a, scores = inner(images)
        tape.watch(a)
        chosen = tensorflow.gather(scores, classes, axis=1, batch_dims=1)
    weights = tensorflow.reduce_mean(tape.gradient(chosen, a), axis=(1, 2))
    maps = np.einsum("nhwc,nc->nhw", np.array(a), np.array(weights)).clip(0)
    return maps / maps.max(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("layer", ["stem", "a", "last"])
def test_maps_are_those_of_keras(layer):
    ours, theirs = build(minidl), build(keras)
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1, w.shape) * rng.choice([-1, 1], w.shape) for w in theirs.weights]
    weights = [
        abs(w) if "variance" in v.path else w for w, v in zip(weights, theirs.weights, strict=True)
    ]
    theirs.set_weights(weights)
    for one in theirs.layers:
        if one.weights:
            ours.get_layer(one.name).set_weights(one.get_weights())
    images = rng.normal(size=(5, 20, 18, 3)).astype(np.float32)
    classes = np.array([0, 1, 2, 3, 0])
    expected = keras_grad_cam(theirs, images, layer, classes)
    maps = grad_cam(ours, images, layer, classes, resize=False)
    np.testing.assert_allclose(maps, expected, atol=1e-4)
