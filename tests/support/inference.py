"""Networks and helpers for tests of the inference plan."""

import numpy as np

from minidl import Input, Model, layers
from minidl.graph.inference.fusion import fuse


def randomize(model, seed=0):
    """Give all parameters random numbers, BatchNormalization's statistics among them."""
    rng = np.random.default_rng(seed)
    for parameter in model.weights:
        value = rng.normal(size=parameter.shape) * 0.5
        if parameter.name in ("moving_variance", "gamma"):
            value = rng.uniform(0.5, 1.5, parameter.shape)
        parameter.assign(value)
    return model


def run_layers(model, x):
    """Return the outputs layer by layer, nothing fused."""
    return model.forward(x, training=False)[0]


def arena_size(model, shapes):
    return model._plan.prepare(shapes).memory.size


def residual_block(x, filters, strides=1, relu="after"):
    y = layers.ZeroPadding2D(1)(x)
    y = layers.Conv2D(filters, 3, strides=strides, use_bias=False)(y)
    y = layers.BatchNormalization(scale=False, epsilon=1e-2)(y)
    y = layers.Activation("relu")(y)
    y = layers.BatchNormalization()(layers.Conv2D(filters, 1)(y))
    shortcut = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides=strides)(x))
    y = layers.Add()([shortcut, y])
    return layers.ReLU()(y) if relu == "after" else y


def inception_block(x):
    """Return what Inception blocks have: a Concatenate within another, a pooling beside them."""
    a = layers.Conv2D(3, 1, activation="relu")(x)
    b = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, (1, 3), padding="same")(x)))
    c = layers.AveragePooling2D(3, 1, "same")(x)
    inner = layers.Concatenate()([layers.Conv2D(2, 1)(b), layers.Conv2D(5, 3, padding="same")(b)])
    return layers.Concatenate()([a, inner, c, layers.Conv2D(2, 1, activation="tanh")(x)])


def image_network():
    x = Input((None, None, 3), dtype="float64")
    y = inception_block(residual_block(layers.Rescaling(1 / 127.5, -1)(x), 6, strides=2))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.Dropout(0.5)(y))
    y = layers.ReLU(6)(layers.BatchNormalization()(y))
    y = residual_block(layers.MaxPooling2D()(y), 4, relu=None)
    y = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(y))
    return randomize(Model(x, y))


def fused_names(model):
    """Return the names of the layers in each step."""
    graph = fuse(model.nodes, model.output_numbers)
    return [[layer.name for layer in step.layers] for step in graph.steps]
