"""Well-known networks of PyTorch: each layer has one name in minidl, and every tensor its place."""

import numpy as np
import pytest
from support.keras_files import random_layers
from support.pytorch_files import as_state_dict, torch_bytes
from support.tiny import refused

from minidl import applications
from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.renaming import minidl_names

LITE = {
    "EfficientNetLite0": (1, 2, 2, 3, 3, 4, 1),
    "EfficientNetLite1": (1, 3, 3, 4, 4, 5, 1),
    "EfficientNetLite2": (1, 3, 3, 4, 4, 5, 1),
}


def package_names(depths):
    """Return the names of the package's state dict by minidl's, written out block by block."""
    table = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head"}
    table |= {"top_bn": "_bn1", "predictions": "_fc"}
    parts = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv"}
    parts |= {"bn": "_bn1", "project_conv": "_project_conv", "project_bn": "_bn2"}
    number = 0
    for stage, depth in enumerate(depths, start=1):
        for letter in "abcdefg"[:depth]:
            for ours, theirs in parts.items():
                table[f"block{stage}{letter}_{ours}"] = f"_blocks.{number}.{theirs}"
            number += 1
    return table


def timm_names(depths):
    """Return the names of timm's state dict by minidl's."""
    table = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head"}
    table |= {"top_bn": "bn2", "predictions": "classifier"}
    first = {"dwconv": "conv_dw", "bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
    other = {"expand_conv": "conv_pw", "expand_bn": "bn1", "dwconv": "conv_dw", "bn": "bn2"}
    other |= {"project_conv": "conv_pwl", "project_bn": "bn3"}
    for stage, depth in enumerate(depths):
        for index in range(depth):
            for ours, theirs in (other if stage else first).items():
                table[f"block{stage + 1}{'abcdefg'[index]}_{ours}"] = (
                    f"blocks.{stage}.{index}.{theirs}"
                )
    return table


@pytest.mark.parametrize("names_of", [package_names, timm_names])
@pytest.mark.parametrize("network", LITE)
def test_efficientnet_lite_loads_from_both_naming_schemes(tmp_path, network, names_of):
    model = getattr(applications, network)(weights=None, classes=10)
    names = names_of(LITE[network])
    content = random_layers(model)
    path = tmp_path / "lite.pth"
    path.write_bytes(torch_bytes(as_state_dict(content, names.get), legacy=True))
    model.load_weights(path)
    for layer, (_, arrays) in zip(model.layers, content, strict=True):
        for parameter in layer.weights:
            np.testing.assert_array_equal(parameter.value, arrays[parameter.name])
    # No two layers of the file may get one name.
    known = minidl_names([names[name] for name, arrays in content if arrays])
    assert sorted(known.values()) == sorted(name for name, arrays in content if arrays)


def test_a_network_without_its_top_takes_the_complete_file(tmp_path):
    whole = applications.EfficientNetLite0(weights=None)
    names = package_names(LITE["EfficientNetLite0"])
    tensors = as_state_dict(random_layers(whole), names.get)
    path = tmp_path / "lite0.pth"
    path.write_bytes(torch_bytes(tensors))
    base = applications.EfficientNetLite0(weights=path, include_top=False, until="block3b_add")
    kernel = tensors["_blocks.4._project_conv.weight"]
    (found,) = (layer for layer in base.layers if layer.name == "block3b_project_conv")
    np.testing.assert_array_equal(found.get_weights()[0], kernel.transpose(2, 3, 1, 0))


def test_another_network_is_refused_with_the_difference(tmp_path):
    names = package_names(LITE["EfficientNetLite1"])
    tensors = as_state_dict(
        random_layers(applications.EfficientNetLite1(weights=None, classes=10)), names.get
    )
    path = tmp_path / "lite1.pth"
    path.write_bytes(torch_bytes(tensors))
    with refused(FileFormatError, "PyTorch", "unexpected layers", "_blocks.3._expand_conv"):
        applications.EfficientNetLite0(weights=path, classes=10)


def test_other_networks_keep_their_names():
    assert minidl_names(["conv1", "fc", "blocks.0.1.conv_pw"]) == {}
