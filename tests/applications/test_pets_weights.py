"""Bundled weights of PetsNet: accuracy, calibration and OOD scores as in weights/PETS.md."""

import json

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import datasets
from minidl.applications import PetsNet, pets_net
from minidl.applications.pets_net import IMAGE_SIZE, pets_file
from minidl.cli.main import main
from minidl.data import ImageFolder, load_image
from minidl.evaluation import out_of_distribution
from minidl.evaluation.calibration import expected_calibration_error


def asked(folder):
    """Return probabilities, OOD scores and labels of a folder's photos."""
    data = ImageFolder(folder, IMAGE_SIZE, shuffle=False)
    x, y = data.load_arrays()
    return (*out_of_distribution.predict(minidl.load_model(pets_file()), x), y)


def test_the_file_is_small_and_holds_the_network_that_petsnet_builds():
    assert pets_file().stat().st_size <= 3_000_000
    shipped, built = minidl.load_model(pets_file()), PetsNet()
    assert shipped.metadata["class_names"] == built.metadata["class_names"] == ["cats", "dogs"]
    x = datasets.cartoon_pets(4, 64)[0].astype(np.float32)
    np.testing.assert_array_equal(shipped.predict(x, verbose=0), built.predict(x, verbose=0))


def test_accuracy_and_calibration_on_thousands_of_photos(shared_data):
    p, scores, y = asked(shared_data / "data" / "kaggle_pets" / "test")
    assert np.mean((p[:, 0] > 0.5) == y) >= 0.95
    assert expected_calibration_error(p, y) <= 0.02
    assert np.mean(scores > 1) <= 0.05  # fitted to 0.02 on other photos


def test_accuracy_on_photos_from_other_sources(shared_data):
    p, _, y = asked(shared_data / "data" / "seed_pets" / "test")
    assert np.mean((p[:, 0] > 0.5) == y) >= 0.90


@pytest.mark.parametrize("kind", ["noise", "stripes", "plain"])
def test_images_other_than_photos_are_unknown(kind):
    rng = np.random.default_rng(0)
    shape = (8, IMAGE_SIZE, IMAGE_SIZE, 3)
    pictures = {
        "noise": rng.uniform(0, 255, shape),
        "stripes": np.broadcast_to(127 + 127 * np.sin(np.arange(128) / 3)[:, None], shape),
        "plain": np.broadcast_to(rng.uniform(0, 255, (8, 1, 1, 3)), shape),
    }
    if kind == "stripes":
        pictures[kind] = pictures[kind] * rng.uniform(0.5, 1, (8, 1, 1, 3))
    _, scores = out_of_distribution.predict(
        minidl.load_model(pets_file()), pictures[kind].astype(np.float32)
    )
    assert (scores > 1).all()


def test_predict_without_a_model(shared_data, tmp_path, capsys):
    folder = shared_data / "data" / "seed_pets" / "test"
    photos = [*sorted((folder / "cats").iterdir())[:5], *sorted((folder / "dogs").iterdir())[:5]]
    assert main(["predict", *map(str, photos), "--json"]) == 0
    items = json.loads(capsys.readouterr().out)
    net = minidl.load_model(pets_file())
    x = np.stack([load_image(photo, IMAGE_SIZE) for photo in photos], dtype=np.float32)
    p, scores = out_of_distribution.predict(net, x)
    assert [item["probabilities"]["dogs"] for item in items] == pytest.approx(p[:, 0], abs=1e-5)
    assert [item["ood_score"] for item in items] == pytest.approx(scores, abs=1e-3)
    assert [item["known"] for item in items] == [bool(score <= 1) for score in scores]

    noise = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), "uint8")).save(noise)
    assert main(["predict", str(noise)]) == 0
    assert "unknown (OOD score " in capsys.readouterr().out


def test_the_first_of_several_names_is_a_model_or_an_image(tmp_path, capsys):
    names = ["a.png", "b", "c.JPG"]
    for name in names:
        Image.new("RGB", (50, 40), "teal").save(tmp_path / name, "PNG")
    assert main(["predict", *(str(tmp_path / name) for name in names)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["predict", str(tmp_path / "b"), str(tmp_path / "a.png")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["predict", str(tmp_path / "gone"), str(tmp_path / "a.png")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_a_missing_weight_file_gives_advice(monkeypatch, tmp_path):
    file = tmp_path / "minidl" / "applications" / "pets_net.py"
    monkeypatch.setattr(pets_net, "__file__", str(file))
    with pytest.raises(FileNotFoundError, match="reinstall minidl"):
        PetsNet()


def test_as_a_base_it_needs_no_download(tmp_path, capsys):
    x, y = datasets.cartoon_pets(12, 40, seed=0)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        folder = tmp_path / "photos" / ("cats", "dogs")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    output = tmp_path / "model.h5"
    arguments = ["--base", "pets_net", "--epochs", "1", "--image-size", "64"]
    assert main(["train", str(tmp_path / "photos"), *arguments, "--output", str(output)]) == 0
    model = minidl.load_model(output)
    built = PetsNet().get_layer("stage3_block1_2_conv").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("stage3_block1_2_conv").get_weights()[0], built)
