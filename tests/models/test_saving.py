"""The methods of a model that write and read files; the formats have tests of their own."""

import numpy as np
import pytest
from support.tiny import refused

from minidl import Input, Sequential, layers, load_model
from minidl.common.errors import FileFormatError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def model(units=2):
    return Sequential([Input((4,)), layers.Dense(3, "relu"), layers.Dense(units)], name="pets")


@pytest.mark.parametrize("include_optimizer", [True, False])
def test_a_saved_model_predicts_the_same_bits(include_optimizer, tmp_path):
    saved = model()
    saved.compile("adam", "mse")
    saved.fit(X, np.zeros((6, 2)), epochs=2, verbose=0)
    saved.metadata["class_names"] = ["cats", "dogs"]
    saved.save(tmp_path / "model.h5", include_optimizer)
    loaded = load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.predict(X), saved.predict(X))
    assert loaded.metadata == saved.metadata
    assert (loaded.trainer is not None) == include_optimizer
    if include_optimizer:
        assert loaded.optimizer.iterations == saved.optimizer.iterations


def test_half_precision_halves_the_weights_in_the_file():
    document, arrays = model().checkpoint(dtype="float16")
    assert document["kind"] == "model"
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float16)}


def test_weights_alone_need_the_same_architecture(tmp_path):
    path = tmp_path / "pets.weights.h5"
    saved, twin, other = model(), model(), model(units=5)
    saved.save_weights(path)
    twin.load_weights(path)
    np.testing.assert_array_equal(twin.predict(X), saved.predict(X))
    before = other.get_weights()
    with refused(FileFormatError, "pets.weights.h5"):
        other.load_weights(path)
    for now, then in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_config_describes_the_architecture():
    config = model().get_config()
    assert (config["class_name"], config["name"]) == ("Sequential", "pets")
    assert len(config["layers"]) == 3
