"""Comparing minidl with Keras: the same weights, the same data, and how close is close.

Both compute in float32, whose relative rounding error is 6e-8; a sum of a few hundred products
taken in another order differs by some 1e-6 of its terms. Deviations are therefore measured
against the largest number of the array in question: OUTPUT and GRADIENT are what the project
promises, far above rounding and far below any mistake in a formula.
"""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: parity is checked in CI")
tf = pytest.importorskip("tensorflow", reason="Keras' gradients are taken with TensorFlow")

from minidl import layers  # noqa: E402

__all__ = ["GRADIENT", "OUTPUT", "assert_close", "both", "check_layer", "copy_weights", "normal"]

tf.get_logger().setLevel("ERROR")  # each new shape traces a function anew, and it complains

OUTPUT = 1e-5
GRADIENT = 1e-4


def normal(seed, *shape, scale=1.0):
    """Return normally distributed float32 numbers."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype("float32")


def both(name, /, *arguments, **options):
    """Return minidl's layer and Keras', made by the same call."""
    return (
        getattr(layers, name)(*arguments, **options),
        getattr(keras.layers, name)(*arguments, **options),
    )


def assert_close(ours, theirs, tolerance, what):
    """Compare shape, dtype and values; `tolerance` is relative to the largest of Keras' values."""
    theirs = np.asarray(theirs)
    assert np.shape(ours) == theirs.shape, f"{what}: {np.shape(ours)}, Keras {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{what}: {ours.dtype}, Keras {theirs.dtype}"
    scale = np.abs(theirs).max(initial=0.0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale, err_msg=what)


def check_layer(ours, theirs, x, training=False, seed=0):
    """Give both layers random weights; compare outputs, all gradients, and weights afterwards.

    `x` is an array, or a list of them for a layer that takes a list.
    """
    xs = x if isinstance(x, list) else [x]
    theirs.build([item.shape for item in xs] if isinstance(x, list) else x.shape)
    ours(x)
    copy_weights(ours, theirs, seed)
    tensors = [tf.constant(item) for item in xs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        their_y = theirs(tensors if isinstance(x, list) else tensors[0], training=training)
    dy = normal(seed + 1, *their_y.shape)
    variables = [variable.value for variable in theirs.trainable_weights]
    their_dxs, their_gradients = tape.gradient(
        their_y,
        [tensors, variables],
        output_gradients=tf.constant(dy),
        unconnected_gradients="zero",
    )

    y, cache = ours.forward(x, training=training)
    dx, gradients = ours.backward(dy, cache)
    assert_close(y, their_y, OUTPUT, f"{ours.label}: output")
    assert ours.compute_output_shape(_shapes(x)) == tuple(their_y.shape)
    for d, their_d in zip(dx if isinstance(x, list) else [dx], their_dxs, strict=True):
        assert_close(d, their_d, GRADIENT, f"{ours.label}: gradient of the input")
    for p, g, their_g in zip(ours.trainable_weights, gradients, their_gradients, strict=True):
        assert_close(g, their_g, GRADIENT, f"{ours.label}: gradient of {p.name}")
    for w, their_w in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert_close(w, their_w, OUTPUT, f"{ours.label}: weights afterwards")


def copy_weights(ours, theirs, seed=0):
    """Draw new weights for both layers; that one list fits both proves names, order, shapes."""
    names = [weight.name for weight in theirs.weights]
    assert [parameter.name for parameter in ours.weights] == names
    arrays = [
        normal([seed, i], *weight.shape, scale=0.5) for i, weight in enumerate(theirs.weights)
    ]
    arrays = [
        np.abs(array) + 0.1 if "variance" in name else array
        for name, array in zip(names, arrays, strict=True)
    ]
    theirs.set_weights(arrays)
    ours.set_weights(arrays)


def _shapes(x):
    return [item.shape for item in x] if isinstance(x, list) else x.shape
