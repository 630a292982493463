"""MobileNetV3: inverted residual blocks found by architecture search, pretrained on ImageNet.

Howard et al. (2019), Searching for MobileNetV3, https://arxiv.org/abs/1905.02244 (tables 1 and 2)

>>> from minidl.applications import MobileNetV3Large, MobileNetV3Small
>>> MobileNetV3Small(weights=None, include_top=False, pooling="avg").count_params()
939120
>>> MobileNetV3Large(weights=None, include_top=False, pooling="avg").count_params()
2996352
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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

__all__ = ["MobileNetV3Large", "MobileNetV3Small"]

RELU, HARD_SWISH = layers.ReLU, partial(layers.Activation, "hard_swish")


@dataclass(frozen=True)
class _Block:
    """One row of the paper's tables."""

    expansion: float
    channels: int
    size: int
    strides: int
    has_gate: bool
    is_late: bool  # hard swish instead of ReLU


LARGE = (
    _Block(1, 16, 3, 1, False, False),
    _Block(4, 24, 3, 2, False, False),
    _Block(3, 24, 3, 1, False, False),
    _Block(3, 40, 5, 2, True, False),
    _Block(3, 40, 5, 1, True, False),
    _Block(3, 40, 5, 1, True, False),
    _Block(6, 80, 3, 2, False, True),
    _Block(2.5, 80, 3, 1, False, True),
    _Block(2.3, 80, 3, 1, False, True),
    _Block(2.3, 80, 3, 1, False, True),
    _Block(6, 112, 3, 1, True, True),
    _Block(6, 112, 3, 1, True, True),
    _Block(6, 160, 5, 2, True, True),
    _Block(6, 160, 5, 1, True, True),
    _Block(6, 160, 5, 1, True, True),
)
SMALL = (
    _Block(1, 16, 3, 2, True, False),
    _Block(72 / 16, 24, 3, 2, False, False),
    _Block(88 / 24, 24, 3, 1, False, False),
    _Block(4, 40, 5, 2, True, True),
    _Block(6, 40, 5, 1, True, True),
    _Block(6, 40, 5, 1, True, True),
    _Block(3, 48, 5, 1, True, True),
    _Block(3, 48, 5, 1, True, True),
    _Block(6, 96, 5, 2, True, True),
    _Block(6, 96, 5, 1, True, True),
    _Block(6, 96, 5, 1, True, True),
)


def MobileNetV3Small(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "mobilenet_v3_small",
    alpha: float = 1.0,
    minimalistic: bool = False,
) -> Model:
    """Return the small network; the parameters are those of :func:`MobileNetV3Large`.

    Examples
    --------
    >>> MobileNetV3Small(weights=None, include_top=False, until="expanded_conv_10_add").output_shape
    (None, None, None, 96)
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
    return assemble(architecture("small", alpha, minimalistic), options)


def MobileNetV3Large(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "mobilenet_v3_large",
    alpha: float = 1.0,
    minimalistic: bool = False,
) -> Model:
    """Return the large network, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`, `alpha` and `minimalistic`.

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
        The last layer of a block has a name such as "expanded_conv_14_add" or
        "expanded_conv_12_project_bn".
    name : str
    alpha : float
        Factor on the numbers of channels. There are ImageNet weights for 0.75 and 1.0.
    minimalistic : bool
        Without hard swish, squeeze-and-excitation and kernels of 5x5.

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
    >>> MobileNetV3Large(weights=None, minimalistic=True).count_params()
    3948688
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
    return assemble(architecture("large", alpha, minimalistic), options)


def _body(
    x: SymbolicTensor, conv: LayerFactory, blocks: tuple[_Block, ...], alpha: float
) -> SymbolicTensor:
    relu = MobileUnits(conv, RELU, momentum=0.999)
    late = replace(relu, activation=HARD_SWISH) if any(b.is_late for b in blocks) else relu
    x = late.conv(x, 16, 3, 2, ("conv", "conv_bn", ""))
    for i, block in enumerate(blocks):
        name = f"expanded_conv_{i}_" if i else "expanded_conv_"
        x = _append(x, late if block.is_late else relu, block, name, alpha)
    return late.conv(x, _features(blocks, alpha), 1, 1, ("conv_1", "conv_1_bn", ""))


def _append(
    x: SymbolicTensor, units: MobileUnits, block: _Block, name: str, alpha: float
) -> SymbolicTensor:
    """Append an inverted residual block: expand, filter each channel, gate, project."""
    start, expanded = x, make_divisible(x.shape[-1] * block.expansion)
    if name != "expanded_conv_":
        x = units.conv(x, expanded, 1, 1, (f"{name}expand", f"{name}expand_bn", ""))
    names = (f"{name}depthwise", f"{name}depthwise_bn", "")
    x = units.depthwise(x, block.size, block.strides, names, pad_name=f"{name}depthwise_pad")
    if block.has_gate:
        prefix = f"{name}squeeze_excite_"
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{prefix}avg_pool")(x)
        gate = units.gate(gate, make_divisible(expanded / 4), "relu", f"{prefix}conv")
        gate = units.gate(gate, expanded, "hard_sigmoid", f"{prefix}conv_1")
        x = layers.Multiply(name=f"{prefix}mul")([x, gate])
    channels = make_divisible(block.channels * alpha)
    x = units.conv(x, channels, 1, 1, (f"{name}project", f"{name}project_bn", None))
    if block.strides == 1 and channels == start.shape[-1]:
        x = layers.Add(name=f"{name}add")([start, x])
    return x


def _top(
    classes: int, activation: Any, dense: LayerFactory, width: int, hidden: Callable[[], Layer]
) -> list[Layer]:
    """Return the classifier of convolutions, whose hidden layer has `width` channels."""
    return [
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Conv2D(width, 1, padding="same", name="conv_2"),
        hidden(),
        layers.Dropout(0.2),
        layers.Conv2D(classes, 1, padding="same", name="logits"),
        layers.Flatten(),
        layers.Activation(activation, name="predictions"),
    ]


def _features(blocks: tuple[_Block, ...], alpha: float) -> int:
    """Return the number of channels of the last convolution."""
    return make_divisible(6 * make_divisible(blocks[-1].channels * alpha))


def architecture(size: str, alpha: float = 1.0, minimalistic: bool = False) -> Architecture:
    """Return the description of the network of a `size` ("small" or "large")."""
    blocks: tuple[_Block, ...] = SMALL if size == "small" else LARGE
    if minimalistic:
        blocks = tuple(replace(b, size=3, has_gate=False, is_late=False) for b in blocks)
    width = 1024 if size == "small" else 1280
    hidden: Callable[[], Layer] = RELU if minimalistic else HARD_SWISH
    return Architecture(
        key=f"mobilenet_v3_{size}{'_minimalistic' * minimalistic}_{alpha}",
        body=partial(_body, blocks=blocks, alpha=alpha),
        top=partial(_top, width=make_divisible(width * max(alpha, 1.0)), hidden=hidden),
        default_size=224,
        minimum_size=32,
        mode="tf",
        features=(7, 7, _features(blocks, alpha)),
        pooling_names={"avg": "avg_pool", "max": "max_pool"},
    )
