"""``minidl info --warm-up``: compile every kernel once, so that the first real use need not.

Numba compiles a kernel for the types of its arguments when it is first called, and keeps the
result on disk. So each kernel is called, by small networks that train and predict in float32.

>>> from minidl.cli.warm_up import chores
>>> [name for name, _ in chores()][:2]
['convolutions', 'activations']
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl import layers, losses, optimizers
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input
from minidl.models.model import Model
from minidl.models.sequential import Sequential

__all__ = ["chores", "warm_up"]


def warm_up(progress: bool = True) -> None:
    """Call all kernels; where they have been compiled before, that takes a second or two.

    Parameters
    ----------
    progress : bool
        Whether to draw a bar.
    """
    from tqdm.auto import tqdm

    bar = tqdm(chores(), disable=not progress, unit="kind", dynamic_ncols=True)
    for name, chore in bar:
        bar.set_description(f"Compiling {name}")
        chore()


def chores() -> list[tuple[str, Callable[[], None]]]:
    """Return the kinds of kernels, each with a function that calls them."""
    return [
        ("convolutions", _convolutions),
        ("activations", _activations),
        ("augmentation", _augmentation),
        ("losses", _losses),
        ("optimizers", _optimizers),
    ]


def _train(model: Model, y, optimizer="sgd", loss="mse") -> None:
    """Take one step on pictures of noise, and predict."""
    x = np.random.default_rng(0).random((4, *model.input_shape[1:]), np.float32)
    model.compile(optimizer, loss)
    model.fit(x, y, verbose=0)
    model.predict(x)


def _convolutions() -> None:
    x = Input((20, 20, 3))
    y = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(64, 3, padding="same", activation="relu")(y)  # by Winograd
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(y))
    y = layers.ReLU()(layers.Add()([y, layers.Conv2D(4, 1, use_bias=False)(y)]))
    y = layers.DepthwiseConv2D(3, activation="relu")(layers.MaxPooling2D(2)(y))
    y = layers.AveragePooling2D(2, 1)(y)
    y = layers.Dense(2, activation="relu")(layers.Flatten()(y))
    model = Model(x, y)
    _train(model, np.zeros((4, 2)))
    model.freeze()
    model.compile("sgd", "mse")
    for layer in model.layers[:1]:
        layer.trainable = True  # gradients through frozen BatchNormalization
    model.fit(np.zeros((4, 20, 20, 3), np.float32), np.zeros((4, 2)), verbose=0)


def _activations() -> None:
    kinds: list[Layer] = [
        layers.ReLU(), layers.Sigmoid(), layers.Tanh(), layers.SiLU(), layers.GELU(),
        layers.GELU(approximate=True), layers.Softmax(),
    ]  # fmt: skip
    for kind in kinds:
        _train(Sequential([Input((5,)), layers.Dense(4), kind]), np.zeros((4, 4)))


def _augmentation() -> None:
    from minidl.applications.small_cnn import augmentation

    for fill_mode in ("reflect", "constant", "nearest", "wrap"):
        stack = [Input((9, 9, 3)), layers.Dense(3), layers.RandomRotation(0.1, fill_mode)]
        _train(Sequential([*stack, layers.Flatten(), layers.Dense(1)]), np.zeros((4, 1)))
    stack = [Input((9, 9, 3)), *augmentation(), layers.RandomCrop(7, 7), layers.Flatten()]
    _train(Sequential([*stack, layers.Dense(1)]), np.zeros((4, 1)))


def _losses() -> None:
    labels = np.array([0, 1, 1, 0])
    for activation, units, loss, y in (
        ("sigmoid", 1, losses.BinaryCrossentropy(), labels),
        ("linear", 1, losses.BinaryCrossentropy(from_logits=True), labels),
        ("softmax", 2, losses.SparseCategoricalCrossentropy(), labels),
        ("linear", 2, losses.SparseCategoricalCrossentropy(from_logits=True), labels),
        ("softmax", 2, losses.CategoricalCrossentropy(), np.eye(2)[labels]),
    ):
        stack = [Input((5,)), layers.Dense(units, activation=activation)]
        _train(Sequential(stack), y, loss=loss)


def _optimizers() -> None:
    for kind in (
        optimizers.SGD(momentum=0.9), optimizers.SGD(momentum=0.9, nesterov=True),
        optimizers.Adam(), optimizers.AdamW(), optimizers.RMSprop(),
        optimizers.SGD(clipnorm=1.0),
    ):  # fmt: skip
        _train(Sequential([Input((5,)), layers.Dense(1)]), np.zeros((4, 1)), optimizer=kind)
