"""Compilation of all kernels in advance, for ``minidl info --warm-up``.

Numba compiles a kernel for the types of its arguments at the first call, and caches the result on
disk. Small networks that train and predict in float32 therefore call every kernel once.
"""

from __future__ import annotations

import numpy as np

from minidl import layers, losses, optimizers
from minidl.applications.small_cnn import augmentation
from minidl.layers.symbolic import Input
from minidl.losses import Loss
from minidl.models.model import Model
from minidl.models.sequential import Sequential
from minidl.optimizers import Optimizer

__all__ = ["warm_up"]


def warm_up(progress: bool = True) -> None:
    """Call all kernels once. If they are cached, this takes one or two seconds.

    Parameters
    ----------
    progress : bool
        Whether to draw a progress bar.
    """
    from tqdm.auto import tqdm

    tasks = (_convolutions, _activations, _augmentation, _losses, _optimizers)
    bar = tqdm(tasks, disable=not progress, unit="kind", dynamic_ncols=True)
    for task in bar:
        bar.set_description(f"Compiling {task.__name__.lstrip('_')}")
        task()


def _train(
    model: Model, y: np.ndarray, optimizer: str | Optimizer = "sgd", loss: str | Loss = "mse"
) -> None:
    """Train on one batch of noise, and predict."""
    x = np.random.default_rng(0).random((4, *model.input_shape[1:]), np.float32)
    model.compile(optimizer, loss)
    model.fit(x, y, verbose=0)
    model.predict(x)


def _convolutions() -> None:
    x = Input((20, 20, 3))
    y = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(64, 3, padding="same", activation="relu")(y)  # Winograd
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(y))
    y = layers.ReLU()(layers.Add()([y, layers.Conv2D(4, 1, use_bias=False)(y)]))
    y = layers.DepthwiseConv2D(3, activation="relu")(layers.MaxPooling2D(2)(y))
    y = layers.DepthwiseConv2D(1, depth_multiplier=2)(y)
    y = layers.Multiply()([y, layers.GlobalAveragePooling2D(keepdims=True)(y)])
    y = layers.AveragePooling2D(2, 1)(y)
    y = layers.Dense(2, activation="relu")(layers.Flatten()(y))
    model = Model(x, y)
    _train(model, np.zeros((4, 2)))
    model.freeze()
    model.layers[0].trainable = True  # gradients through frozen BatchNormalization
    _train(model, np.zeros((4, 2)))


def _activations() -> None:
    for layer in (
        layers.ReLU(),
        layers.Sigmoid(),
        layers.Tanh(),
        layers.SiLU(),
        layers.HardSigmoid(),
        layers.HardSiLU(),
        layers.GELU(),
        layers.GELU(approximate=True),
        layers.Softmax(),
    ):
        _train(Sequential([Input((5,)), layers.Dense(4), layer]), np.zeros((4, 4)))


def _augmentation() -> None:
    for fill_mode in ("reflect", "constant", "nearest", "wrap"):
        stack = [Input((9, 9, 3)), layers.Dense(3), layers.RandomRotation(0.1, fill_mode)]
        _train(Sequential([*stack, layers.Flatten(), layers.Dense(1)]), np.zeros((4, 1)))
    stack = [Input((9, 9, 3)), *augmentation(), layers.RandomCrop(7, 7), layers.Flatten()]
    _train(Sequential([*stack, layers.Dense(1)]), np.zeros((4, 1)))


def _losses() -> None:
    labels = np.array([0, 1, 1, 0])
    for activation, units, loss, y in (
        ("sigmoid", 1, losses.BinaryCrossentropy(), labels),
        ("softmax", 2, losses.SparseCategoricalCrossentropy(), labels),
        ("softmax", 2, losses.CategoricalCrossentropy(), np.eye(2)[labels]),
    ):
        stack = [Input((5,)), layers.Dense(units, activation=activation)]
        _train(Sequential(stack), y, loss=loss)
        # After a layer other than the activation, the loss takes probabilities, not logits.
        _train(Sequential([*stack, layers.Flatten()]), y, loss=loss)


def _optimizers() -> None:
    for optimizer in (
        optimizers.SGD(momentum=0.9),
        optimizers.SGD(momentum=0.9, nesterov=True),
        optimizers.Adam(),
        optimizers.AdamW(),
        optimizers.RMSprop(),
        optimizers.SGD(clipnorm=1.0),
    ):
        _train(Sequential([Input((5,)), layers.Dense(1)]), np.zeros((4, 1)), optimizer=optimizer)
