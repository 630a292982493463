"""VGG16: thirteen 3x3 convolutions, one after the other.

Simonyan and Zisserman (2014), Very Deep Convolutional Networks for Large-Scale Image
Recognition, https://arxiv.org/abs/1409.1556 (configuration D)

>>> from minidl.applications import VGG16
>>> VGG16(weights=None, include_top=False, pooling="avg").count_params()
14714688
"""

from __future__ import annotations

from minidl import layers
from minidl.applications.pretrained import Architecture, assemble
from minidl.models.model import Model

__all__ = ["VGG16"]

# Channels, and how many convolutions: each block ends with a pooling that halves the image.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def VGG16(
    weights="imagenet", include_top=True, input_shape=None, pooling=None, classes=1000,
    classifier_activation="softmax", *, include_preprocessing=True, until=None, name="vgg16",
) -> Model:  # fmt: skip
    """Return the network, by default as it was trained on ImageNet.

    Keras' function of this name takes `include_top` before `weights`; with names given, as is
    usual, a call means the same in both.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
        "imagenet": the official ones, downloaded once; None: random ones.
    include_top : bool
        Whether the classifier is part of the network.
    input_shape : (H, W, 3), optional
        Of one image; at least 32x32. H and W may be None without the top. By default
        (224, 224, 3) with the top and any size without it.
    pooling : {None, "avg", "max"}
        Without the top: whether the features are pooled over the image, (N, H, W, C) -> (N, C).
    classes : int
        Of the top; 1000 for the ImageNet weights.
    classifier_activation : str or None
        Of the top; None gives the logits.
    include_preprocessing : bool
        True: the network takes raw RGB images (0..255). False, Keras' way: they must have gone
        through ``imagenet.preprocess_input(x, mode="caffe")``.
    until : str, optional
        Cut the network after the layer of this name, and leave out what comes later; the weight
        file may lack it. `pooling` then follows.
    name : str

    Returns
    -------
    Model
        Its ``metadata["class_names"]`` are ImageNet's where it classifies with their weights.

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
    >>> from minidl.applications import VGG16
    >>> VGG16(weights=None, input_shape=(150, 150, 3), until="block4_pool").output_shape
    (None, 9, 9, 512)
    """
    return assemble(
        ARCHITECTURE, weights, include_top, input_shape, pooling, classes, classifier_activation,
        include_preprocessing, until, name,
    )  # fmt: skip


def _body(x, conv):
    for block, (channels, depth) in enumerate(BLOCKS, start=1):
        for i in range(1, depth + 1):
            name = f"block{block}_conv{i}"
            x = conv(channels, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def _top(classes, activation, dense):
    return [
        layers.Flatten(name="flatten"),
        dense(4096, activation="relu", name="fc1"),
        dense(4096, activation="relu", name="fc2"),
        dense(classes, activation=activation, name="predictions"),
    ]


ARCHITECTURE = Architecture(
    key="vgg16",
    body=_body,
    top=_top,
    default_size=224,
    minimum_size=32,
    mode="caffe",
    features=(7, 7, 512),
)
