"""README.md: Python blocks run, commands parse, and linked files exist."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.code_blocks import run

import minidl
from minidl import datasets
from minidl.applications.catalog import NETWORKS
from minidl.cli.main import _parser, main
from minidl.data import load_image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    x, y = datasets.cartoon_pets(8, size=96, seed=0)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        for part in ("train", "test"):
            folder = tmp_path / "photos" / part / ("cats", "dogs")[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    namespace = run(README, "README.md", _shortened)
    assert (tmp_path / "pets.h5").exists()
    model, test = minidl.load_model("pets.h5"), namespace["test"]
    for file, p in zip(test.files, namespace["p"], strict=True):
        image = load_image(file, (96, 96))[None]
        np.testing.assert_allclose(p, model.predict(image)[0], atol=1e-5)  # this row, this file


def _shortened(code):
    """Return a code block with one epoch, and without weights that are not installed."""
    if NETWORKS["efficientnet_lite0"].local_file() is None:
        code = code.replace('weights="imagenet"', "weights=None")
    return code.replace("epochs=20", "epochs=1")


def test_commands_parse():
    lines = re.findall(r"^minidl (\w+ ?.*)$", README, re.MULTILINE)
    assert {line.split()[0] for line in lines} >= {"train", "evaluate", "predict", "info"}
    for line in lines:
        _parser().parse_args(shlex.split(line.split("#")[0]))


def test_prediction_examples_show_the_real_output(monkeypatch, capsys):
    (line,) = re.findall(r"^docs/demo.png: .*$", README, re.MULTILINE)
    monkeypatch.chdir(ROOT)
    assert main(["predict", "docs/demo.png"]) == 0
    said, number = capsys.readouterr().out.strip(), r"\d+\.\d+"
    assert re.sub(number, "#", said) == re.sub(number, "#", line)
    shown, found = (np.array(re.findall(number, text), float) for text in (line, said))
    np.testing.assert_allclose(found, shown, atol=0.11)  # 0.1 %, and what rounding adds


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_linked_files_exist(target):
    assert (ROOT / target).exists()


def test_setup_commands_have_the_marks_that_ci_reads():
    for name in ("demo", "tests"):
        found = re.search(rf"<!-- ci: {name} -->\n```\n((?:.+\n)+)```\n<!-- ci: end -->", README)
        assert found, f"the command of {name} has to stand between its marks"
        assert "python3 -m venv" in found[1]
