"""InceptionV3: modules of parallel branches with kernels of different sizes.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2015), Rethinking the Inception Architecture for
Computer Vision, https://arxiv.org/abs/1512.00567

The 94 convolutions have no names of their own. Weight files identify them by their numbers
("conv2d_17"), which follow the order of construction; it is the same here as in Keras.

>>> from minidl.applications import InceptionV3
>>> InceptionV3(weights=None, include_top=False, pooling="avg").count_params()
21802784
"""

from __future__ import annotations

from typing import Any

from minidl import layers
from minidl.applications.pretrained import (
    Architecture,
    LayerFactory,
    NetworkOptions,
    assemble,
    pooled_top,
)
from minidl.formats.file_errors import StrPath
from minidl.layers.symbolic import SymbolicTensor
from minidl.models.model import Model

__all__ = ["InceptionV3"]

# Filters, kernel size, and optionally strides and padding.
_Unit = tuple[Any, ...]


def InceptionV3(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "inception_v3",
) -> Model:
    """Return the network, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`. Images
    have at least 75x75 pixels, by default with the top 299x299.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: the images are preprocessed by ``imagenet.preprocess_input(x, mode="tf")``.
    until : str, optional
        The modules are called "mixed0" to "mixed10".
    name : str

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For arguments that are wrong or contradict one another.
    FileNotFoundError
        If the weight file does not exist.
    FileFormatError
        If the file's weights are not those of this network.

    Examples
    --------
    >>> from minidl.applications import InceptionV3
    >>> InceptionV3(weights=None, input_shape=(299, 299, 3), until="mixed7").output_shape
    (None, 17, 17, 768)
    """
    options = NetworkOptions(
        weights,
        include_top,
        input_shape,
        pooling,
        classes,
        classifier_activation,
        include_preprocessing,
        until,
        name,
    )
    return assemble(ARCHITECTURE, options)


def _body(x: SymbolicTensor, conv: LayerFactory) -> SymbolicTensor:
    # The sizes in comments are for images of 299x299.
    x = _stack(x, conv, (32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3))
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = _stack(x, conv, (80, 1, 1, "valid"), (192, 3, 1, "valid"))
    x = layers.MaxPooling2D(3, strides=2)(x)  # 35x35
    for i, pooled in enumerate((32, 64, 64)):
        x = _mixed_35x35(x, conv, f"mixed{i}", pooled)
    x = _reduce_to_17x17(x, conv, "mixed3")
    for i, channels in enumerate((128, 160, 160, 192), start=4):
        x = _mixed_17x17(x, conv, f"mixed{i}", channels)
    x = _reduce_to_8x8(x, conv, "mixed8")
    for i in range(2):
        x = _mixed_8x8(x, conv, f"mixed{9 + i}", f"mixed9_{i}")
    return x


def _mixed_35x35(x: SymbolicTensor, conv: LayerFactory, name: str, pooled: int) -> SymbolicTensor:
    """Append branches with kernels of 1x1, 5x5 and twice 3x3, and one with pooling."""
    branches = [
        _stack(x, conv, (64, 1)),
        _stack(x, conv, (48, 1), (64, 5)),
        _stack(x, conv, (64, 1), (96, 3), (96, 3)),
        _stack(_average(x), conv, (pooled, 1)),
    ]
    return layers.Concatenate(name=name)(branches)


def _reduce_to_17x17(x: SymbolicTensor, conv: LayerFactory, name: str) -> SymbolicTensor:
    """Halve the image by strided convolutions and by pooling, in parallel."""
    branches = [
        _stack(x, conv, (384, 3, 2, "valid")),
        _stack(x, conv, (64, 1), (96, 3), (96, 3, 2, "valid")),
        layers.MaxPooling2D(3, strides=2)(x),
    ]
    return layers.Concatenate(name=name)(branches)


def _mixed_17x17(x: SymbolicTensor, conv: LayerFactory, name: str, channels: int) -> SymbolicTensor:
    """Append branches with 7x7 kernels factorized into 1x7 and 7x1."""
    row, column = (channels, (1, 7)), (channels, (7, 1))
    branches = [
        _stack(x, conv, (192, 1)),
        _stack(x, conv, (channels, 1), row, (192, (7, 1))),
        _stack(x, conv, (channels, 1), column, row, column, (192, (1, 7))),
        _stack(_average(x), conv, (192, 1)),
    ]
    return layers.Concatenate(name=name)(branches)


def _reduce_to_8x8(x: SymbolicTensor, conv: LayerFactory, name: str) -> SymbolicTensor:
    """Halve the image, with a branch of factorized 7x7 kernels."""
    branches = [
        _stack(x, conv, (192, 1), (320, 3, 2, "valid")),
        _stack(x, conv, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "valid")),
        layers.MaxPooling2D(3, strides=2)(x),
    ]
    return layers.Concatenate(name=name)(branches)


def _mixed_8x8(x: SymbolicTensor, conv: LayerFactory, name: str, fork_name: str) -> SymbolicTensor:
    """Append branches that end in parallel kernels of 1x3 and 3x1."""
    branches = [
        _stack(x, conv, (320, 1)),
        _fork(_stack(x, conv, (384, 1)), conv, fork_name),
        _fork(_stack(x, conv, (448, 1), (384, 3)), conv),
        _stack(_average(x), conv, (192, 1)),
    ]
    return layers.Concatenate(name=name)(branches)


def _fork(x: SymbolicTensor, conv: LayerFactory, name: str | None = None) -> SymbolicTensor:
    sides = [_stack(x, conv, (384, (1, 3))), _stack(x, conv, (384, (3, 1)))]
    return layers.Concatenate(name=name)(sides)


def _average(x: SymbolicTensor) -> SymbolicTensor:
    return layers.AveragePooling2D(3, strides=1, padding="same")(x)


def _stack(x: SymbolicTensor, conv: LayerFactory, *units: _Unit) -> SymbolicTensor:
    """Append convolutions in sequence, each with BatchNormalization and ReLU."""
    for filters, size, *rest in units:
        strides, padding = rest or (1, "same")
        x = conv(filters, size, strides, padding, use_bias=False)(x)
        x = layers.BatchNormalization(scale=False)(x)
        x = layers.Activation("relu")(x)
    return x


ARCHITECTURE = Architecture(
    key="inception_v3",
    body=_body,
    top=pooled_top,
    default_size=299,
    minimum_size=75,
    mode="tf",
    features=(8, 8, 2048),
)
