"""load_model: restored models, and files that contain no model."""

import numpy as np
import pytest
from support.tiny import refused

from minidl import Input, Model, Sequential, layers, load_model
from minidl.common.errors import FileFormatError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


class Doubling(layers.Layer):
    def forward(self, x, training=False, rng=None):
        return 2 * x, None

    def backward(self, dy, cache, need_dx=True):
        return 2 * dy, []


def test_the_class_of_the_model_is_restored(tmp_path):
    x = Input((4,))
    branches = Model(x, layers.Add()([layers.Dense(4)(x), x]), name="branches")
    stack = Sequential([Input((4,)), layers.Dense(2)], name="stack")
    for model in (branches, stack):
        model.save(tmp_path / "model.h5")
        loaded = load_model(str(tmp_path / "model.h5"))
        assert type(loaded) is type(model)
        assert loaded.name == model.name
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_compile_false_restores_no_training(tmp_path):
    model = Sequential([Input((4,)), layers.Dense(1)])
    model.compile("adam", "mse")
    model.save(tmp_path / "model.h5")
    assert load_model(tmp_path / "model.h5", compile=False).trainer is None
    assert load_model(tmp_path / "model.h5").trainer is not None


def test_own_layers_are_passed_as_custom_objects(tmp_path):
    model = Sequential([Input((4,)), Doubling()])
    model.save(tmp_path / "model.h5")
    with refused(FileFormatError, "Doubling"):
        load_model(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5", custom_objects={"Doubling": Doubling})
    np.testing.assert_array_equal(loaded.predict(X), 2 * X)
    with refused(TypeError, "custom_objects", "Doubling"):
        load_model(tmp_path / "model.h5", custom_objects=[Doubling])


def test_files_without_a_model_are_refused(tmp_path):
    model = Sequential([Input((4,)), layers.Dense(1)])
    model.save_weights(tmp_path / "pets.weights.h5")
    with refused(FileFormatError, "pets.weights.h5", "without an architecture", "load_weights"):
        load_model(tmp_path / "pets.weights.h5")
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing.h5")
