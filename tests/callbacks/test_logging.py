"""CSVLogger."""

import csv

import pytest
from support.scripted import X, Y, fit
from support.tiny import assert_same_arrays, classifier

import minidl
from minidl.callbacks import (
    CSVLogger,
    ModelCheckpoint,
)


def test_csv_logger_writes_a_line_for_each_epoch(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("an older log\n")
    _, history = fit(CSVLogger(path), watched=[0.5, 0.25])
    rows = list(csv.DictReader(path.open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(row["watched"]) for row in rows] == [0.5, 0.25]
    assert [float(row["loss"]) for row in rows] == history.history["loss"]


def test_csv_logger_appends(tmp_path):
    path = tmp_path / "log.csv"
    for _ in range(2):
        fit(CSVLogger(path, separator=";", append=True), epochs=2)
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch;loss;accuracy"
    assert [line[0] for line in lines[1:]] == ["0", "1", "0", "1"]


def test_csv_logger_continues_with_the_training(tmp_path):
    path = tmp_path / "log.csv"
    model, _ = fit(CSVLogger(path), epochs=2)
    model.fit(X, Y, epochs=4, callbacks=[CSVLogger(path)], resume=True, verbose=0)
    assert [line[0] for line in path.read_text().splitlines()] == ["e", "0", "1", "2", "3"]


def test_csv_logger_needs_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fit(CSVLogger(tmp_path / "nowhere" / "log.csv"))


def test_a_confusion_matrix_is_in_the_history_and_no_obstacle_elsewhere(tmp_path, capsys):
    model = classifier()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", "confusion_matrix"])
    given = [CSVLogger(tmp_path / "log.csv"), ModelCheckpoint(tmp_path / "a.h5")]
    history = model.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=given, verbose=2).history
    assert [counts.sum() for counts in history["confusion_matrix"]] == [len(X)] * 2
    assert history["val_confusion_matrix"][1].shape == (2, 2)
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert header == "epoch,loss,accuracy,val_loss,val_accuracy"
    assert "confusion" not in capsys.readouterr().out
    resumed = minidl.load_model(tmp_path / "a.h5")
    again = resumed.fit(X, Y, epochs=3, resume=True, verbose=0).history["confusion_matrix"]
    assert len(again) == 3
    assert_same_arrays(again[:2], history["confusion_matrix"])


def test_what_a_callback_adds_to_the_logs_is_in_the_history_and_in_files(tmp_path):
    _, history = fit(CSVLogger(tmp_path / "a.csv"), extra=[1.5, 2.5])
    assert history.history["extra"] == [1.5, 2.5]
    assert (tmp_path / "a.csv").read_text().startswith("epoch,loss,accuracy,extra\n")
