"""small_cnn: output layers, blocks, augmentation and error messages."""

import numpy as np
import pytest

from minidl import layers
from minidl.applications import small_cnn
from minidl.applications.small_cnn import classification_layer
from minidl.common.errors import ShapeError


@pytest.mark.parametrize(("classes", "units"), [(2, 1), (3, 3)])
def test_predict_returns_probabilities(classes, units):
    model = small_cnn((32, 32, 3), classes=classes, filters=(4, 8))
    y = model.predict(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), "uint8"))
    assert y.shape == (5, units)
    assert ((y >= 0) & (y <= 1)).all()
    if units > 1:
        np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-5)


def test_each_block_halves_height_and_width():
    model = small_cnn((32, 48, 3), filters=(4, 8, 12))
    pooled = [layer.name for layer in model.layers if isinstance(layer, layers.MaxPooling2D)]
    shapes = [model.tap(name).output_shape[1:] for name in pooled]
    assert shapes == [(16, 24, 4), (8, 12, 8), (4, 6, 12)]


def test_images_too_small_for_the_blocks_are_refused():
    with pytest.raises(ShapeError):
        small_cnn((16, 16, 3))  # five blocks need 32 pixels


def test_augmentation_varies_training_and_not_inference():
    x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    random = [layer for layer in small_cnn((32, 32, 3)).layers if "random" in layer.name]
    assert len(random) == 6
    assert not any("random" in n.name for n in small_cnn((32, 32, 3), augment=False).layers)
    for layer in random:
        np.testing.assert_array_equal(layer(x), x)


def test_classification_layer_without_activation_gives_logits():
    layer = classification_layer(3, activation=None, name="logits")
    x = np.full((1, 4), 100, "float32")
    y = layer(x)
    np.testing.assert_allclose(y, x @ layer.kernel.value, rtol=1e-5)
