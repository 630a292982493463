"""Exported models in ONNX Runtime: networks, photos, classifiers; and the written files."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from support.onnx_files import assert_same_outputs, run_onnx
from support.tiny import blobs, classifier, picture_net, pictures, refused, two_by_two

import minidl
from minidl import Input, Model, Sequential, applications, layers, out_of_distribution
from minidl.common.errors import MinidlError
from minidl.evaluation.calibration import apply_temperature
from minidl.evaluation.classifier import probabilities
from minidl.onnx import export
from minidl.onnx.export import to_onnx

NETWORKS = [
    getattr(applications, name)
    for name in applications.__all__
    if name[0].isupper()  # the networks are functions with the names of classes
]


def vary(model, seed=0):
    """Give biases and statistics random values, so that a forgotten one is noticed."""
    rng = np.random.default_rng(seed)
    for parameter in model.weights:
        if parameter.value.ndim == 1:
            parameter.assign(parameter.value + rng.uniform(0, 0.05, parameter.shape))
    return model


def photos(count, size, channels=3):
    shape = (count, size, size, channels)
    return np.random.default_rng(count).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_networks(build):
    size = 96
    options = {"classes": 10, "classifier_activation": None, "input_shape": (size, size, 3)}
    model = vary(build(weights=None, **options))
    content = to_onnx(model).to_bytes()
    for count in (1, 5):
        x = photos(count, size)
        (y,) = run_onnx(content, x)
        expected = model.predict(x, verbose=0)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    operators = [node.op_type for node in onnx.load_from_string(content).graph.node]
    assert operators.count("Transpose") == 1


def test_small_cnn_folds_its_normalizations():
    model = vary(applications.small_cnn((64, 64, 3)))
    for count in (1, 5):
        assert_same_outputs(model, photos(count, 64))
    operators = [node.op_type for node in to_onnx(model).graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("Transpose") == 1


def test_a_normalization_is_not_folded_if_the_convolution_has_another_reader():
    x = Input((6, 6, 3))
    y = layers.Conv2D(4, 3)(x)
    z = layers.BatchNormalization()(y)
    model = vary(Model(x, layers.Add()([y, z])))
    assert_same_outputs(model, photos(2, 6))
    operators = [node.op_type for node in to_onnx(model).graph.node]
    assert "BatchNormalization" in operators


def test_a_trained_model_with_all_that_is_random():
    x, y = pictures()
    model = picture_net()
    model.compile("adam", "binary_crossentropy")
    model.fit(x, y, epochs=2, verbose=0)
    for count in (1, 5):
        assert_same_outputs(model, x[:count].astype(np.uint8))


def test_several_inputs_and_outputs_keep_their_names():
    model = two_by_two()
    content = to_onnx(model).to_bytes()
    graph = onnx.load_from_string(content).graph
    assert [value.name for value in graph.input] == ["a", "b"]
    assert [value.name for value in graph.output] == ["yes", "kind"]
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(5, 4)).astype("f4"), rng.normal(size=(5, 2)).astype("f4")
    assert_same_outputs(model, *xs)


def test_one_tensor_may_be_an_output_twice_and_an_input_an_output():
    x = Input((3,))
    y = layers.Dense(2)(x)
    model = Model(x, [y, y, x])
    outputs = assert_same_outputs(model, np.eye(3, dtype="f4"))
    assert len(outputs) == 3


def test_float_input_is_channels_first():
    model = vary(applications.small_cnn((32, 32, 3), filters=(8, 8)))
    x = photos(3, 32)
    content = to_onnx(model, float_input=True).to_bytes()
    assert "Transpose" not in [node.op_type for node in onnx.load_from_string(content).graph.node]
    (y,) = run_onnx(content, x.transpose(0, 3, 1, 2).astype(np.float32))
    np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=1e-6)


def test_a_float64_model_is_exported_in_float32():
    model = classifier(dtype="float64")
    assert_same_outputs(model, blobs()[0])


# Photos


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale"])
@pytest.mark.parametrize("shape", [(40, 30), (31, 77), (16, 16), (10, 9)])
def test_resizing_in_the_graph_gives_the_photo_that_minidl_loads(shape, color_mode):
    channels = 3 if color_mode == "rgb" else 1
    model = Sequential([Input((16, 16, channels)), layers.Activation("linear")])
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, channels), np.uint8)
    content = to_onnx(model, resize=True).to_bytes()
    (photo,) = run_onnx(content, pixels[None])
    image = Image.fromarray(pixels.squeeze())
    expected = minidl.data.load_image(image, 16, color_mode)
    difference = np.abs(photo[0] - expected)
    assert difference.max() <= 1  # both round between the two directions, in other arithmetic
    assert (difference > 0).mean() < 0.05


def test_resizing_a_real_photo(shared_data):
    folder = shared_data / "data" / "seed_pets"
    files = sorted(path for path in folder.rglob("*.jpg"))[:6]
    model = Sequential([Input((128, 128, 3)), layers.Activation("linear")])
    content = to_onnx(model, resize=True).to_bytes()
    differing = []
    for file in files:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        (photo,) = run_onnx(content, pixels[None])
        expected = minidl.data.load_image(Image.fromarray(pixels), 128)
        difference = np.abs(photo[0] - expected)
        assert difference.max() <= 1
        differing.append((difference > 0).mean())
    assert np.mean(differing) < 0.01


def test_resize_needs_images_and_uint8():
    with refused(ValueError, "does not take images"):
        to_onnx(classifier(), resize=True)
    with refused(ValueError, "at most one of float_input and resize"):
        to_onnx(picture_net(), float_input=True, resize=True)


# Classifiers


@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_of_a_classifier_become_probabilities(outputs):
    x, _ = blobs(classes=max(2, outputs))
    loss = "BinaryCrossentropy" if outputs == 1 else "SparseCategoricalCrossentropy"
    model = Sequential([Input((4,)), layers.Dense(outputs)])
    model.compile("sgd", getattr(minidl.losses, loss)(from_logits=True))
    (p,) = run_onnx(to_onnx(model).to_bytes(), x)
    expected = probabilities(model, model.predict(x, verbose=0))
    np.testing.assert_allclose(p if outputs > 1 else np.hstack([1 - p, p]), expected, atol=1e-6)


def test_a_regression_keeps_its_output():
    model = Sequential([Input((4,)), layers.Dense(1)])
    assert_same_outputs(model, blobs()[0])


def test_temperature_and_ood_score():
    x, y = blobs(count=200, features=4, classes=3)
    model = classifier(outputs=3)
    model.fit(x, y, epochs=3, verbose=0)
    apply_temperature(model, 1.7)
    out_of_distribution.fit(model, x, y, layer=model.layers[-2].name)
    model.metadata["class_names"] = ["a", "b", "c"]
    content = to_onnx(model).to_bytes()
    far = np.concatenate([x[:5], 10 * x[:5]])
    expected, expected_scores = out_of_distribution.predict(model, far)
    outputs, scores = run_onnx(content, far)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)
    assert [value.name for value in onnx.load_from_string(content).graph.output] == [
        "output",
        "ood_score",
    ]


def test_the_layer_of_the_ood_score_is_not_folded_away():
    x = photos(40, 8)
    model = Sequential(
        [
            Input((8, 8, 3)),
            layers.Flatten(),
            layers.Dense(4, name="features"),
            layers.BatchNormalization(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    out_of_distribution.fit(vary(model), x, np.arange(40) % 2, layer="features")
    outputs, scores = run_onnx(to_onnx(model).to_bytes(), x[:5])
    expected, expected_scores = out_of_distribution.predict(model, x[:5])
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-4)


def test_metadata():
    model = applications.PetsNet()
    message = to_onnx(model, license="MIT")
    assert message.producer_name == "minidl"
    assert message.producer_version == minidl.__version__
    metadata = message.metadata
    assert json.loads(metadata["class_names"]) == ["cats", "dogs"]
    assert json.loads(metadata["image_size"]) == [128, 128]
    assert metadata["threshold"] == "0.5"
    assert metadata["license"] == "MIT"
    assert metadata["color_mode"] == "rgb"
    assert metadata["input"] == "uint8 (N, H, W, C), values 0 to 255, resized to image_size"
    assert list(metadata) == sorted(metadata)


def test_versions():
    for resize, opset in ((False, 17), (True, 18)):
        message = to_onnx(picture_net(), resize=resize)
        assert message.ir_version == 8
        assert [(entry.domain, entry.version) for entry in message.opset_import] == [("", opset)]


# Files


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = picture_net()
    model.export(tmp_path / "a.onnx")
    model.save(tmp_path / "model.h5")
    minidl.load_model(tmp_path / "model.h5").export(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("minidl.common.atomic_files.os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        classifier().export(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_too_large_a_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MAX_BYTES", 100)
    with refused(MinidlError, "at most 100 bytes", "model.onnx"):
        classifier().export(tmp_path / "model.onnx")


def test_an_unknown_extension_is_refused(tmp_path):
    with refused(ValueError, ".onnx", "model.tflite"):
        classifier().export(tmp_path / "model.tflite")
