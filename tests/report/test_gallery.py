"""Photos of a report: sizes, classes, and Grad-CAM overlays."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from support.tiny import pictures

from minidl import Input, Model, Sequential, layers
from minidl.evaluation.explain import grad_cam, overlay
from minidl.report.gallery import SIDE, as_jpeg, photos, shows_images
from minidl.report.predictions import TestSet, predict_all


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))


def network(size=16, channels=3):
    return Sequential(
        [
            Input((size, size, channels)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def test_jpeg_keeps_the_picture():
    gradient = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[:, None], 32, axis=1)
    pixels = np.stack([gradient] * 3, axis=2)
    decoded = np.asarray(decode(as_jpeg(pixels))).astype(int)
    assert abs(decoded - pixels).max() <= 8  # quality 80: a few gray levels on a smooth image


def test_tiles_hold_classes_and_probabilities():
    model, (x, y) = network(), pictures(6, 16)
    model.metadata["class_names"] = ["cats", "dogs"]
    test = TestSet((x, y))
    predictions = predict_all(model, test)
    tiles = photos(model, test, predictions, [4, 1])
    p = model.predict(x, verbose=0)[:, 0]
    for tile, row in zip(tiles, [4, 1], strict=True):
        assert tile.name == f"sample {row}"
        assert tile.true == ["cats", "dogs"][y[row]]
        assert tile.predicted == ["cats", "dogs"][int(p[row] > 0.5)]
        assert tile.confidence == pytest.approx(max(p[row], 1 - p[row]))
        assert tile.true_probability == pytest.approx(p[row] if y[row] else 1 - p[row])


def test_overlay_shows_the_map_of_the_predicted_class():
    model, (x, y) = network(160), pictures(1, 160)
    test = TestSet((x, y))
    predictions = predict_all(model, test)
    (tile,) = photos(model, test, predictions, [0])
    assert (tile.width, tile.height) == (160, 160)  # half of SIDE: neither enlarged nor reduced
    heatmap = grad_cam(model, x, class_index=predictions.predicted)[0]
    expected = overlay(np.rint(x[0].clip(0, 255)).astype(np.uint8), heatmap.clip(0, 1))
    shown = np.asarray(decode(tile.overlay)).astype(float)
    # Noise is compressed with errors of some tens of levels; means over the image are exact.
    assert abs(shown.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 2


@pytest.mark.parametrize(("size", "side"), [(16, SIDE // 2), (200, 200), (400, SIDE)])
def test_photos_are_enlarged_or_reduced_to_a_readable_size(size, side):
    model, (x, y) = network(size), pictures(1, size)
    test = TestSet((x, y))
    (tile,) = photos(model, test, predict_all(model, test), [0])
    assert (tile.width, tile.height) == (side, side)
    assert decode(tile.image).size == decode(tile.overlay).size == (side, side)


def test_model_without_feature_maps_has_no_overlays():
    model = Sequential([Input((16, 16, 1)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    x, y = pictures(2, 16)
    test = TestSet((x[..., :1], y))
    tiles = photos(model, test, predict_all(model, test), [0, 1])
    assert [tile.overlay for tile in tiles] == [None, None]
    assert photos(model, test, predict_all(model, test), []) == []


def test_models_of_images():
    assert shows_images(network())
    assert shows_images(network(channels=1))
    assert not shows_images(network(channels=2))
    x = Input((4,))
    assert not shows_images(Model(x, layers.Dense(1)(x)))
