"""Layers from Keras configurations: arguments and parameter counts."""

import numpy as np
import pytest
from support.tiny import refused

from minidl import layers
from minidl.formats.keras.layers import make_layer, parameter_count

CASES = {
    "ReLU": {"max_value": 6.0, "negative_slope": {"type": "ndarray", "value": 0.1}},
    "LeakyReLU": {"alpha": 0.25},
    "Dropout": {"p": 0.5},
    "ZeroPadding2D": {"padding": [[1, 0], [0, 2]], "data_format": "channels_last"},
    "MaxPooling2D": {"pool_size": [2, 2], "border_mode": "valid", "dim_ordering": "tf"},
    "AveragePooling2D": {"pool_size": 3, "strides": 1, "padding": "same"},
    "GlobalMaxPooling2D": {"keepdims": True},
    "DepthwiseConv2D": {"kernel_size": 3, "depth_multiplier": 2, "groups": 1},
    "Rescaling": {"scale": {"class_name": "__numpy__", "config": {"value": [1, 2, 3]}}},
    "RandomRotation": {"factor": [-0.1, 0.1], "value_range": [0, 255], "data_format": None},
    "RandomFlip": {"mode": "horizontal", "data_format": "channels_last", "seed": 3},
    "Reshape": {"target_shape": {"class_name": "__tuple__", "items": [9, -1]}},
    "Softmax": {"axis": -1},
    "Flatten": {"data_format": "channels_last"},
    "Activation": {"activation": {"class_name": "function", "config": "relu"}},
    "Dense": {"units": 3, "activation": {"class_name": "ReLU", "config": {"max_value": 6.0}}},
}


@pytest.mark.parametrize("kind", CASES)
def test_make_layer_accepts_the_arguments_of_each_class(kind):
    layer = make_layer(kind, {"name": "a", "trainable": False, "dtype": "float64", **CASES[kind]})
    assert type(layer) is getattr(layers, kind)
    assert (layer.name, layer.trainable, layer.dtype, layer.auto_named) == (
        "a",
        False,
        np.float64,
        False,
    )
    layer(np.zeros((1, 6, 6, 3)))


def test_make_layer_keeps_the_arguments():
    assert make_layer("LeakyReLU", {"alpha": 0.25}).negative_slope == 0.25
    assert make_layer("ReLU", CASES["ReLU"]).max_value == 6.0
    assert make_layer("Dense", CASES["Dense"]).activation.max_value == 6.0
    assert make_layer("BatchNormalization", {"epsilon": 1e-5, "center": False}).center is False
    assert make_layer("Reshape", CASES["Reshape"]).target_shape == (9, -1)


SIZED = {
    "Dense": {"units": 5},
    "Conv2D": {"filters": 6, "kernel_size": [2, 3], "groups": 2},
    "DepthwiseConv2D": {"kernel_size": 2, "depth_multiplier": 3},
    "BatchNormalization": {},
    "ReLU": {},
}


@pytest.mark.parametrize("kind", SIZED)
@pytest.mark.parametrize("flag", ["use_bias", "scale", "center", None])
def test_parameter_count_equals_that_of_the_built_layer(kind, flag):
    own = ("scale", "center") if kind == "BatchNormalization" else ("use_bias",)
    given = {flag: False} if flag in own and kind != "ReLU" else {}
    layer = make_layer(kind, {"name": "a", **SIZED[kind], **given})
    count = parameter_count(layer, (None, 7, 7, 4))
    layer(np.zeros((1, 7, 7, 4)))
    assert count == layer.count_params()


def test_the_hard_sigmoid_of_keras2_is_another_function_and_refused():
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    config = {"name": "a", "units": 2, "activation": "hard_sigmoid"}
    assert (
        make_layer("Dense", {**config, "dtype": policy}).activation.__class__.__name__
        == "HardSigmoid"
    )
    with refused(ValueError, "'hard_sigmoid' of Keras 2", "save the model again"):
        make_layer("Dense", {**config, "dtype": "float32"})
