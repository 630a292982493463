"""``minidl demo``: the files that it writes, and its errors."""

import numpy as np
from PIL import Image
from support.commands import interrupt_at, refused, run
from support.tiny import pictures

from minidl import datasets


def test_demo_writes_plots_and_a_model(tmp_path, monkeypatch, capsys):
    draw = datasets.cartoon_pets

    def few(n, size, seed):  # drawing thousands takes a while: draw a few again and again
        x, y = draw(20, size=size, seed=seed)
        return np.resize(x, (n, *x.shape[1:])), np.resize(y, n)

    monkeypatch.setattr(datasets, "cartoon_pets", few)
    folder = tmp_path / "demo"
    assert run("demo", "--epochs", 1, "--output", folder) == 0
    out, err = capsys.readouterr()
    assert "Epoch 1/1" in out
    assert "Test accuracy on 500 new pictures: " in out
    assert err == ""
    assert sorted(p.name for p in folder.iterdir()) == ["curves.png", "pets.h5", "predictions.png"]
    for name in ("curves.png", "predictions.png"):
        with Image.open(folder / name) as image:
            assert image.width > 300
    assert f"minidl predict {folder / 'pets.h5'}" in out
    x, _ = draw(1, size=64, seed=5)
    Image.fromarray(x[0]).save(tmp_path / "pet.png")
    assert run("predict", folder / "pets.h5", tmp_path / "pet.png") == 0


def test_output_that_is_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert "taken" in refused(capsys, "demo", "--output", tmp_path / "taken")


def test_interrupted_demo_exits_with_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "cartoon_pets", lambda n, **_: pictures(n, 64))
    interrupt_at(monkeypatch, step=0)
    assert run("demo", "--output", tmp_path / "demo") == 1
    assert capsys.readouterr().err == "minidl: stopped\n"
