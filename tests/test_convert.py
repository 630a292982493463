"""``weights/convert.py``: conversion of weight files without loss."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.tiny import assert_same_arrays

from minidl import Input, Model, layers
from minidl.cli.weights import convert_weights
from minidl.common.errors import FileFormatError
from minidl.formats.checkpoint import read_checkpoint
from minidl.formats.reading import read_weight_file
from minidl.formats.weight_file import LayerTensors, WeightFile

SCRIPT = Path(__file__).parents[1] / "weights" / "convert.py"


def network(seed=0):
    x = Input((8, 8, 3))
    y = layers.Conv2D(4, 3, name="conv")(x)
    y = layers.BatchNormalization(name="bn")(y)
    model = Model(x, layers.Dense(2, name="head")(layers.Flatten()(y)))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.random(w.shape) for w in model.weights])
    return model


def write_keras2(path, model, dtype="float32"):
    """Write a file as Keras 2 does: nested groups, roles with ":0"."""
    with h5py.File(path, "w") as file:
        named = [layer for layer in model.layers if layer.parameters]
        file.attrs["layer_names"] = np.array([layer.name for layer in named], "S")
        file.attrs["keras_version"] = np.bytes_("2.2.4")
        for layer in named:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{p.name}:0" for p in layer.weights]
            group.attrs["weight_names"] = np.array(names, "S")
            for name, parameter in zip(names, layer.weights, strict=True):
                group[name] = parameter.value.astype(dtype)


def tensors(path):
    return {
        f"{layer.scope}/{layer.name}/{role}": array
        for layer in read_weight_file(path).layers
        for role, array in layer.tensors.items()
    }


def script(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True
    )


def test_the_script_converts_a_keras_file(tmp_path):
    source, target = tmp_path / "keras.h5", tmp_path / "minidl.h5"
    write_keras2(source, network())
    result = script(source, target)
    assert (result.returncode, result.stderr) == (0, "")
    assert str(target) in result.stdout
    loaded = network(seed=1)
    loaded.load_weights(target)
    assert_same_arrays(loaded.get_weights(), network().get_weights())
    document, arrays = read_checkpoint(target)
    assert document["kind"] == "weights"
    assert "weights/conv/kernel" in arrays


def test_the_script_fails_in_one_line(tmp_path):
    result = script(tmp_path / "absent.h5", tmp_path / "out.h5")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "absent.h5" in result.stderr
    assert script(tmp_path / "one").returncode == 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_conversion_keeps_values_and_dtype(tmp_path, dtype):
    source, target = tmp_path / "keras.h5", tmp_path / "minidl.h5"
    write_keras2(source, network(), dtype)
    convert_weights(source, target)
    before, after = tensors(source), tensors(target)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert array.dtype == after[name].dtype == dtype
        assert array.tobytes() == after[name].tobytes()


def test_a_model_becomes_a_smaller_file_of_weights(tmp_path):
    model = network()
    model.compile("adam", "mse")
    model.fit(np.ones((2, 8, 8, 3)), np.ones((2, 2)), verbose=0)
    model.save(tmp_path / "model.h5")
    convert_weights(tmp_path / "model.h5", tmp_path / "weights.h5")
    loaded = network(seed=1)
    loaded.load_weights(tmp_path / "weights.h5")
    assert_same_arrays(loaded.get_weights(), model.get_weights())
    assert all(name.startswith("weights/") for name in read_checkpoint(tmp_path / "weights.h5")[1])


def test_a_file_is_not_converted_into_itself(tmp_path):
    network().save_weights(tmp_path / "a.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(ValueError, match="Choose another OUT"):
        convert_weights(tmp_path / "a.h5", tmp_path / "link.h5")
    assert (tmp_path / "a.h5").read_bytes() == before


def test_layers_of_one_name_in_two_models_are_refused(tmp_path, monkeypatch):
    parts = [LayerTensors("conv", {"kernel": np.ones(2)}, scope=scope) for scope in ("a", "b")]
    monkeypatch.setattr(
        "minidl.cli.weights.read_weight_file", lambda path: WeightFile(path, "Keras 3", parts)
    )
    with pytest.raises(FileFormatError, match="two of its models have a layer 'conv'"):
        convert_weights(tmp_path / "keras.h5", tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_leaves_no_output(tmp_path):
    source, target = tmp_path / "keras.h5", tmp_path / "out.h5"
    write_keras2(source, network())
    source.write_bytes(source.read_bytes()[:3000])
    with pytest.raises(FileFormatError, match=r"keras\.h5"):
        convert_weights(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["keras.h5"]


def test_the_real_inception_file_loads_the_same_after_conversion(shared_data, tmp_path):
    from minidl.applications import InceptionV3

    source = next((shared_data / "weights").glob("inception_v3*mixed8.h5"))
    convert_weights(source, tmp_path / "native.h5")
    options = {"include_top": False, "until": "mixed8"}
    expected = InceptionV3(weights=source, **options).get_weights()
    received = InceptionV3(weights=tmp_path / "native.h5", **options).get_weights()
    assert_same_arrays(received, expected)
