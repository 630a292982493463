"""ImageNetPreprocessing against the published constants of each network."""

import numpy as np
import pytest

from minidl.common.errors import ShapeError
from minidl.layers import ImageNetPreprocessing

RGB = np.array([[10.0, 100.0, 250.0]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("caffe", [[250 - 103.939, 100 - 116.779, 10 - 123.68]]),
        ("tf", [[10 / 127.5 - 1, 100 / 127.5 - 1, 250 / 127.5 - 1]]),
        (
            "torch",
            (RGB / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
        ("lite", (RGB - 127) / 128),
    ],
)
def test_each_mode_matches_its_formula(mode, expected):
    np.testing.assert_allclose(ImageNetPreprocessing(mode)(RGB), expected, rtol=1e-12)


def test_the_gradient_returns_to_the_order_of_the_input():
    first = np.array([[1.0, 0, 0]])
    caffe, tf = (ImageNetPreprocessing(mode).backward(first, None)[0] for mode in ("caffe", "tf"))
    np.testing.assert_array_equal(caffe, [[0, 0, 1]])
    np.testing.assert_allclose(tf, [[1 / 127.5, 0, 0]])


def test_integers_become_float32_and_float64_stays():
    assert ImageNetPreprocessing("tf")(RGB.astype(np.uint8)).dtype == np.float32
    assert ImageNetPreprocessing("tf")(RGB).dtype == np.float64


@pytest.mark.parametrize("mode", ["vgg", None, 1])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValueError, match=f"'caffe', 'tf', 'torch' or 'lite', received {mode!r}"):
        ImageNetPreprocessing(mode)


@pytest.mark.parametrize("shape", [(), (1, 4), (2, 3, 1)])
def test_images_without_three_channels_are_refused(shape):
    with pytest.raises(ShapeError, match="expected images with 3 channels"):
        ImageNetPreprocessing("tf")(np.zeros(shape))
