"""inspect_weights: content of a file, the matching network, and mismatches."""

import hashlib
import json

import h5py
import numpy as np
import pytest
from support.keras_files import random_layers
from support.pytorch_files import (
    LITE0_DEPTHS,
    as_state_dict,
    package_names,
    safetensors_bytes,
    timm_names,
    torch_bytes,
)

from minidl import Input, Sequential, applications, layers
from minidl.common.errors import FileFormatError
from minidl.formats.downloads.registry import Entry
from minidl.io.inspection import Fit, inspect_weights


def write_keras2(path, model, change=None):
    """Write a file of zeros with the names and shapes of `model`, as Keras 2 does.

    ``change(tensors)`` may change the shapes, by name, before.
    """
    named = [layer for layer in model.layers if layer.parameters]
    tensors = {f"{p.layer.name}/{p.name}": p.shape for layer in named for p in layer.weights}
    if change:
        change(tensors)
    names = list(dict.fromkeys(name.split("/")[0] for name in tensors))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(names, "S")
        file.attrs["keras_version"] = np.bytes_("2.2.4")
        for layer in names:
            group = file.create_group(layer)
            own = [name for name in tensors if name.startswith(f"{layer}/")]
            group.attrs["weight_names"] = np.array([f"{name}:0" for name in own], "S")
            for name in own:
                zeros = np.zeros(tensors[name], np.float32)
                group.create_dataset(
                    f"{name}:0", data=zeros, compression="gzip", compression_opts=1
                )
    return path


def build(network, **options):
    return getattr(applications, network)(weights=None, **options)


@pytest.fixture(scope="module")
def inception():
    return build("InceptionV3", include_top=False, until="mixed1")


# What fits


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_pytorchs_files_fit_networks_with_depthwise_convolutions(tmp_path, form):
    """Their depthwise kernels have another shape than the layers'."""
    model = build("EfficientNetLite0", classes=7)
    content = as_state_dict(random_layers(model), package_names(LITE0_DEPTHS).get)
    path = tmp_path / "lite0.pth"
    if form == "safetensors":
        path.write_bytes(safetensors_bytes(content))
    else:
        path.write_bytes(torch_bytes(content, form == "legacy"))
    report = inspect_weights(path)
    assert report.fits == [Fit("EfficientNetLite0", include_top=True, classes=7)]
    assert len(report.ignored) == 49
    assert "Ignored, because not weights: 49 num_batches_tracked" in str(report)
    assert (report.official, report.caution) == (None, "")


def test_names_of_timm_leave_the_network_open(tmp_path):
    model = build("EfficientNetLite0", include_top=False)
    path = tmp_path / "lite0.pth"
    names = timm_names(LITE0_DEPTHS)
    path.write_bytes(torch_bytes(as_state_dict(random_layers(model), names.get)))
    report = inspect_weights(path)
    assert report.fits == [Fit("EfficientNetLite0", include_top=False)]
    assert "Caution: timm gives its tf_efficientnet_lite and" in str(report)


def test_an_official_file_is_shown_with_license_and_source(tmp_path, monkeypatch):
    path = tmp_path / "small.h5"
    Sequential([Input((2,)), layers.Dense(3, name="head")]).save_weights(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = Entry("net", "https://example.org/net.h5", sha256=sha256, license="Apache 2.0")
    monkeypatch.setattr("minidl.formats.downloads.registry.load_registry", lambda: {"net": entry})
    report = inspect_weights(path)
    assert report.official == entry
    assert "license Apache 2.0, from https://example.org/net.h5" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["official"]["key"] == "net"


def test_the_real_file_is_inception_up_to_mixed8(shared_data):
    path = next((shared_data / "weights").glob("inception_v3*mixed8.h5"))
    report = inspect_weights(path)
    assert report.fits == [Fit("InceptionV3", include_top=False, until="mixed8")]
    assert report.nearest is None
    assert report.parameters == sum(
        p.value.size for p in build("InceptionV3", include_top=False, until="mixed8").weights
    )
    kernel = next(layer for layer in report.layers if layer.name == "conv2d_1").tensors["kernel"]
    assert (kernel.shape, kernel.dtype) == ((3, 3, 3, 32), "float32")
    text = str(report)
    assert "conv2d_1/kernel" in text
    call = f"InceptionV3(weights={str(path)!r}, include_top=False, until='mixed8')"
    assert text.endswith(f"Fits InceptionV3 up to mixed8: {call}")


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        ("VGG16", {"include_top": False}, "VGG16 without its top"),
        ("VGG16", {"include_top": False, "until": "block3_pool"}, "VGG16 up to block3_pool"),
        ("ResNet50", {"classes": 5}, "ResNet50 with its top of 5 classes"),
        (
            "ResNet50",
            {"include_top": False, "until": "conv3_block4_out"},
            "ResNet50 up to conv3_block4_out",
        ),
        ("InceptionV3", {}, "InceptionV3 with its top"),
        ("InceptionV3", {"include_top": False, "until": "mixed4"}, "InceptionV3 up to mixed4"),
    ],
)
def test_whole_and_truncated_networks_are_recognized(tmp_path, network, options, words):
    path = write_keras2(tmp_path / "a.h5", build(network, **options))
    report = inspect_weights(path)
    assert [str(fit) for fit in report.fits] == [words]
    (fit,) = report.fits
    assert (fit.include_top, fit.until) == (options.get("include_top", True), options.get("until"))
    # What it says to do works.
    names = {name: getattr(applications, name) for name in applications.__all__}
    model = eval(fit.call(path), names)
    assert model.count_params() == report.parameters
    assert not model.get_weights()[0].any()


