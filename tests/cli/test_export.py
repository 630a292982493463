"""``minidl export``: files, pages and wrong command lines."""

import json

import numpy as np
import pytest
from support.commands import run
from support.onnx_files import run_onnx

import minidl
from minidl.data import load_image
from minidl.onnx.messages import ModelProto


def test_an_exported_model_predicts_as_minidl_does(trained, photos, tmp_path, capsys):
    path = tmp_path / "pets.onnx"
    assert run("export", trained, path, "--license", "CC0") == 0
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size:,} bytes\n"
    files = [*sorted((photos / "dogs").iterdir())[:3], *sorted((photos / "cats").iterdir())[:2]]
    assert run("predict", trained, *files, "--json") == 0
    expected = [item["probabilities"] for item in json.loads(capsys.readouterr().out)]
    size = minidl.load_model(trained).input_shape[1]
    images = np.stack([load_image(file, size) for file in files])
    for x, rows in ((images, expected), (images[:1], expected[:1])):  # batches of 5 and 1
        p = run_onnx(path.read_bytes(), x)[0][:, 0]
        assert p == pytest.approx([row["dogs"] for row in rows], abs=1e-5)
    metadata = ModelProto.from_bytes(path.read_bytes()).metadata
    assert json.loads(metadata["class_names"]) == ["cats", "dogs"]
    assert metadata["license"] == "CC0"


@pytest.mark.parametrize(("option", "opset"), [("--float-input", 17), ("--resize", 18)])
def test_options_choose_the_input(trained, tmp_path, option, opset):
    path = tmp_path / "pets.onnx"
    assert run("export", trained, path, option) == 0
    assert ModelProto.from_bytes(path.read_bytes()).opset_import[0].version == opset


def test_a_page_and_a_file_at_once(trained, tmp_path, capsys):
    assert run("export", trained, tmp_path / "a.onnx", "--web", tmp_path / "new" / "web") == 0
    assert "npm install onnxruntime-web" in capsys.readouterr().out
    names = [path.name for path in sorted((tmp_path / "new" / "web").iterdir())]
    assert names == ["index.html", "model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["expected OUT.onnx or --web DIR"]),
        (["a.onnx", "--resize", "--float-input"], ["not allowed with --resize"]),
        (["--web", "web", "--resize"], ["expected OUT.onnx"]),
    ],
)
def test_wrong_command_lines(trained, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run("export", trained, *arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_checked_before_the_work(trained, tmp_path, capsys):
    assert run("export", trained, tmp_path / "model.tflite") == 1
    assert "ends in .onnx" in capsys.readouterr().err
    (tmp_path / "web").write_text("a file")
    assert run("export", trained, "--web", tmp_path / "web") == 1
    assert "expected a folder" in capsys.readouterr().err
