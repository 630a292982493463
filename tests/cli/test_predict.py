"""``minidl predict``: classes, probabilities, OOD scores, explanations, errors."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from support.commands import refused, run

import minidl
from minidl import Input, Sequential, layers


def bomb():
    """Return a PNG of a few bytes that declares 3.6 billion pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_predict_prints_one_line_per_image(trained, photos, capsys):
    files = sorted((photos / "dogs").iterdir())[:3]
    assert run("predict", trained, *files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(file) for file in files]
    assert all(line.endswith("%") for line in lines)


def test_explain_writes_grad_cam_maps(trained, photos, tmp_path, capsys):
    files = [*sorted((photos / "dogs").iterdir())[:3], tmp_path / "missing.jpg"]
    picture = tmp_path / "explained.png"
    assert run("predict", trained, *files, "--explain", picture) == 1
    assert "missing.jpg" in capsys.readouterr().err
    sheet = np.asarray(Image.open(picture))
    size = minidl.load_model(trained).input_shape[1]
    assert sheet.shape == (size + 28, 3 * 2 * size, 3)  # photo and map, beside one another
    photo = minidl.data.load_image(files[0], size)
    np.testing.assert_array_equal(sheet[28:, :size], photo)
    assert not np.array_equal(sheet[28:, size : 2 * size], photo)
    # Drawn anew over an older one, but not over what somebody else has made.
    assert run("predict", trained, files[0], "--explain", picture) == 0
    assert Image.open(picture).size == (2 * size, size + 28)


def test_explain_overwrites_no_photo(trained, photos, tmp_path, capsys):
    files = sorted((photos / "dogs").iterdir())
    Image.open(files[0]).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    for place, word in (
        (tmp_path / "photo.png", "would be lost"),  # as the first of --explain *.png
        (tmp_path / "no" / "such.png", "does not exist"),
        (tmp_path / "new.jpg", "ends in .png"),
        ("", "expected a file name"),
    ):
        assert word in refused(capsys, "predict", trained, files[0], "--explain", place)
    arguments = (tmp_path / "photo.png", "--explain", tmp_path / "photo.png")
    assert "also read" in refused(capsys, "predict", trained, *arguments)
    assert (tmp_path / "photo.png").read_bytes() == before


def test_failing_explanation_comes_after_the_predictions(photo, tmp_path, capsys):
    model = Sequential([Input((8, 8, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    model.save(tmp_path / "flat.h5")
    assert run("predict", tmp_path / "flat.h5", photo, "--explain", tmp_path / "e.png") == 1
    shown = capsys.readouterr()
    assert str(photo) in shown.out
    assert "no layer has an output" in shown.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_refused_without_blocking(photo, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert run("predict", tmp_path / "pipe", photo) == 1
    shown = capsys.readouterr()
    assert "expected an image file" in shown.err
    assert str(photo) in shown.out


@pytest.mark.parametrize("outputs", [1, 3])
def test_predict_prints_json(outputs, photo, tmp_path, capsys):
    activation = "sigmoid" if outputs == 1 else "softmax"
    stack = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(outputs, activation)]
    model = Sequential([Input((32, 32, 3)), *stack])
    names = ["cats", "dogs"] if outputs == 1 else ["cats", "dogs", "fish"]
    model.metadata["class_names"] = names
    model.save(tmp_path / "m.h5")
    assert run("predict", tmp_path / "m.h5", photo, "--json") == 0
    [item] = json.loads(capsys.readouterr().out)
    assert list(item) == ["file", "class", "probability", "probabilities"]
    p = model.predict(minidl.data.load_image(photo)[None])[0].astype(float)
    p = [1 - p[0], p[0]] if outputs == 1 else p
    assert item["file"] == str(photo)
    assert list(item["probabilities"]) == names
    assert list(item["probabilities"].values()) == pytest.approx(list(p), abs=1e-6)
    assert item["class"] == names[int(np.argmax(p))]
    assert item["probability"] == max(item["probabilities"].values())


def test_unreadable_files_are_reported_and_skipped(trained, photo, tmp_path, capsys):
    bad = {
        "text.jpg": (b"hello", "not an image"),
        "empty.jpg": (b"", "0 bytes"),
        "bomb.png": (bomb(), "pixels"),
        "cut.png": (photo.read_bytes()[:400], "cut off"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    files = [photo, *(tmp_path / name for name in bad), tmp_path / "nowhere.jpg", tmp_path]
    assert run("predict", trained, *files, "--json") == 1
    out, err = capsys.readouterr()
    good, *others = json.loads(out)
    assert good["class"] in ("cats", "dogs")
    reasons = [*(reason for _, reason in bad.values()), "No such file", "folder"]
    for item, file, reason in zip(others, files[1:], reasons, strict=True):
        assert list(item) == ["file", "error"]
        assert item["file"] == str(file)
        assert reason in item["error"]
    assert len(err.splitlines()) == len(others)
    assert run("predict", trained, *files) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert len(err.splitlines()) == len(others)


def test_files_that_are_not_models_are_refused(photo, trained, tmp_path, capsys):
    half = tmp_path / "half.h5"
    half.write_bytes(trained.read_bytes()[: trained.stat().st_size // 2])
    assert "damaged or truncated" in refused(capsys, "predict", half, photo)
    assert "no such file" in refused(capsys, "predict", tmp_path / "nowhere.h5", photo)
    (tmp_path / "note.h5").write_text("no model")
    assert "not a minidl" in refused(capsys, "predict", tmp_path / "note.h5", photo)
    assert "folder" in refused(capsys, "predict", tmp_path, photo)


def test_models_that_are_not_image_classifiers_are_refused(photo, tmp_path, capsys):
    path = tmp_path / "m.h5"
    Sequential([Input((3,)), layers.Dense(1)]).save(path)
    assert "does not take images" in refused(capsys, "predict", path, photo)
    Sequential([Input((32, 32, 3)), layers.Conv2D(2, 1)]).save(path)
    assert "not a classifier" in refused(capsys, "predict", path, photo)
    model = Sequential([Input((32, 32, 3)), layers.Flatten(), layers.Dense(3, "softmax")])
    model.metadata["class_names"] = ["cats", "dogs"]
    model.save(path)
    assert "2 class names for 3 classes" in refused(capsys, "predict", path, photo)
