"""PetsNet: architecture and arguments; test_pets_weights.py tests its trained weights."""

import numpy as np
import pytest
from support.tiny import refused

import minidl
from minidl import Sequential, layers
from minidl.applications import PetsNet


def photos(size=(48, 40), n=2):
    return np.random.default_rng(0).integers(0, 256, (n, *size, 3), "uint8")


def test_size_and_arbitrary_image_sizes():
    net = PetsNet(weights=None)
    assert net.count_params() <= 1_500_000
    assert net.input_shape == (None, None, None, 3)
    for size in ((32, 32), (48, 40), (129, 65)):
        p = net.predict(photos(size), verbose=0)
        assert p.shape == (2, 1)
        assert ((p > 0) & (p < 1)).all()


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (131, 67)])
def test_the_map_is_a_sixteenth_of_the_image(size):
    net = PetsNet(weights=None, include_top=False)
    assert net.predict(photos(size), verbose=0).shape == (
        2,
        -(-size[0] // 16),
        -(-size[1] // 16),
        192,
    )


def test_custom_classes():
    net = PetsNet(weights=None, classes=5)
    np.testing.assert_allclose(net.predict(photos(), verbose=0).sum(axis=1), 1, atol=1e-5)


def test_the_network_scales_its_images_itself():
    minidl.set_random_seed(1)
    net = PetsNet(weights=None)
    bare = PetsNet(weights=None, include_preprocessing=False)
    bare.set_weights(net.get_weights())
    x = photos().astype(np.float32)
    np.testing.assert_allclose(
        net.predict(x, verbose=0), bare.predict(x / 127.5 - 1, verbose=0), atol=1e-6
    )


def test_as_a_frozen_base():
    base = PetsNet(weights=None, include_top=False, pooling="avg", input_shape=(48, 40, 3))
    base.trainable = False
    model = Sequential([base, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    before = base.get_weights()
    model.fit(photos(n=6), np.arange(6) % 3, epochs=2, verbose=0)
    for a, b in zip(before, base.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_saved_at_half_precision_and_loaded_it_predicts_the_same_within_rounding(tmp_path):
    net = PetsNet(weights=None)
    for name, dtype in (("whole.h5", None), ("half.h5", "float16")):
        net.save(tmp_path / name, include_optimizer=False, dtype=dtype)
    whole, half = ((tmp_path / name).stat().st_size for name in ("whole.h5", "half.h5"))
    assert half < 0.6 * whole
    loaded = minidl.load_model(tmp_path / "half.h5")
    assert all(p.value.dtype == np.float32 for p in loaded.weights)
    x = photos()
    # Each weight is off by 2**-11 at most; errors of a sum of random signs hardly add up.
    np.testing.assert_allclose(loaded.predict(x, verbose=0), net.predict(x, verbose=0), atol=2e-3)


def test_invalid_arguments_are_refused():
    with refused(ValueError, "2 classes", "classes=3", "include_top=False"):
        PetsNet(classes=3)
    with refused(ValueError, "at least 32", "(31, 32, 3)"):
        PetsNet(weights=None, input_shape=(31, 32, 3))


@pytest.mark.parametrize(
    ("classes", "activation", "expected", "units"),
    [(2, "auto", "sigmoid", 1), (3, "auto", "softmax", 3), (2, None, None, 1)],
)
def test_the_activation_follows_the_number_of_classes(classes, activation, expected, units):
    model = PetsNet(weights=None, classes=classes, classifier_activation=activation)
    assert model.output_shape == (None, units)
    assert model.layers[-1].get_config()["activation"] == expected
