"""Facts of a report: counts, data, training, model, machine."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.tiny import blobs, classifier, make_photos

import minidl
from minidl import Input, Sequential, layers, optimizers
from minidl.data import ArrayDataset, ImageFolder
from minidl.optimizers.schedules import CosineDecay
from minidl.report.facts import (
    class_counts,
    data_facts,
    duration,
    machine_facts,
    model_facts,
    training_facts,
)


def test_class_counts_of_every_kind_of_data(tmp_path):
    folder = ImageFolder(make_photos(tmp_path, count=3), image_size=(16, 16))
    assert class_counts(folder, 2) == [3, 3]
    x, y = np.zeros((4, 2)), np.array([0, 2, 2, 2])
    assert class_counts((x, y), 4) == [1, 0, 3, 0]
    assert class_counts(ArrayDataset(x, np.eye(3)[y]), 3) == [1, 0, 3]
    assert class_counts(ArrayDataset(x), 3) is None
    assert class_counts(iter(()), 3) is None


def test_data_facts(tmp_path):
    photos = make_photos(tmp_path / "photos", count=2)
    (photos / "cats" / "broken.png").write_bytes(b"no image")
    train = ImageFolder(photos, image_size=(16, 24))
    with pytest.warns(UserWarning, match="broken"):
        list(train.batches(0))
    facts = data_facts({"training": train, "validation": None, "test": train})
    assert facts["Training"] == facts["Test"] == str(photos)
    assert facts["Resized to"] == "24 × 16 pixels"  # noqa: RUF001
    assert "broken.png" in facts["Unreadable in test"]
    assert data_facts({"training": (np.zeros(2), np.zeros(2))}) == {}


def test_training_facts():
    model = classifier()
    x, y = blobs()
    assert training_facts(model, None, None)["Optimizer"] == "SGD"
    schedule = CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=2)
    model.compile(optimizers.AdamW(schedule), "binary_crossentropy")
    model.fit(x, y, epochs=2, verbose=0)
    history = SimpleNamespace(seconds=93, params={"resume": True})
    facts = training_facts(model, history, SimpleNamespace(batch_size=8, seed=3))
    assert facts["Epochs"] == "2"
    assert facts["Batch size"] == "8"
    assert facts["Loss"] == "binary crossentropy"
    assert facts["Time"] == "1 min 33 s, since it was resumed"
    assert facts["Seed of order and split"] == "3"
    assert facts["Learning rate"].startswith("CosineDecay (")
    assert "decay steps 10" in facts["Learning rate"]
    plain = classifier()
    plain.compile(optimizers.SGD(0.05), "mse")
    assert training_facts(plain, None, None)["Learning rate"] == "0.05"


def test_model_facts():
    model = Sequential(
        [Input((None, None, 3)), layers.Conv2D(2, 1), layers.GlobalAveragePooling2D()]
    )
    assert model_facts(model) == {
        "Input": "(any, any, 3)",
        "Output": "(2)",
        "Parameters": "8",
    }
    model.freeze()
    assert model_facts(model)["Frozen"] == "8 parameters, in 1 of 1 layers"


def test_machine_facts():
    facts = machine_facts()
    assert facts["minidl"] == minidl.__version__
    assert f"NumPy {np.__version__}" in facts["With"]
    assert facts["Threads"] == str(minidl.get_num_threads())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
