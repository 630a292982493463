"""ResNet50: sixteen residual blocks of three convolutions, pretrained on ImageNet.

He, Zhang, Ren and Sun (2015), Deep Residual Learning for Image Recognition,
https://arxiv.org/abs/1512.03385 (table 1)

As in the authors' and in Keras' network, the first 1x1 convolution of a stage halves the image;
in torchvision's, the 3x3 convolution does.

>>> from minidl.applications import ResNet50
>>> ResNet50(weights=None, include_top=False, pooling="avg").count_params()
23587712
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

__all__ = ["ResNet50"]

# Channels of the 3x3 convolutions (the output of a block has four times as many), number of
# blocks, stride of the first block.
STAGES = {"conv2": (64, 3, 1), "conv3": (128, 4, 2), "conv4": (256, 6, 2), "conv5": (512, 3, 2)}
EPSILON = 1.001e-5


def ResNet50(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "resnet50",
) -> Model:
    """Return the network, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: the images are preprocessed by ``imagenet.preprocess_input(x, mode="caffe")``.
    until : str, optional
        The last layer of a block has a name such as "conv4_block6_out".
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
    >>> from minidl.applications import ResNet50
    >>> ResNet50(weights=None, include_top=False, until="conv3_block4_out").output_shape
    (None, None, None, 512)
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
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = conv(64, 7, strides=2, name="conv1_conv")(x)
    x = _normalized(x, "conv1")
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, (channels, depth, stride) in STAGES.items():
        x = _block(x, conv, channels, f"{stage}_block1", stride, project=True)
        for i in range(2, depth + 1):
            x = _block(x, conv, channels, f"{stage}_block{i}")
    return x


def _block(
    x: SymbolicTensor,
    conv: LayerFactory,
    channels: int,
    name: str,
    stride: int = 1,
    project: bool = False,
) -> SymbolicTensor:
    """Append a residual block; its shortcut is `x` or a projection of `x`."""
    shortcut = x
    if project:
        shortcut = conv(4 * channels, 1, strides=stride, name=f"{name}_0_conv")(x)
        shortcut = _normalized(shortcut, f"{name}_0")
    x = conv(channels, 1, strides=stride, name=f"{name}_1_conv")(x)
    x = _normalized(x, f"{name}_1")
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = conv(channels, 3, padding="same", name=f"{name}_2_conv")(x)
    x = _normalized(x, f"{name}_2")
    x = layers.Activation("relu", name=f"{name}_2_relu")(x)
    x = conv(4 * channels, 1, name=f"{name}_3_conv")(x)
    x = _normalized(x, f"{name}_3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _normalized(x: SymbolicTensor, name: str) -> SymbolicTensor:
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


ARCHITECTURE = Architecture(
    key="resnet50",
    body=_body,
    top=pooled_top,
    default_size=224,
    minimum_size=32,
    mode="caffe",
    features=(7, 7, 2048),
    pooling_names={"avg": "avg_pool", "max": "max_pool"},
)
