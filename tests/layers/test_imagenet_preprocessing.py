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
            [
                [
                    (10 / 255 - 0.485) / 0.229,
                    (100 / 255 - 0.456) / 0.224,
                    (250 / 255 - 0.406) / 0.225,
                ]
            ],
        ),
    ],
)
def test_each_mode_matches_its_formula(mode, expected):
    layer = ImageNetPreprocessing(mode)
    np.testing.assert_allclose(layer(RGB), expected, rtol=1e-12)
    # The map is linear: its gradient for dy is the difference of two outputs.
    dx, _ = layer.backward(RGB, None)
    difference = layer.forward(RGB + 1)[0] - layer.forward(RGB)[0]
    np.testing.assert_allclose((dx * 1.0).sum(), (difference * RGB).sum(), rtol=1e-9)


def test_integers_become_float32_and_float64_stays():
    assert ImageNetPreprocessing("tf")(RGB.astype(np.uint8)).dtype == np.float32
    assert ImageNetPreprocessing("tf")(RGB).dtype == np.float64


@pytest.mark.parametrize("mode", ["vgg", None, 1])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValueError, match=f"mode to be 'caffe', 'tf' or 'torch', received {mode!r}"):
        ImageNetPreprocessing(mode)


@pytest.mark.parametrize("shape", [(), (1, 4), (2, 3, 1)])
def test_images_without_three_channels_are_refused(shape):
    with pytest.raises(ShapeError, match="expected images with 3 channels"):
        ImageNetPreprocessing("tf")(np.zeros(shape))
