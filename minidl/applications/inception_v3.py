"""InceptionV3: modules of parallel branches that see windows of different sizes.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2015), Rethinking the Inception Architecture for
Computer Vision, https://arxiv.org/abs/1512.00567

The 94 convolutions have no names: weight files tell them by their numbers ("conv2d_17"), that
is by the order in which they are made here, which is Keras'.

>>> from minidl.applications import InceptionV3
>>> InceptionV3(weights=None, include_top=False, pooling="avg").count_params()
21802784
"""

from __future__ import annotations

from minidl import layers
from minidl.applications.pretrained import Architecture, assemble
from minidl.models.model import Model

__all__ = ["InceptionV3"]


def InceptionV3(
    weights="imagenet", include_top=True, input_shape=None, pooling=None, classes=1000,
    classifier_activation="softmax", *, include_preprocessing=True, until=None,
    name="inception_v3",
) -> Model:  # fmt: skip
    """Return the network, by default as it was trained on ImageNet.

    The arguments are those of :func:`~minidl.applications.VGG16`; here the top takes images of
    any size from 75x75, though it knows those of 299x299 best.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: images must have gone through ``imagenet.preprocess_input(x, mode="tf")``.
    until : str, optional
        The modules are called "mixed0" to "mixed10".
    name : str

    Raises
    ------
    ValueError
        For arguments that are wrong or contradict one another.
    FileNotFoundError
        If there is no weight file of that name.
    FileFormatError
        If the file's weights are not those of this network.

    Examples
    --------
    >>> from minidl.applications import InceptionV3
    >>> InceptionV3(weights=None, input_shape=(299, 299, 3), until="mixed7").output_shape
    (None, 17, 17, 768)
    """
    return assemble(
        ARCHITECTURE, weights, include_top, input_shape, pooling, classes, classifier_activation,
        include_preprocessing, until, name,
    )  # fmt: skip


def _body(x, conv):  # sizes in comments: for images of 299x299
    x = _chain(x, conv, (32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3))
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = _chain(x, conv, (80, 1, 1, "valid"), (192, 3, 1, "valid"))
    x = layers.MaxPooling2D(3, strides=2)(x)  # 35x35
    for i, pooled in enumerate((32, 64, 64)):
        x = _small_windows(x, conv, f"mixed{i}", pooled)
    x = _to_17x17(x, conv, "mixed3")
    for i, channels in enumerate((128, 160, 160, 192), start=4):
        x = _long_windows(x, conv, f"mixed{i}", channels)
    x = _to_8x8(x, conv, "mixed8")
    for i in range(2):
        x = _wide(x, conv, f"mixed{9 + i}", f"mixed9_{i}")
    return x


def _small_windows(x, conv, name, pooled):
    """Two 3x3 windows, one above the other, see as much as one of 5x5."""
    branches = [
        _chain(x, conv, (64, 1)),
        _chain(x, conv, (48, 1), (64, 5)),
        _chain(x, conv, (64, 1), (96, 3), (96, 3)),
        _chain(_average(x), conv, (pooled, 1)),
    ]
    return layers.Concatenate(name=name)(branches)


def _to_17x17(x, conv, name):
    """Halve the image by convolution and by pooling at once."""
    branches = [
        _chain(x, conv, (384, 3, 2, "valid")),
        _chain(x, conv, (64, 1), (96, 3), (96, 3, 2, "valid")),
        layers.MaxPooling2D(3, strides=2)(x),
    ]
    return layers.Concatenate(name=name)(branches)


def _long_windows(x, conv, name, channels):
    """A 7x7 window as a row and a column."""
    row, column = (channels, (1, 7)), (channels, (7, 1))
    branches = [
        _chain(x, conv, (192, 1)),
        _chain(x, conv, (channels, 1), row, (192, (7, 1))),
        _chain(x, conv, (channels, 1), column, row, column, (192, (1, 7))),
        _chain(_average(x), conv, (192, 1)),
    ]
    return layers.Concatenate(name=name)(branches)


def _to_8x8(x, conv, name):
    branches = [
        _chain(x, conv, (192, 1), (320, 3, 2, "valid")),
        _chain(x, conv, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "valid")),
        layers.MaxPooling2D(3, strides=2)(x),
    ]
    return layers.Concatenate(name=name)(branches)


def _wide(x, conv, name, name_of_fork):
    """A 3x3 window as a row beside a column."""
    branches = [
        _chain(x, conv, (320, 1)),
        _fork(_chain(x, conv, (384, 1)), conv, name_of_fork),
        _fork(_chain(x, conv, (448, 1), (384, 3)), conv),
        _chain(_average(x), conv, (192, 1)),
    ]
    return layers.Concatenate(name=name)(branches)


def _fork(x, conv, name=None):
    sides = [_chain(x, conv, (384, (1, 3))), _chain(x, conv, (384, (3, 1)))]
    return layers.Concatenate(name=name)(sides)


def _average(x):
    return layers.AveragePooling2D(3, strides=1, padding="same")(x)


def _chain(x, conv, *units):
    """Add convolutions, one after the other, each with its BatchNormalization and ReLU."""
    for unit in units:
        x = _unit(x, conv, *unit)
    return x


def _unit(x, conv, filters, size, strides=1, padding="same"):
    x = conv(filters, size, strides, padding, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    return layers.Activation("relu")(x)


def _top(classes, activation, dense):
    return [
        layers.GlobalAveragePooling2D(name="avg_pool"),
        dense(classes, activation=activation, name="predictions"),
    ]


ARCHITECTURE = Architecture(
    key="inception_v3",
    body=_body,
    top=_top,
    default_size=299,
    minimum_size=75,
    mode="tf",
    features=(8, 8, 2048),
)
