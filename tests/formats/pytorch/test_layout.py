"""Layouts: depthwise kernels, and the order of flattened features, in models that compute."""

import numpy as np
import pytest
from support.pytorch_files import torch_bytes
from support.tiny import refused

from minidl import Input, Model, Sequential, layers
from minidl.cli.weights import convert_weights
from minidl.common.errors import FileFormatError


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("f4")


@pytest.fixture
def load(tmp_path):
    def load(model, tensors):
        path = tmp_path / "model.pth"
        path.write_bytes(torch_bytes(tensors))
        model.load_weights(path)
        return model

    return load


def convolve(x, w, group):
    """Return the valid convolution of channels-first images by PyTorch's definition."""
    out, depth, height, width = w.shape
    rows, columns = x.shape[2] - height + 1, x.shape[3] - width + 1
    y = np.zeros((len(x), out, rows, columns), x.dtype)
    for o in range(out):
        first = o // (out // group) * depth
        for i in range(rows):
            for j in range(columns):
                window = x[:, first : first + depth, i : i + height, j : j + width]
                y[:, o, i, j] = (window * w[o]).sum((1, 2, 3))
    return y


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_kernels_compute_as_in_pytorch(load, multiplier):
    model = Sequential(
        [
            Input((5, 6, 3)),
            layers.DepthwiseConv2D(3, depth_multiplier=multiplier, use_bias=False, name="dw"),
        ]
    )
    x, w = numbers(2, 3, 5, 6), numbers(3 * multiplier, 1, 3, 3)
    load(model, {"dw.weight": w})
    y = model(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(y, convolve(x, w, group=3), atol=1e-5)


def test_convolutions_in_groups_compute_as_in_pytorch(load):
    model = Sequential([Input((5, 6, 4)), layers.Conv2D(6, 3, groups=2, use_bias=False, name="c")])
    x, w = numbers(2, 4, 5, 6), numbers(6, 2, 3, 3)
    load(model, {"c.weight": w})
    y = model(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(y, convolve(x, w, group=2), atol=1e-5)


@pytest.mark.parametrize("between", ["nothing", "dropout", "normalization", "reshape"])
def test_flattened_features_are_reordered(load, between):
    """PyTorch flattens (channel, row, column), minidl (row, column, channel)."""
    inner = {
        "nothing": [layers.Flatten()],
        "dropout": [layers.Flatten(), layers.Dropout(0.5), layers.ReLU()],
        "normalization": [layers.Flatten(), layers.BatchNormalization(epsilon=0, name="bn")],
        "reshape": [layers.Reshape((-1,)), layers.Flatten()],
    }[between]
    model = Sequential(
        [Input((2, 3, 4)), *inner, layers.Dense(5, name="one"), layers.Dense(24, name="two")]
    )
    x = numbers(2, 4, 2, 3)
    tensors = {
        "one.weight": numbers(5, 24),
        "one.bias": numbers(5),
        "two.weight": numbers(24, 5),
        "two.bias": numbers(24),
    }
    features = np.maximum(x.reshape(2, 24), 0) if between == "dropout" else x.reshape(2, 24)
    if between == "normalization":
        mean, variance = numbers(24, seed=1), numbers(24, seed=2) ** 2 + 0.1
        gamma, beta = numbers(24, seed=3), numbers(24, seed=4)
        statistics = {"bn.running_mean": mean, "bn.running_var": variance}
        tensors = {"bn.weight": gamma, "bn.bias": beta, **statistics, **tensors}
        features = (features - mean) / np.sqrt(variance) * gamma + beta
    load(model, tensors)
    expected = features @ tensors["one.weight"].T + tensors["one.bias"]
    expected = expected @ tensors["two.weight"].T + tensors["two.bias"]
    np.testing.assert_allclose(model(x.transpose(0, 2, 3, 1)), expected, atol=1e-4)


def test_pooled_features_keep_their_order(load):
    pooled = [layers.GlobalAveragePooling2D(), layers.Flatten()]
    model = Sequential([Input((3, 3, 4)), *pooled, layers.Dense(2, name="fc")])
    x, w = numbers(2, 4, 3, 3), numbers(2, 4)
    load(model, {"fc.weight": w, "fc.bias": np.zeros(2, "f4")})
    y = model(x.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(y, x.mean((2, 3)) @ w.T, atol=1e-5)


def test_a_mixture_of_flattened_features_is_refused(load):
    a, b = Input((2, 2, 3)), Input((2, 2, 1))
    both = layers.Concatenate()([layers.Flatten()(a), layers.Flatten()(b)])
    model = Model([a, b], layers.Dense(2, use_bias=False, name="fc")(both))
    with refused(FileFormatError, "'fc'", "mixture"):
        load(model, {"fc.weight": numbers(2, 16)})


def test_a_converted_file_keeps_the_order(load, tmp_path):
    stack = [Input((2, 3, 4)), layers.Flatten(), layers.Dense(5, use_bias=False, name="fc")]
    model, x, w = Sequential(stack), numbers(2, 4, 2, 3), numbers(5, 24)
    load(model, {"fc.weight": w})
    convert_weights(tmp_path / "model.pth", tmp_path / "model.h5")
    again = Sequential(
        [Input((2, 3, 4)), layers.Flatten(), layers.Dense(5, use_bias=False, name="fc")]
    )
    again.load_weights(tmp_path / "model.h5")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    np.testing.assert_allclose(model(x.transpose(0, 2, 3, 1)), x.reshape(2, 24) @ w.T, atol=1e-5)
