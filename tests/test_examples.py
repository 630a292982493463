"""The example scripts: each runs on a folder of photos, prints its figures and draws them."""

import argparse
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from minidl import callbacks, datasets, load_model

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("0*.py"))


def run(script, *arguments, cwd):
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    x, y = datasets.cartoon_pets(30, size=40, seed=0)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        folder = root / ("test" if i < 10 else "train") / ("cats", "dogs")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    return root


def test_there_are_examples():
    assert [script.name[:2] for script in SCRIPTS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_reports_each_seed_and_the_mean(script, photos, tmp_path):
    done = run(
        script, "--data", photos, "--image-size", 40, "--epochs", 1, "--seed", 3, 4, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    outputs = tmp_path / "outputs"
    (summary,) = [json.loads(path.read_text()) for path in outputs.glob("*.json")]
    mean = sum(summary["accuracy"]) / 2
    assert f"mean test accuracy {mean:.4f} over seeds 3 4" in done.stdout
    assert "seed 3: test accuracy" in done.stdout
    assert len(list(outputs.glob("*.png"))) == 2
    model = load_model(next(outputs.glob("*seed4.h5")))
    assert model.input_shape == (None, 40, 40, 3)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_is_short_and_explains_itself(script, tmp_path):
    assert len(script.read_text().splitlines()) < 100
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--data", "--epochs", "--seed"))


def test_an_example_refuses_a_test_folder_with_other_classes(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "data")
    (tmp_path / "data" / "test" / "dogs").rename(tmp_path / "data" / "test" / "birds")
    done = run(SCRIPTS[0], "--data", "data", "--image-size", 40, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "expected the classes ['cats', 'dogs'], found ['birds', 'cats']" in line


def test_ctrl_c_ends_an_example_and_not_only_its_first_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    common = importlib.import_module("common")
    seeds = []

    def train_once(options, seed):
        seeds.append(seed)
        history = callbacks.History()
        history.interrupted = True
        return None, history, None

    options = argparse.Namespace(seed=[1, 2], output=tmp_path, data=None)
    with pytest.raises(SystemExit, match="an_example: stopped"):
        common.run(options, "an_example", train_once)
    assert seeds == [1]
    assert "mean" not in capsys.readouterr().out
