"""VGG16: thirteen 3x3 convolutions in sequence, pretrained on ImageNet.

Simonyan and Zisserman (2014), Very Deep Convolutional Networks for Large-Scale Image
Recognition, https://arxiv.org/abs/1409.1556 (configuration D)

>>> from minidl.applications import VGG16
>>> VGG16(weights=None, include_top=False, pooling="avg").count_params()
14714688
"""

from __future__ import annotations

from typing import Any

from minidl import layers
from minidl.applications.pretrained import Architecture, LayerFactory, NetworkOptions, assemble
from minidl.formats.file_errors import StrPath
from minidl.layers.base import Layer
from minidl.layers.symbolic import SymbolicTensor
from minidl.models.model import Model

__all__ = ["VGG16"]

# Channels and number of convolutions of each block; a pooling at its end halves the image.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def VGG16(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "vgg16",
) -> Model:
    """Return the network, by default with its ImageNet weights.

    Keras' function has `include_top` before `weights`; calls with argument names mean the same in
    both.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
        "imagenet": the official weights, downloaded once; None: random weights.
    include_top : bool
        Whether the network includes the classifier.
    input_shape : (H, W, 3), optional
        Shape of one image, at least 32x32 pixels. Without the top, H and W may be None. By
        default (224, 224, 3) with the top and any size without it.
    pooling : {None, "avg", "max"}
        Without the top: global pooling of the features, (N, H, W, C) -> (N, C).
    classes : int
        Number of outputs of the classifier; 1000 for the ImageNet weights.
    classifier_activation : str or None
        Activation of the classifier; None gives the logits.
    include_preprocessing : bool
        True: the network takes raw RGB images (0-255). False, as in Keras: they are preprocessed
        by ``imagenet.preprocess_input(x, mode="caffe")``.
    until : str, optional
        Cut the network after the layer of this name; the weight file may lack the later layers.
        `pooling` then follows.
    name : str
        Name of the model.

    Returns
    -------
    Model
        Its ``metadata["class_names"]`` are ImageNet's, if it classifies with their weights.

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
    >>> from minidl.applications import VGG16
    >>> VGG16(weights=None, input_shape=(150, 150, 3), until="block4_pool").output_shape
    (None, 9, 9, 512)
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
    for block, (channels, depth) in enumerate(BLOCKS, start=1):
        for i in range(1, depth + 1):
            name = f"block{block}_conv{i}"
            x = conv(channels, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return x


def _top(classes: int, activation: Any, dense: LayerFactory) -> list[Layer]:
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
