"""Sizes near and beyond the largest integers: an answer or a sentence, never a crash."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from support.tiny import refused

from minidl import Input, Sequential, layers

LARGE, TOO_LARGE = 2**31 - 1, 2**62


@pytest.mark.parametrize(
    ("layer", "argument"),
    [
        (lambda n: layers.Conv2D(2, 3, strides=n), "strides"),
        (lambda n: layers.Conv2D(2, 3, dilation_rate=n), "dilation_rate"),
        (lambda n: layers.Conv2D(2, (3, n)), "kernel_size"),
        (lambda n: layers.DepthwiseConv2D(3, strides=n), "strides"),
        (lambda n: layers.MaxPooling2D(n), "pool_size"),
        (lambda n: layers.AveragePooling2D(2, strides=n), "strides"),
        (lambda n: layers.Dense(n), "units"),
    ],
)
def test_integers_that_overflow_are_refused_when_the_layer_is_made(layer, argument):
    with refused(ValueError, argument, "2147483647", str(TOO_LARGE)):
        layer(TOO_LARGE)


def test_the_largest_windows_and_strides_predict_and_train():
    code = f"""
import numpy as np
from minidl import Input, Sequential, layers
x = np.ones((2, 8, 8, 3), "float32")
for layer in (
    layers.Conv2D(2, 3, strides={LARGE}, padding="same"),
    layers.Conv2D(2, 3, dilation_rate={LARGE}, padding="same"),
    layers.DepthwiseConv2D(3, strides={LARGE}, padding="same"),
    layers.MaxPooling2D({LARGE}, padding="same"),
    layers.AveragePooling2D({LARGE}, strides=1, padding="same"),
):
    model = Sequential([Input(x.shape[1:]), layers.Conv2D(3, 1), layer])
    model.compile("sgd", "mse")
    y = model.predict(x, verbose=0)
    assert np.isfinite(y).all()
    model.fit(x, y, verbose=0)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert process.returncode == 0, process.stderr.decode()[-2000:]


def test_a_pool_larger_than_the_image_is_the_maximum_of_the_image():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype("float32")
    model = Sequential([Input(x.shape[1:]), layers.MaxPooling2D(LARGE, padding="same")])
    np.testing.assert_array_equal(model.predict(x, verbose=0)[:, 0, 0], x.max(axis=(1, 2)))
