"""``minidl convert``: models and weights between minidl, ONNX and safetensors."""

import numpy as np
import pytest

from minidl import Input, Sequential, layers, load_model
from minidl.cli.main import main
from minidl.formats.safetensors import read_safetensors


def fresh_layers():
    return [layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(2, name="head")]


@pytest.fixture
def model():
    return Sequential([Input((6, 6, 3)), *fresh_layers()], name="small")


@pytest.fixture
def files(tmp_path, model):
    """Return a function that gives the path of a file in a folder with ``small.h5``."""
    model.save(tmp_path / "small.h5")
    return lambda name: str(tmp_path / name)


X = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")


def test_a_model_goes_to_onnx_and_back(files, model, capsys):
    assert main(["convert", files("small.h5"), files("a.onnx")]) == 0
    assert "a.onnx: a model with 242 parameters" in capsys.readouterr().out
    assert main(["convert", files("a.onnx"), files("b.h5")]) == 0
    again = load_model(files("b.h5"))
    np.testing.assert_allclose(again.predict(X), model.predict(X), atol=1e-6)


def test_weights_go_to_safetensors_and_back_into_an_architecture(files, model, capsys):
    assert main(["convert", files("small.h5"), files("w.safetensors")]) == 0
    names = [layer.name for layer in read_safetensors(files("w.safetensors")).layers]
    assert names == ["conv", "head"]
    other = files("other.h5")
    blank = Sequential([Input((6, 6, 3)), *fresh_layers()])
    blank.save(other)
    arguments = ["convert", files("w.safetensors"), files("c.onnx"), "--architecture", other]
    assert main(arguments) == 0
    np.testing.assert_allclose(load_model(files("c.onnx")).predict(X), model.predict(X), atol=1e-6)


def test_slopes_of_prelu_are_weights_too(files):
    model = Sequential([Input((3,)), layers.PReLU(name="act"), layers.Dense(1, name="head")])
    model.set_weights([[0.1, 0.2, 0.3], *model.get_weights()[1:]])
    model.save(files("slopes.h5"))
    assert main(["convert", files("slopes.h5"), files("slopes.safetensors")]) == 0
    blank = Sequential([Input((3,)), layers.PReLU(name="act"), layers.Dense(1, name="head")])
    blank.load_weights(files("slopes.safetensors"))
    np.testing.assert_array_equal(blank.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("small.h5", "small.h5", "expected a new file"),
        ("small.h5", "a.pb", "expected a name that ends in .h5, .hdf5, .onnx, .safetensors"),
        ("w.safetensors", "a.onnx", "weights without an architecture"),
        ("none.onnx", "a.h5", "there is no such file"),
    ],
)
def test_what_cannot_be_converted(files, capsys, source, target, words):
    main(["convert", files("small.h5"), files("w.safetensors")])
    assert main(["convert", files(source), files(target)]) == 1
    assert words in capsys.readouterr().err


def test_an_onnx_file_is_inspected(files, capsys):
    main(["convert", files("small.h5"), files("a.onnx")])
    capsys.readouterr()
    assert main(["weights", "inspect", files("a.onnx")]) == 0
    out = capsys.readouterr().out
    assert "ONNX, 2 layers with 4 tensors" in out
    assert "minidl.load_model" in out
