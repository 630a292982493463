"""Reports of small models: true in every figure, whole in every case that a user may bring."""

import json
import shlex
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.pages import check_markup, figures_of
from support.tiny import blobs, classifier, make_photos, pictures, refused

import minidl
from minidl import Input, Sequential, callbacks, layers, losses, report
from minidl.cli.main import main
from minidl.common.errors import DataError
from minidl.common.output_paths import require_writable
from minidl.data import ArrayDataset, ImageFolder, load_image

RNG = np.random.default_rng(0)


def network(classes=2, size=(16, 16), logits=False, channels=3):
    units = 1 if classes == 2 else classes
    activation = None if logits else ("sigmoid" if classes == 2 else "softmax")
    model = Sequential([
        Input((*size, channels)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3, activation="relu"),
        layers.GlobalAveragePooling2D(), layers.Dense(units, activation=activation),
    ])  # fmt: skip
    kind = losses.BinaryCrossentropy if classes == 2 else losses.SparseCategoricalCrossentropy
    model.compile("adam", kind(from_logits=logits), metrics=["accuracy"])
    return model


def written(path):
    page = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    return page, check_markup(page), figures_of(page)


def recompute(figures, model, folder, size, classes):
    """Compare a report's figures with those from the files, by loops and definitions."""
    names = sorted(p.name for p in folder.iterdir())
    assert figures["classes"] == names
    labels, rows = [], []
    for k, name in enumerate(names):
        for file in sorted((folder / name).iterdir()):
            image = load_image(file, size)[None].astype(np.float32)
            labels.append(k)
            rows.append(model.predict(image)[0].astype(np.float64))
    labels, out = np.array(labels), np.array(rows)
    if classes == 2:
        p1 = 1 / (1 + np.exp(-out[:, 0])) if model.loss.from_logits else out[:, 0]
        p = np.stack([1 - p1, p1], axis=1)
    else:
        e = np.exp(out - out.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True) if model.loss.from_logits else out
    n = len(labels)
    said = p.argmax(axis=1)
    counts = [[int(((labels == a) & (said == b)).sum()) for b in range(classes)]
              for a in range(classes)]  # fmt: skip
    assert figures["samples"] == n
    assert figures["confusion_matrix"] == counts
    assert figures["accuracy"] == pytest.approx((said == labels).mean(), abs=1e-12)
    loss = -np.mean(np.log(p[np.arange(n), labels]))
    assert figures["loss"] == pytest.approx(loss, rel=1e-4)
    for k, row in enumerate(figures["per_class"]):
        found = (said == k) & (labels == k)
        if (said == k).any():
            assert row["precision"] == pytest.approx(found.sum() / (said == k).sum())
        assert row["recall"] == pytest.approx(found.sum() / (labels == k).sum())
        own, other = p[labels == k, k][:, None], p[labels != k, k]
        area = ((own > other) + 0.5 * (own == other)).mean()
        assert row["auc"] == pytest.approx(area, abs=1e-3)  # ties in float32 are none in float64
    certainty, error = p.max(axis=1), 0.0
    for k in range(10):
        inside = (certainty > k / 10) & (certainty <= (k + 1) / 10)
        if inside.any():
            right = (said == labels)[inside].mean()
            error += inside.mean() * abs(right - certainty[inside].mean())
    assert figures["calibration"]["expected_calibration_error"] == pytest.approx(error, abs=1e-5)
    wrong = np.flatnonzero(said != labels)
    assert len(figures["mistakes"]) == min(12, len(wrong))
    if len(wrong):
        worst = wrong[p[wrong, labels[wrong]].argmin()]
        assert figures["mistakes"][0]["certainty"] == pytest.approx(certainty[worst], abs=1e-5)


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_those_of_the_saved_model(classes, logits, tmp_path):
    names = ("ants", "bees", "cats")[:classes]
    folder = make_photos(tmp_path / "photos", names, count=9)
    data = ImageFolder(folder, image_size=(16, 16), batch_size=5, seed=0)
    model = network(classes, logits=logits)
    history = model.fit(data, epochs=2, verbose=0)
    model.save(tmp_path / "model.h5")
    returned = report.write(tmp_path / "r.html", model, data, history=history, train_data=data)
    page, _, figures = written(tmp_path / "r.html")
    assert figures == json.loads(json.dumps(returned))
    recompute(figures, minidl.load_model(tmp_path / "model.h5"), folder, (16, 16), classes)
    evaluated = model.evaluate(data, return_dict=True, verbose=0)
    assert figures["loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
    assert figures["accuracy"] == pytest.approx(evaluated["accuracy"])
    assert figures["history"] == history.history
    assert figures["best_epoch"] == 1 + int(np.argmin(history.history["loss"]))
    assert f"{figures['accuracy']:.1%}" in page


def test_every_photo_has_an_overlay_that_is_another_picture(tmp_path):
    model = network()
    x, y = pictures(10, 16)
    report.write(tmp_path / "r.html", model, (x, y), photos=4)
    _, markup, figures = written(tmp_path / "r.html")
    photos = [i for i in markup.images if i.get("class") != "overlay"]
    overlays = [i for i in markup.images if i.get("class") == "overlay"]
    assert len(photos) == len(overlays) == len(figures["mistakes"]) + 4
    assert all(p["src"] != o["src"] for p, o in zip(photos, overlays, strict=True))


def test_a_photo_keeps_its_shape_however_wide(tmp_path):
    folder = make_photos(tmp_path / "photos", count=2)
    wide = RNG.integers(0, 256, (40, 1600, 3), np.uint8)
    Image.fromarray(wide).save(folder / "cats" / "wide.png")
    data = ImageFolder(folder, image_size=(16, 16), shuffle=False)
    report.write(tmp_path / "r.html", network(), data)
    _, markup, _ = written(tmp_path / "r.html")
    (size,) = {(i["width"], i["height"]) for i in markup.images if "wide.png" in i["alt"]}
    assert size == ("320", "8")


def test_hostile_names_are_shown_and_not_obeyed(tmp_path):
    names = ('<b>&"x', "--><script>$^{", "日本語の犬")
    folder = make_photos(tmp_path / "photos", names, count=3)
    for i, name in enumerate(names):
        file = next((folder / name).iterdir())
        file.rename(folder / name / f"<img src=x onerror=alert({i})>&\"'{i}.png")

    leak = SimpleNamespace(
        kind="<i>leak",
        severity="error\" onclick='x'",
        message="<script>",
        files=("<b>.jpg", "ü.jpg"),
    )
    data = ImageFolder(folder, image_size=(16, 16), shuffle=False)
    report.write(
        tmp_path / "r.html", network(3), data, train_data=data, history={"loss": [1.0]},
        findings=SimpleNamespace(findings=[leak]), command="minidl train '<b>'", title="<h1>&",
    )  # fmt: skip
    page, markup, figures = written(tmp_path / "r.html")
    assert sorted(figures["classes"]) == sorted(names)
    words = "".join(markup.words)
    for name in (*names, "<i>leak", "<b>.jpg", "ü.jpg", "minidl train '<b>'", "<h1>&"):
        assert name in words
    assert '<b>&"x' not in page
    assert "onerror=alert(1)>&\"'" in words


def test_many_findings_and_losses_that_are_no_numbers(tmp_path):
    files = tuple(f"{i}.jpg" for i in range(50_000))
    leaks = [
        SimpleNamespace(kind="leak", severity="error", message=f"leak {i}", files=files)
        for i in range(30)
    ]
    history = {"loss": [float("nan"), float("inf"), 1.0], "val_loss": [2.0, float("nan"), 3.0]}
    report.write(
        tmp_path / "r.html", network(), pictures(4, 16), history=history,
        findings=SimpleNamespace(findings=leaks),
    )  # fmt: skip
    page, _, figures = written(tmp_path / "r.html")
    assert figures["history"] == {"loss": [None, None, 1.0], "val_loss": [2.0, None, 3.0]}
    assert figures["best_epoch"] == 1
    assert "10 more findings" in page
    assert "and 49,980 more" in page
    report.write(
        tmp_path / "r.html", network(), pictures(4, 16), findings=SimpleNamespace(findings=[])
    )
    assert "No findings." in (tmp_path / "r.html").read_text()


def test_a_single_photo(tmp_path):
    x, y = pictures(1, 16)
    figures = report.write(tmp_path / "r.html", network(), (x, y))
    page, _, _ = written(tmp_path / "r.html")
    assert figures["auc"] is None
    assert "1 photo" in page
    assert "1 photos" not in page


def test_no_mistakes(tmp_path):
    model = network()
    x, _ = pictures(8, 16)
    figures = report.write(tmp_path / "r.html", model, (x, (model.predict(x)[:, 0] > 0.5) * 1))
    page, _, _ = written(tmp_path / "r.html")
    assert figures["accuracy"] == 1
    assert figures["mistakes"] == []
    assert "all 8 photos were classified correctly" in page


@pytest.mark.parametrize("classes", [10, 40])
def test_many_classes_some_of_them_absent_or_never_predicted(classes, tmp_path):
    x, _ = pictures(30, 16)
    y = np.arange(30) % min(classes, 28) // 2
    model = network(classes)
    model.metadata["class_names"] = [f"a rather long name of class {k}" for k in range(classes)]
    history = model.fit(x, y, epochs=1, verbose=0)
    figures = report.write(tmp_path / "r.html", model, (x, y), history=history)
    written(tmp_path / "r.html")
    assert figures["per_class"][-1]["recall"] is None
    assert len(figures["confusion_matrix"]) == classes


def test_a_model_that_takes_no_images_has_a_report_without_photos(tmp_path):
    x, y = blobs(30)
    figures = report.write(tmp_path / "r.html", classifier(), (x, y))
    page, markup, _ = written(tmp_path / "r.html")
    assert markup.images == []
    assert "30 samples" in page
    assert figures["least_certain"][0]["file"].startswith("sample ")


def test_a_dense_model_of_images_has_photos_but_no_overlays(tmp_path):
    model = Sequential([Input((16, 16, 1)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    x, y = pictures(6, 16)
    report.write(tmp_path / "r.html", model, (x[..., :1], y))
    _, markup, figures = written(tmp_path / "r.html")
    assert markup.images
    assert all(image.get("class") != "overlay" for image in markup.images)
    assert figures["loss_name"] == "cross-entropy"  # not compiled


def test_labels_may_be_one_hot_or_floats(tmp_path):
    x, y = pictures(8, 16)
    model = network()
    plain = report.write(tmp_path / "a.html", model, (x, y))
    floats = report.write(tmp_path / "b.html", model, (x, y[:, None].astype(np.float32)))
    assert plain["confusion_matrix"] == floats["confusion_matrix"]
    model = network(3)
    model.compile("adam", "categorical_crossentropy")
    figures = report.write(tmp_path / "c.html", model, (x, np.eye(3)[y]))
    assert [row["samples"] for row in figures["per_class"]] == [4, 4, 0]


def test_the_order_of_a_shuffled_folder_does_not_matter(tmp_path):
    folder = make_photos(tmp_path / "photos", count=5)
    (folder / "cats" / "broken.png").write_bytes(b"no image")
    model, found = network(), []
    for shuffle in (False, True):
        data = ImageFolder(folder, image_size=(16, 16), shuffle=shuffle, seed=3)
        with pytest.warns(UserWarning, match="broken"):
            found.append(report.write(tmp_path / "r.html", model, data))
    assert found[0] == found[1]
    assert found[0]["samples"] == 10
    assert "broken.png" in (tmp_path / "r.html").read_text()


def test_validation_figures_say_so(tmp_path):
    x, y = pictures(8, 16)
    report.write(tmp_path / "r.html", network(), (x, y), part="validation")
    assert 'id="not-a-test"' in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (lambda x, y: ((x, y) for _ in range(1)), DataError, ["read twice"]),
        (lambda x, y: ArrayDataset(x), DataError, ["labels"]),
        (lambda x, y: (x, y + 1), DataError, ["0 ... 1", "1 ... 2"]),
    ],
)
def test_data_that_cannot_be_reported_on(data, error, words, tmp_path):
    with refused(error, *words):
        report.write(tmp_path / "r.html", network(), data(*pictures(4, 16)))


def test_other_classes_are_refused(tmp_path):
    model = network()
    model.metadata["class_names"] = ["owls", "cats"]
    data = ImageFolder(make_photos(tmp_path / "p"), image_size=(16, 16))
    with refused(DataError, "owls", "dogs"):
        report.write(tmp_path / "r.html", model, data)


def test_a_path_that_cannot_be_written_is_refused_at_once(tmp_path):
    with refused(FileNotFoundError, "does not exist"):
        report.write(tmp_path / "none" / "r.html", None, None)
    with refused(IsADirectoryError, "folder"):
        report.write(tmp_path, None, None)
    require_writable(tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_show_batch(tmp_path):
    folder = make_photos(tmp_path / "photos", ("cats", "$dogs^"), count=4)
    data = ImageFolder(folder, image_size=(16, 16), batch_size=3, seed=0)
    figure = report.show_batch(data, count=5, columns=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    _, y = next(data.batches(0))
    assert titles[:3] == [data.class_names[k] for k in y]
    assert len(titles) == 5
    figure.savefig(tmp_path / "batch.png")
    x, y = pictures(4, 16)
    shown = report.show_batch(ArrayDataset(x / 255, y)).axes[0].images[0].get_array()
    assert shown.max() > 200
    with refused(DataError, "expected images"):
        report.show_batch(ArrayDataset(*blobs(4)))


# the command line


def test_train_writes_a_report_whose_command_repeats_it(tmp_path, capsys, monkeypatch):
    folder = make_photos(tmp_path / "some photos", count=10)
    test = make_photos(tmp_path / "test", count=4, seed=1)
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "some photos", "--test", "test", "--image-size", "32", "--epochs", "2",
                 "--batch-size", "8", "--report", "r.html", "--output", "m.h5"]  # fmt: skip
    assert main(arguments) == 0
    assert "Report: r.html" in capsys.readouterr().out
    page, markup, figures = written(tmp_path / "r.html")
    recompute(figures, minidl.load_model("m.h5"), test, (32, 32), 2)
    assert figures["part"] == "test"
    assert figures["counts"] == {"training": [8, 8], "validation": [2, 2], "test": [4, 4]}
    assert len(figures["history"]["val_loss"]) == 2
    (command,) = [w for w in markup.words if w.startswith("MINIDL_NUM_THREADS=")]
    threads, line = command.split(" ", 1)
    assert threads == f"MINIDL_NUM_THREADS={minidl.get_num_threads()}"
    name, *again = shlex.split(line)
    assert name == "minidl"
    assert main(again) == 0
    assert written(tmp_path / "r.html")[2] == figures
    assert str(folder.name) in page


def test_train_without_a_test_folder_reports_on_the_validation_part(tmp_path):
    folder = make_photos(tmp_path / "photos", count=10)
    assert main(["train", str(folder), "--image-size", "32", "--epochs", "1", "--report",
                 str(tmp_path / "r.html"), "--output", str(tmp_path / "m.h5")]) == 0  # fmt: skip
    page, _, figures = written(tmp_path / "r.html")
    assert figures["part"] == "validation"
    assert figures["samples"] == 4
    assert "Time" in page


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--report", "none/r.html"], ["none", "does not exist"]),
        (["--report", "photos"], ["folder"]),
        (["--report", "r.html", "--validation-split", "0"], ["--test DIR"]),
    ],
)
def test_train_says_before_it_begins_that_no_report_can_be_written(
    more, words, tmp_path, monkeypatch, capsys
):
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "photos", "--image-size", "16", *more]) == 1
    out, err = capsys.readouterr()
    assert "Epoch" not in out
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words)