def test_files_of_minidl_are_recognized(tmp_path, inception):
    inception.save_weights(tmp_path / "weights.h5")
    inception.save(tmp_path / "model.h5")
    for name in ("weights.h5", "model.h5"):
        report = inspect_weights(tmp_path / name)
        assert [str(fit) for fit in report.fits] == ["InceptionV3 up to mixed1"]
        assert report.has_architecture == (name == "model.h5")
    assert "minidl.load_model(" in str(report)


# What does not


def rename(tensors, old, new):
    for name in list(tensors):
        if name.startswith(f"{old}/"):
            tensors[f"{new}/{name.split('/')[1]}"] = tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("block2_conv1/bias"), ("block2_conv1", "bias")),
        (lambda t: rename(t, "block1_conv2", "other"), ("block1_conv2", "other")),
        (lambda t: t.update({"extra/kernel": (2, 3)}), ("extra",)),
        (
            lambda t: t.update({"block2_conv1/kernel": (5, 5, 64, 128)}),
            ("block2_conv1", "(3, 3, 64, 128)", "(5, 5, 64, 128)"),
        ),
    ],
    ids=["missing", "renamed", "surplus", "misshapen"],
)
def test_mismatches_are_reported(tmp_path, change, words):
    model = build("VGG16", include_top=False, until="block3_pool")
    path = write_keras2(tmp_path / "a.h5", model, change)
    report = inspect_weights(path)
    assert report.fits == []
    assert str(report.nearest) == "VGG16 up to block3_pool"
    for word in words:
        assert word in report.problem
    assert str(report).endswith(
        f"Fits no known network; the nearest is VGG16 up to block3_pool: {report.problem}"
    )


def test_a_classifier_on_a_known_network_is_similar_to_it(tmp_path):
    def head(tensors):
        tensors.update({"my_head/kernel": (512, 2), "my_head/bias": (2,)})

    model = build("VGG16", include_top=False)
    report = inspect_weights(write_keras2(tmp_path / "a.h5", model, head))
    assert str(report.nearest) == "VGG16 without its top"
    assert "my_head" in report.problem


def test_an_unknown_network_is_listed(tmp_path):
    model = Sequential([Input((4,)), layers.Dense(3, name="a"), layers.Dense(2, name="b")])
    report = inspect_weights(write_keras2(tmp_path / "a.h5", model))
    assert (report.fits, report.nearest, report.problem) == ([], None, "")
    assert [layer.name for layer in report.layers] == ["a", "b"]
    assert "Resembles none of the known networks (VGG16, ResNet50, InceptionV3, " in str(report)


def test_a_file_without_tensors(tmp_path):
    model = Sequential([Input((4,)), layers.Flatten()])
    model.save_weights(tmp_path / "empty.h5")
    report = inspect_weights(tmp_path / "empty.h5")
    assert (report.layers, report.parameters, report.fits) == ([], 0, [])
    assert "0 tensors" in str(report)


def test_the_report_is_json_serializable(tmp_path, inception):
    report = inspect_weights(write_keras2(tmp_path / "a.h5", inception))
    document = json.loads(json.dumps(report.to_dict()))
    assert document["fits"][0]["network"] == "InceptionV3"
    assert document["layers"][0]["tensors"]["kernel"]["shape"] == [3, 3, 3, 32]
    assert document["nearest"] is None


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.h5"):
        inspect_weights(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no weights here")
    with pytest.raises(FileFormatError, match=r"text\.h5"):
        inspect_weights(tmp_path / "text.h5")
