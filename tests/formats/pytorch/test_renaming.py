"""Well-known networks of PyTorch: each layer has one name in minidl, and every tensor its place."""

import numpy as np
import pytest
from support.keras_files import random_layers
from support.pytorch_files import as_state_dict, package_names, timm_names, torch_bytes
from support.tiny import refused

from minidl import applications
from minidl.cli.weights import convert_weights
from minidl.common.errors import FileFormatError
from minidl.formats.pytorch.renaming import minidl_names

LITE = {
    "EfficientNetLite0": (1, 2, 2, 3, 3, 4, 1),
    "EfficientNetLite1": (1, 3, 3, 4, 4, 5, 1),
    "EfficientNetLite2": (1, 3, 3, 4, 4, 5, 1),
}


@pytest.mark.parametrize("names_of", [package_names, timm_names])
@pytest.mark.parametrize("network", LITE)
def test_efficientnet_lite_loads_from_both_naming_schemes(tmp_path, network, names_of):
    model = getattr(applications, network)(weights=None, classes=10)
    names = names_of(LITE[network])
    content = random_layers(model)
    path = tmp_path / "lite.pth"
    path.write_bytes(torch_bytes(as_state_dict(content, names.get), legacy=True))
    if names_of is timm_names:
        with pytest.warns(UserWarning, match="tf_efficientnet_lite.*padding and the epsilon"):
            model.load_weights(path)
    else:
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


def test_a_converted_file_still_fits(tmp_path):
    model = applications.EfficientNetLite0(weights=None, classes=10)
    names = package_names(LITE["EfficientNetLite0"])
    content = random_layers(model)
    (tmp_path / "lite0.pth").write_bytes(torch_bytes(as_state_dict(content, names.get)))
    convert_weights(tmp_path / "lite0.pth", tmp_path / "lite0.h5")
    model.load_weights(tmp_path / "lite0.h5")
    kernel = dict(content)["block3a_dwconv"]["kernel"]
    np.testing.assert_array_equal(model.get_layer("block3a_dwconv").get_weights()[0], kernel)


def test_another_network_is_refused_with_the_difference(tmp_path):
    names = package_names(LITE["EfficientNetLite1"])
    tensors = as_state_dict(
        random_layers(applications.EfficientNetLite1(weights=None, classes=10)), names.get
    )
    path = tmp_path / "lite1.pth"
    path.write_bytes(torch_bytes(tensors))
    with refused(FileFormatError, "PyTorch", "unexpected layers", "_blocks.3._expand_conv"):
        applications.EfficientNetLite0(weights=path, classes=10)


def torchvision_names(depths, convolutions):
    """Return the names of torchvision's ResNets by minidl's."""
    table = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}
    for stage, depth in enumerate(depths, start=1):
        for index in range(depth):
            ours, theirs = f"conv{stage + 1}_block{index + 1}", f"layer{stage}.{index}"
            table[f"{ours}_0_conv"] = f"{theirs}.downsample.0"
            table[f"{ours}_0_bn"] = f"{theirs}.downsample.1"
            for i in range(1, convolutions + 1):
                table[f"{ours}_{i}_conv"] = f"{theirs}.conv{i}"
                table[f"{ours}_{i}_bn"] = f"{theirs}.bn{i}"
    return table


RESNETS = {
    "resnet18": (applications.ResNet18, {}, (2, 2, 2, 2), 2),
    "resnet34": (applications.ResNet34, {}, (3, 4, 6, 3), 2),
    "resnet50": (applications.ResNet50, {"variant": "torchvision"}, (3, 4, 6, 3), 3),
}


@pytest.mark.parametrize(
    ("build", "options", "depths", "convolutions"), RESNETS.values(), ids=RESNETS
)
def test_resnets_load_from_torchvision(tmp_path, build, options, depths, convolutions):
    model = build(weights=None, classes=10, **options)
    content, names = random_layers(model), torchvision_names(depths, convolutions)
    path = tmp_path / "resnet.pth"
    path.write_bytes(torch_bytes(as_state_dict(content, names.get)))
    loaded = build(weights=path, classes=10, **options)
    for layer, (_, arrays) in zip(loaded.layers, content, strict=True):
        for parameter in layer.weights:
            np.testing.assert_array_equal(parameter.value, arrays[parameter.name])


def test_torchvisions_resnet50_does_not_fit_the_keras_network(tmp_path):
    """The layers have the same names, but stride and biases differ."""
    source = applications.ResNet50(weights=None, classes=10, variant="torchvision")
    names = torchvision_names((3, 4, 6, 3), 3)
    path = tmp_path / "resnet50.pth"
    path.write_bytes(torch_bytes(as_state_dict(random_layers(source), names.get)))
    with refused(FileFormatError, "conv1_conv", "missing tensor 'bias'"):
        applications.ResNet50(weights=path, classes=10)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["features.0.0", "features.18.0"], ["torchvision's MobileNetV2", "pads other sides"]),
        (["features.0", "classifier.6"], ["VGG", "preprocessing"]),
        (["_conv_stem", "_blocks.0._se_reduce"], ["squeeze-and-excitation"]),
    ],
)
def test_similar_networks_are_refused_with_the_difference(tmp_path, layers, words):
    path = tmp_path / "other.pth"
    path.write_bytes(torch_bytes({f"{name}.bias": np.ones(3, "f4") for name in layers}))
    with refused(FileFormatError, "it seems to hold", *words):
        applications.MobileNetV2(weights=path)


def test_other_networks_keep_their_names():
    assert minidl_names(["conv1", "fc", "blocks.0.1.conv_pw"]) == {}
