"""A small convolutional network for training from scratch, and its augmentation.

>>> from minidl.applications import small_cnn
>>> small_cnn((64, 64, 3), classes=3).output_shape
(None, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minidl import layers
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input
from minidl.models.sequential import Sequential

__all__ = ["augmentation", "classification_layer", "small_cnn"]


def small_cnn(
    input_shape: tuple[int, int, int],
    classes: int = 2,
    filters: Sequence[int] = (16, 32, 64, 128, 256),
    dropout: float = 0.3,
    augment: bool = True,
    name: str | None = None,
) -> Sequential:
    """Return a network: blocks of convolution, BatchNormalization, ReLU and pooling, a classifier.

    Parameters
    ----------
    input_shape : (H, W, C)
        Shape of one raw image with values 0-255; the network scales them itself.
    classes : int
        2 gives one sigmoid output, more a softmax.
    filters : sequence of int
        Channels of each block; a block halves height and width.
    dropout : float
        Rate before the classifier.
    augment : bool
        Vary the images in training (see :func:`augmentation`).
    name : str, optional

    Returns
    -------
    Sequential

    Raises
    ------
    ShapeError
        If the images are too small for the number of blocks.
    """
    stack: list[Layer] = [*(augmentation() if augment else []), layers.Rescaling(1 / 127.5, -1)]
    for channels in filters:
        stack += [
            layers.Conv2D(
                channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
            ),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(dropout), classification_layer(classes)]
    return Sequential([Input(input_shape), *stack, *head], name=name)


def classification_layer(
    classes: int,
    dense: Callable[..., Layer] = layers.Dense,
    activation: str | None = "auto",
    name: str | None = None,
) -> Layer:
    """Return a dense layer with one sigmoid output for 2 classes, otherwise with a softmax.

    Parameters
    ----------
    classes : int
    dense : callable
        Creates the layer: Dense, or a function with its arguments.
    activation : str or None
        Replaces the activation unless it is "auto"; None gives the logits.
    name : str, optional

    Returns
    -------
    Layer

    Examples
    --------
    >>> classification_layer(2).units, classification_layer(3).units
    (1, 3)
    """
    units = 1 if classes == 2 else classes
    if activation == "auto":
        activation = "sigmoid" if classes == 2 else "softmax"
    return dense(units, activation=activation, name=name)


def augmentation() -> list[Layer]:
    """Return layers that randomly vary position, size, angle and brightness in training."""
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.05),
        layers.RandomZoom(0.15),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.2),
        layers.RandomBrightness(0.1),
    ]
