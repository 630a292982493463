"""MobileNetV2: inverted residual blocks with linear bottlenecks, pretrained on ImageNet.

Sandler, Howard, Zhu, Zhmoginov and Chen (2018), MobileNetV2: Inverted Residuals and Linear
Bottlenecks, https://arxiv.org/abs/1801.04381 (table 2)

>>> from minidl.applications import MobileNetV2
>>> MobileNetV2(weights=None, include_top=False, pooling="avg").count_params()
2257984
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import layers
from minidl.applications.mobile_blocks import MobileUnits, make_divisible
from minidl.applications.pretrained import Architecture, LayerFactory, NetworkOptions, assemble
from minidl.common.argument_checks import check_number
from minidl.formats.file_errors import StrPath
from minidl.layers.base import Layer
from minidl.layers.symbolic import SymbolicTensor
from minidl.models.model import Model

__all__ = ["MobileNetV2"]

# Expansion factor, channels, number of blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # those with official weights
RELU6 = partial(layers.ReLU, max_value=6)


def MobileNetV2(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "mobilenet_v2",
    alpha: float = 1.0,
) -> Model:
    """Return the network, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`, and `alpha`.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
        For images whose size is unknown, the layers pad as for even sizes.
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: the images are preprocessed by ``imagenet.preprocess_input(x, mode="tf")``.
    until : str, optional
        The last layer of a block has a name such as "block_5_add" or "block_6_project_BN".
    name : str
    alpha : float
        Factor on the numbers of channels. There are ImageNet weights for 0.35, 0.5, 0.75, 1.0, 1.3
        and 1.4.

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
    >>> from minidl.applications import MobileNetV2
    >>> MobileNetV2(weights=None, alpha=0.35, input_shape=(96, 96, 3)).count_params()
    1691208
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
    alpha = check_number(name, "alpha", alpha, 0, exclusive="minimum")
    return assemble(architecture(alpha), options)


def _body(x: SymbolicTensor, conv: LayerFactory, alpha: float) -> SymbolicTensor:
    units = MobileUnits(conv, RELU6, momentum=0.999)
    x = units.conv(x, make_divisible(32 * alpha), 3, 2, ("Conv1", "bn_Conv1", "Conv1_relu"))
    number = 0
    for expansion, channels, depth, stride in STAGES:
        for i in range(depth):
            name = f"block_{number}_" if number else "expanded_conv_"
            filters = make_divisible(int(channels * alpha))
            x = _block(x, units, name, filters, expansion, stride if i == 0 else 1)
            number += 1
    names = ("Conv_1", "Conv_1_bn", "out_relu")
    return units.conv(x, _head(alpha), 1, 1, names, padding="valid")


def _block(
    x: SymbolicTensor, units: MobileUnits, name: str, channels: int, expansion: int, strides: int
) -> SymbolicTensor:
    """Append an inverted residual block: expand, filter each channel, project."""
    start = x
    if expansion != 1:
        names = (f"{name}expand", f"{name}expand_BN", f"{name}expand_relu")
        x = units.conv(x, expansion * x.shape[-1], 1, 1, names)
    names = (f"{name}depthwise", f"{name}depthwise_BN", f"{name}depthwise_relu")
    x = units.depthwise(x, 3, strides, names, pad_name=f"{name}pad")
    x = units.conv(x, channels, 1, 1, (f"{name}project", f"{name}project_BN", None))
    if strides == 1 and channels == start.shape[-1]:
        x = layers.Add(name=f"{name}add")([start, x])
    return x


def _head(alpha: float) -> int:
    """Return the channels of the last convolution, which a small `alpha` does not reduce."""
    return make_divisible(1280 * max(alpha, 1.0))


def _top(classes: int, activation: Any, dense: LayerFactory) -> list[Layer]:
    return [
        layers.GlobalAveragePooling2D(),
        dense(classes, activation=activation, name="predictions"),
    ]


def architecture(alpha: float = 1.0) -> Architecture:
    """Return the description of the network for a width factor."""
    return Architecture(
        key=f"mobilenet_v2_{alpha}",
        body=partial(_body, alpha=alpha),
        top=_top,
        default_size=224,
        minimum_size=32,
        mode="tf",
        features=(7, 7, _head(alpha)),
    )
