"""Example scripts: each runs on a folder of photos, prints its results and plots them."""

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minidl import callbacks, datasets, load_model
from minidl.applications import VGG16, EfficientNetLite0, InceptionV3, ResNet50
from minidl.data import ImageFolder

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("[01]*.py"))


def run(script, *arguments, cwd, **environment):
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
    )


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
    assert [script.name[:2] for script in SCRIPTS] == [f"{i:02d}" for i in range(1, 15)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file of random weights for each network."""
    folder = tmp_path_factory.mktemp("weights")
    files = {}
    networks = ((VGG16, None), (ResNet50, None), (InceptionV3, "mixed8"), (EfficientNetLite0, None))
    for build, until in networks:
        files[build.__name__] = path = folder / f"{build.__name__}.h5"
        build(weights=None, include_top=False, until=until).save_weights(path)
    return files


@pytest.mark.parametrize("script", [*SCRIPTS[4:7], SCRIPTS[13]], ids=lambda script: script.stem)
def test_an_example_trains_on_a_pretrained_network(script, photos, weights, tmp_path):
    (file,) = [
        path
        for name, path in weights.items()
        if name.lower().rstrip("0") in script.stem.replace("_", "")
    ]
    done = run(
        script,
        "--data",
        photos,
        "--image-size",
        75,
        "--epochs",
        1,
        "--weights",
        file,
        "--also-test",
        photos / "test",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (summary,) = [json.loads(path.read_text()) for path in (tmp_path / "outputs").glob("*.json")]
    (accuracy,) = summary["accuracy"]
    assert f"seed 0: test accuracy {accuracy:.4f}" in done.stdout
    assert f"accuracy {accuracy:.4f} on {photos / 'test'}" in done.stdout
    model = load_model(next((tmp_path / "outputs").glob("*seed0.h5")))
    assert model.metadata["class_names"] == ["cats", "dogs"]
    loaded = dict(zip((p.path for p in model.weights), model.get_weights(), strict=True))
    first = "block1_conv1" if "vgg" in script.stem else None
    if first:  # below the tuned layers nothing has moved
        network = VGG16(weights=file, include_top=False)
        expected = network.get_layer(first).get_weights()[0]
        np.testing.assert_array_equal(loaded["block1_conv1/kernel"], expected)


def test_missing_weights_are_named(photos, tmp_path):
    done = run(
        SCRIPTS[5],
        "--data",
        photos,
        "--image-size",
        75,
        "--epochs",
        1,
        cwd=tmp_path,
        MINIDL_HOME=tmp_path,
        MINIDL_WEIGHTS_URL="http://127.0.0.1:9",
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "resnet50" in line
    assert str(tmp_path) in line


def test_models_are_compared_and_missing_weights_are_reported(photos, weights, tmp_path):
    done = run(
        SCRIPTS[7],
        "--data",
        photos,
        "--image-size",
        75,
        "--epochs",
        1,
        "--weights",
        weights["InceptionV3"],
        weights["EfficientNetLite0"],
        cwd=tmp_path,
        MINIDL_HOME=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.endswith((" s", "no weights"))]
    table = {row[:22].strip(): row[22:] for row in rows if not row.startswith("Epoch")}
    for name in ("VGG16", "ResNet50"):
        assert table[name].strip() == "no weights"
    for name in (
        "logistic regression",
        "dense network",
        "small CNN",
        "InceptionV3",
        "EfficientNetLite0",
    ):
        assert "%" in table[name]
    assert (tmp_path / "outputs" / "compare_models.png").stat().st_size > 1000


@pytest.mark.parametrize("script", SCRIPTS[:4], ids=lambda script: script.stem)
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
    assert summary["unseen"] == []
    assert "not in train" not in done.stdout
    model = load_model(next(outputs.glob("*seed4.h5")))
    assert model.input_shape == (None, 40, 40, 3)


def test_accuracy_is_also_reported_without_leaked_photos(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "data")
    copies = sorted((tmp_path / "data" / "test" / "cats").iterdir())[:2]
    for file in copies:
        with Image.open(file) as image:
            image.resize((80, 80)).save(tmp_path / "data" / "train" / "cats" / f"again{file.name}")
    done = run(
        SCRIPTS[0],
        "--data",
        "data",
        "--image-size",
        40,
        "--epochs",
        1,
        "--seed",
        3,
        4,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (summary,) = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/*.json")]
    for seed, accuracy in zip((3, 4), summary["unseen"], strict=True):
        model = load_model(next(tmp_path.glob(f"outputs/*seed{seed}.h5")))
        test = ImageFolder(tmp_path / "data" / "test", 40, shuffle=False)
        right = (model.predict(test, verbose=0)[:, 0] > 0.5) == test.labels
        kept = [file not in map(str, copies) for file in test.files]
        assert sum(kept) == 8
        assert accuracy == pytest.approx(right[kept].mean())
        text = f"seed {seed}: accuracy {accuracy:.4f} on the 8 test photos that are not in train"
        assert text in done.stdout
    mean = sum(summary["unseen"]) / 2
    assert f"mean accuracy {mean:.4f} on the 8 test photos that are not in train" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_examples_are_short_and_have_help(script, tmp_path):
    assert len(script.read_text().splitlines()) < 160
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--epochs", "--seed"))
    source = script.read_text()
    # An option is there where it does something, and no other.
    assert ("--data" in done.stdout) == ("photos=False" not in source)


def test_pets_from_scratch_resumes_after_a_kill_to_the_same_bits(photos, tmp_path):
    """Killed in its second phase and resumed, it ends with the weights of an unbroken run."""
    command = [sys.executable, str(SCRIPTS[8]), "--data", str(photos), "--epochs", "6"]
    unbroken = run(SCRIPTS[8], *command[2:], "--output", "unbroken", cwd=tmp_path)
    assert unbroken.returncode == 0, unbroken.stderr
    broken = subprocess.Popen(
        [*command, "--output", "broken"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    for line in broken.stdout:
        if line.startswith("Epoch 3/"):  # the second phase's first epoch has just ended
            break
    broken.kill()
    broken.wait()
    assert not (tmp_path / "broken" / "pets.h5").exists()
    resumed = run(SCRIPTS[8], *command[2:], "--output", "broken", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "Epoch 1/" not in resumed.stdout
    # The lines of the test: accuracy, interval, calibration error.
    assert resumed.stdout.splitlines()[-1] == unbroken.stdout.splitlines()[-1]
    one, two = (load_model(tmp_path / name / "pets.h5") for name in ("unbroken", "broken"))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tmp_path / "broken" / "pets.h5").stat().st_size < 3_000_000


def test_four_species_are_counted_and_drawn(tmp_path):
    done = run(SCRIPTS[9], "--epochs", 1, "--image-size", 32, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("true ")]
    assert [row[1] for row in rows] == ["cat", "dog", "rabbit", "bear"]
    counts = np.array([[int(cell) for cell in row[2:6]] for row in rows])
    assert counts.sum(axis=1).tolist() == [150] * 4
    for row, recall in zip(counts / 150, (float(row[6]) for row in rows), strict=True):
        assert recall in [pytest.approx(share, abs=6e-4) for share in row]
    found = float(done.stdout.split("mean test accuracy ")[1])
    assert found == pytest.approx(np.trace(counts) / 600, abs=1e-4)
    assert (tmp_path / "outputs" / "species-seed0.png").stat().st_size > 10_000


def test_custom_layer_and_loss_pass_the_gradient_check(photos, tmp_path):
    done = run(SCRIPTS[10], "--data", photos, "--epochs", 1, "--image-size", 40, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    checked, agrees, *compared = done.stdout.splitlines()
    assert float(checked.split()[4]) < 1e-6
    assert "agrees with finite differences" in agrees
    assert len([line for line in compared if "mean test accuracy" in line]) == 4


def test_two_branches_have_two_outputs(tmp_path):
    done = run(SCRIPTS[11], "--epochs", 1, "--image-size", 32, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of the species" in done.stdout
    assert "of the direction" in done.stdout
    model = load_model(tmp_path / "outputs" / "two_branches-seed0.h5")
    species, turned = model.predict(np.zeros((2, 32, 32, 3), np.float32), verbose=0)
    assert (species.shape, turned.shape) == ((2, 4), (2, 1))


def test_the_bundled_network_is_a_base_without_a_download(photos, tmp_path):
    done = run(SCRIPTS[12], "--data", photos, "--epochs", 1, "--image-size", 40, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed 0: on PetsNet 0." in done.stdout or "seed 0: on PetsNet 1." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("mean test accuracy: on PetsNet")


def test_an_ablation_names_the_omitted_part(photos, tmp_path):
    script = EXAMPLES / "pets_ablation.py"
    done = run(script, "--data", photos, "--image-size", 32, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("without nothing: 0.") or lines[0].startswith("without nothing: 1.")
    assert len(lines) == 6


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

    options = argparse.Namespace(seed=[1, 2], output=tmp_path, data=None, also_test=None)
    with pytest.raises(SystemExit, match="an_example: stopped"):
        common.run(options, "an_example", train_once)
    assert seeds == [1]
    assert "mean" not in capsys.readouterr().out
