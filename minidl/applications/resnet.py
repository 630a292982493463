"""ResNet18, ResNet34 and ResNet50: residual blocks, pretrained on ImageNet.

He, Zhang, Ren and Sun (2015), Deep Residual Learning for Image Recognition,
https://arxiv.org/abs/1512.03385 (table 1)

There are two forms of the network, and weights of one are useless in the other:

=====================================  ============================  ===============================
..                                     Keras                         torchvision
=====================================  ============================  ===============================
the first block of a stage halves in   its first 1x1 convolution     its 3x3 convolution
convolutions                           with bias                     without bias
epsilon of BatchNormalization          1.001e-5                      1e-5
images                                 "caffe"                       "torch"
=====================================  ============================  ===============================

Both have the names of Keras' ResNet50. Module ``layer1.0`` of torchvision is ``conv2_block1``: its
``conv1``, ``bn1`` and ``downsample.0``, ``downsample.1`` are ``conv2_block1_1_conv``,
``conv2_block1_1_bn`` and ``conv2_block1_0_conv``, ``conv2_block1_0_bn``; ``fc`` is ``predictions``.

>>> from minidl.applications import ResNet18, ResNet50
>>> ResNet50(weights=None, include_top=False, pooling="avg").count_params()
23587712
>>> ResNet18(weights=None).count_params()
11699112
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from minidl import layers
from minidl.applications.pretrained import (
    Architecture,
    LayerFactory,
    NetworkOptions,
    assemble,
    pooled_top,
)
from minidl.common.argument_checks import check_choice
from minidl.formats.file_errors import StrPath
from minidl.layers.symbolic import SymbolicTensor
from minidl.models.model import Model

__all__ = ["ResNet18", "ResNet34", "ResNet50"]

CHANNELS = (64, 128, 256, 512)  # of the stages conv2 to conv5


def ResNet18(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "resnet18",
) -> Model:
    """Return torchvision's ResNet18; the parameters are those of :func:`ResNet50`.

    Examples
    --------
    >>> ResNet18(weights=None, include_top=False, until="conv4_block2_out").output_shape
    (None, None, None, 256)
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
    return assemble(RESNET18, options)


def ResNet34(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "resnet34",
) -> Model:
    """Return torchvision's ResNet34; the parameters are those of :func:`ResNet50`.

    Examples
    --------
    >>> ResNet34(weights=None).count_params()
    21814696
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
    return assemble(RESNET34, options)


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
    variant: str = "keras",
) -> Model:
    """Return the network, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`, and `variant`.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: the images are preprocessed by ``imagenet.preprocess_input(x, mode="caffe")``, or
        "torch" for torchvision's networks.
    until : str, optional
        The last layer of a block has a name such as "conv4_block6_out".
    name : str
    variant : {"keras", "torchvision"}
        The form of the network, which the weights determine.

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
    >>> ResNet50(weights=None, variant="torchvision").count_params()
    25610152
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
    check_choice(name, "variant", variant, ("keras", "torchvision"))
    return assemble(RESNET50 if variant == "keras" else RESNET50_TORCHVISION, options)


@dataclass(frozen=True)
class _Units:
    """Convolutions with BatchNormalization and ReLU, in the form of one library."""

    conv: LayerFactory
    is_torchvision: bool

    def append(
        self,
        x: SymbolicTensor,
        filters: int,
        size: int,
        stride: int,
        name: str,
        relu: bool = True,
    ) -> SymbolicTensor:
        """Append a convolution, padded by ``size // 2`` pixels on each side."""
        padding = "same" if size > 1 and stride == 1 else "valid"
        if size > 1 and stride > 1:
            pad_name = f"{name}_pad"
            x = layers.ZeroPadding2D(size // 2, name=pad_name)(x)
        x = self.conv(
            filters,
            size,
            strides=stride,
            padding=padding,
            use_bias=not self.is_torchvision,
            name=f"{name}_conv",
        )(x)
        x = self._normalization(f"{name}_bn")(x)
        return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x

    def _normalization(self, name: str) -> layers.BatchNormalization:
        if self.is_torchvision:
            return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)
        return layers.BatchNormalization(epsilon=1.001e-5, name=name)


def _body(
    x: SymbolicTensor,
    conv: LayerFactory,
    depths: tuple[int, ...],
    bottleneck: bool,
    is_torchvision: bool,
) -> SymbolicTensor:
    """Append all layers below the top; `depths` is the number of blocks of each stage."""
    units = _Units(conv, is_torchvision)
    x = units.append(x, 64, 7, 2, "conv1")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    block = _bottleneck if bottleneck else _basic_block
    for stage, (channels, depth) in enumerate(zip(CHANNELS, depths, strict=True), start=2):
        for i in range(1, depth + 1):
            stride = 2 if stage > 2 and i == 1 else 1
            x = block(x, units, channels, f"conv{stage}_block{i}", stride)
    return x


def _bottleneck(
    x: SymbolicTensor, units: _Units, channels: int, name: str, stride: int
) -> SymbolicTensor:
    """Append a 1x1, a 3x3 and a 1x1 convolution with a shortcut; 4 times `channels` come out."""
    first, second = (1, stride) if units.is_torchvision else (stride, 1)
    shortcut = _shortcut(x, units, 4 * channels, name, stride)
    x = units.append(x, channels, 1, first, f"{name}_1")
    x = units.append(x, channels, 3, second, f"{name}_2")
    x = units.append(x, 4 * channels, 1, 1, f"{name}_3", relu=False)
    return _add(shortcut, x, name)


def _basic_block(
    x: SymbolicTensor, units: _Units, channels: int, name: str, stride: int
) -> SymbolicTensor:
    """Append two 3x3 convolutions with a shortcut."""
    shortcut = _shortcut(x, units, channels, name, stride)
    x = units.append(x, channels, 3, stride, f"{name}_1")
    x = units.append(x, channels, 3, 1, f"{name}_2", relu=False)
    return _add(shortcut, x, name)


def _shortcut(
    x: SymbolicTensor, units: _Units, channels: int, name: str, stride: int
) -> SymbolicTensor:
    """Return `x`, or its projection if the block changes the shape."""
    if stride == 1 and x.shape[-1] == channels:
        return x
    return units.append(x, channels, 1, stride, f"{name}_0", relu=False)


def _add(shortcut: SymbolicTensor, x: SymbolicTensor, name: str) -> SymbolicTensor:
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _architecture(
    key: str, depths: tuple[int, ...], bottleneck: bool, is_torchvision: bool = True
) -> Architecture:
    return Architecture(
        key=key,
        body=partial(_body, depths=depths, bottleneck=bottleneck, is_torchvision=is_torchvision),
        top=pooled_top,
        default_size=224,
        minimum_size=32,
        mode="torch" if is_torchvision else "caffe",
        features=(7, 7, 2048 if bottleneck else 512),
        pooling_names={"avg": "avg_pool", "max": "max_pool"},
    )


RESNET18 = _architecture("resnet18", (2, 2, 2, 2), bottleneck=False)
RESNET34 = _architecture("resnet34", (3, 4, 6, 3), bottleneck=False)
RESNET50 = _architecture("resnet50", (3, 4, 6, 3), bottleneck=True, is_torchvision=False)
RESNET50_TORCHVISION = _architecture("resnet50_torchvision", (3, 4, 6, 3), bottleneck=True)
