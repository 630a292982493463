"""ResNet50: sixteen blocks of three convolutions, each with a way round it.

He, Zhang, Ren and Sun (2015), Deep Residual Learning for Image Recognition,
https://arxiv.org/abs/1512.03385 (table 1)

As in the authors' own network and in Keras', a stage halves the image in its first 1x1
convolution; torchvision's does it in the 3x3.

>>> from minidl.applications import ResNet50
>>> ResNet50(weights=None, include_top=False, pooling="avg").count_params()
23587712
"""

from __future__ import annotations

from minidl import layers
from minidl.applications.pretrained import Architecture, assemble
from minidl.models.model import Model

__all__ = ["ResNet50"]

# Channels of the 3x3 convolutions (a block puts out four times as many), blocks, first stride.
STAGES = {"conv2": (64, 3, 1), "conv3": (128, 4, 2), "conv4": (256, 6, 2), "conv5": (512, 3, 2)}
EPSILON = 1.001e-5


def ResNet50(
    weights="imagenet", include_top=True, input_shape=None, pooling=None, classes=1000,
    classifier_activation="softmax", *, include_preprocessing=True, until=None, name="resnet50",
) -> Model:  # fmt: skip
    """Return the network, by default as it was trained on ImageNet.

    The arguments are those of :func:`~minidl.applications.VGG16`; here the top takes images of
    any size from 32x32, though it knows those of 224x224 best.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: images must have gone through ``imagenet.preprocess_input(x, mode="caffe")``.
    until : str, optional
        A block's last layer is called "conv4_block6_out".
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
    >>> from minidl.applications import ResNet50
    >>> ResNet50(weights=None, include_top=False, until="conv3_block4_out").output_shape
    (None, None, None, 512)
    """
    return assemble(
        ARCHITECTURE, weights, include_top, input_shape, pooling, classes, classifier_activation,
        include_preprocessing, until, name,
    )  # fmt: skip


def _body(x, conv):
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


def _block(x, conv, channels, name, stride=1, project=False):
    """Add three convolutions, and around them `x` itself or a projection of it."""
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


def _normalized(x, name):
    return layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)


def _top(classes, activation, dense):
    return [
        layers.GlobalAveragePooling2D(name="avg_pool"),
        dense(classes, activation=activation, name="predictions"),
    ]


ARCHITECTURE = Architecture(
    key="resnet50",
    body=_body,
    top=_top,
    default_size=224,
    minimum_size=32,
    mode="caffe",
    features=(7, 7, 2048),
    pooling_names={"avg": "avg_pool", "max": "max_pool"},
)
