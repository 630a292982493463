"""A compact convolutional network for training from scratch, and its augmentation.

>>> from minidl.applications import small_cnn
>>> small_cnn((64, 64, 3), classes=3).output_shape
(None, 3)
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl import layers
from minidl.layers.base import Layer
from minidl.layers.symbolic import Input
from minidl.models.sequential import Sequential

__all__ = ["augmentation", "small_cnn"]


def small_cnn(
    input_shape: tuple[int, int, int],
    classes: int = 2,
    filters: Sequence[int] = (16, 32, 64, 128, 256),
    dropout: float = 0.3,
    augment: bool = True,
    name: str | None = None,
) -> Sequential:
    """Return blocks of convolution, BatchNormalization, ReLU and pooling, then a classifier.

    Parameters
    ----------
    input_shape : (H, W, C)
        Of raw images with values 0..255: the network scales them itself.
    classes : int
        2 gives one sigmoid output, more a softmax.
    filters : sequence of int
        Channels of each block; each block halves height and width.
    dropout : float
    augment : bool
        Vary the images in training (see :func:`augmentation`).
    name : str, optional

    Raises
    ------
    ShapeError
        If the images are too small for that many blocks.
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
    stack += [layers.GlobalAveragePooling2D(), layers.Dropout(dropout)]
    if classes == 2:
        stack.append(layers.Dense(1, activation="sigmoid"))
    else:
        stack.append(layers.Dense(classes, activation="softmax"))
    return Sequential([Input(input_shape), *stack], name=name)


def augmentation() -> list[Layer]:
    """Return the layers that vary photos in training: position, size, angle and light."""
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.05),
        layers.RandomZoom(0.15),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.2),
        layers.RandomBrightness(0.1),
    ]