def test_train_says_before_it_begins_that_matplotlib_is_missing(tmp_path, monkeypatch, capsys):
    folder = make_photos(tmp_path / "photos")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(folder), "--image-size", "16", "--report", "r.html"]) == 1
    out, err = capsys.readouterr()
    assert "minidl[plot]" in err
    assert "Epoch" not in out


def test_the_report_of_a_transfer_model_on_real_photos(shared_data, tmp_path):
    weights = shared_data / "weights"
    file = weights / "inception_v3_weights_tf_dim_ordering_tf_kernels_notop_mixed8.h5"
    photos = shared_data / "data" / "seed_pets"
    path = tmp_path / "report.html"
    assert main([
        "train", str(photos / "train"), "--test", str(photos / "test"), "--base", "inception_v3",
        "--until", "mixed8", "--weights", str(file), "--image-size", "100", "--epochs", "3",
        "--output", str(tmp_path / "m.h5"), "--report", str(path),
    ]) == 0  # fmt: skip
    page, markup, figures = written(path)
    recompute(figures, minidl.load_model(tmp_path / "m.h5"), photos / "test", (100, 100), 2)
    assert sum(image.get("class") == "overlay" for image in markup.images) >= 12
    assert "frozen" in page


def test_callbacks_that_log_what_is_no_number_do_no_harm(tmp_path):
    x, y = pictures(8, 16)
    model = network()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "confusion_matrix"])
    history = model.fit(x, y, epochs=1, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    figures = report.write(tmp_path / "r.html", model, (x, y), history=history)
    assert set(figures["history"]) == {"loss", "accuracy"}
