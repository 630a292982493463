"""Reports of small models: correct metrics, and valid pages for unusual data."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.pages import check_figures, read_report
from support.tiny import blobs, classifier, make_photos, pictures, refused

import minidl
from minidl import Input, Sequential, callbacks, layers, losses, report
from minidl.common.errors import DataError
from minidl.common.output_paths import require_writable
from minidl.data import ArrayDataset, ImageFolder

RNG = np.random.default_rng(0)


def network(classes=2, size=(16, 16), logits=False, channels=3):
    units = 1 if classes == 2 else classes
    activation = None if logits else ("sigmoid" if classes == 2 else "softmax")
    model = Sequential(
        [
            Input((*size, channels)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(units, activation=activation),
        ]
    )
    kind = losses.BinaryCrossentropy if classes == 2 else losses.SparseCategoricalCrossentropy
    model.compile("adam", kind(from_logits=logits), metrics=["accuracy"])
    return model


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_are_those_of_the_saved_model(classes, logits, tmp_path):
    names = ("ants", "bees", "cats")[:classes]
    folder = make_photos(tmp_path / "photos", names, count=9)
    data = ImageFolder(folder, image_size=(16, 16), batch_size=5, seed=0)
    model = network(classes, logits=logits)
    history = model.fit(data, epochs=2, verbose=0)
    model.save(tmp_path / "model.h5")
    returned = report.write(tmp_path / "r.html", model, data, history=history, train_data=data)
    page, _, figures = read_report(tmp_path / "r.html")
    assert figures == json.loads(json.dumps(returned))
    check_figures(figures, minidl.load_model(tmp_path / "model.h5"), folder, (16, 16), classes)
    evaluated = model.evaluate(data, return_dict=True, verbose=0)
    assert figures["loss"] == pytest.approx(evaluated["loss"], rel=1e-5)
    assert figures["accuracy"] == pytest.approx(evaluated["accuracy"])
    assert figures["history"] == history.history
    assert figures["best_epoch"] == 1 + int(np.argmin(history.history["loss"]))
    assert f"{figures['accuracy']:.1%}" in page


def test_each_photo_has_an_overlay(tmp_path):
    model = network()
    x, y = pictures(10, 16)
    report.write(tmp_path / "r.html", model, (x, y), photos=4)
    _, markup, figures = read_report(tmp_path / "r.html")
    photos = [i for i in markup.images if i.get("class") != "overlay"]
    overlays = [i for i in markup.images if i.get("class") == "overlay"]
    assert len(photos) == len(overlays) == len(figures["mistakes"]) + 4
    assert all(p["src"] != o["src"] for p, o in zip(photos, overlays, strict=True))


def test_photos_keep_their_aspect_ratio(tmp_path):
    folder = make_photos(tmp_path / "photos", count=2)
    wide = RNG.integers(0, 256, (40, 1600, 3), np.uint8)
    Image.fromarray(wide).save(folder / "cats" / "wide.png")
    data = ImageFolder(folder, image_size=(16, 16), shuffle=False)
    report.write(tmp_path / "r.html", network(), data)
    _, markup, _ = read_report(tmp_path / "r.html")
    (size,) = {(i["width"], i["height"]) for i in markup.images if "wide.png" in i["alt"]}
    assert size == ("320", "8")


def test_names_with_markup_are_escaped(tmp_path):
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
        tmp_path / "r.html",
        network(3),
        data,
        train_data=data,
        history={"loss": [1.0]},
        findings=SimpleNamespace(findings=[leak]),
        command="minidl train '<b>'",
        title="<h1>&",
    )
    page, markup, figures = read_report(tmp_path / "r.html")
    assert sorted(figures["classes"]) == sorted(names)
    words = "".join(markup.words)
    for name in (*names, "<i>leak", "<b>.jpg", "ü.jpg", "minidl train '<b>'", "<h1>&"):
        assert name in words
    assert '<b>&"x' not in page
    assert "onerror=alert(1)>&\"'" in words


def test_many_findings_and_losses_that_are_not_finite(tmp_path):
    files = tuple(f"{i}.jpg" for i in range(50_000))
    leaks = [
        SimpleNamespace(kind="leak", severity="error", message=f"leak {i}", files=files)
        for i in range(30)
    ]
    history = {"loss": [float("nan"), float("inf"), 1.0], "val_loss": [2.0, float("nan"), 3.0]}
    report.write(
        tmp_path / "r.html",
        network(),
        pictures(4, 16),
        history=history,
        findings=SimpleNamespace(findings=leaks),
    )
    page, _, figures = read_report(tmp_path / "r.html")
    assert figures["history"] == {"loss": [None, None, 1.0], "val_loss": [2.0, None, 3.0]}
    assert figures["best_epoch"] == 1
    assert "10 more findings" in page
    assert "and 49,980 more" in page
    report.write(
        tmp_path / "r.html", network(), pictures(4, 16), findings=SimpleNamespace(findings=[])
    )
    assert "No findings." in (tmp_path / "r.html").read_text()


def test_report_on_a_single_photo(tmp_path):
    x, y = pictures(1, 16)
    figures = report.write(tmp_path / "r.html", network(), (x, y))
    page, _, _ = read_report(tmp_path / "r.html")
    assert figures["auc"] is None
    assert "1 photo" in page
    assert "1 photos" not in page


def test_report_without_mistakes(tmp_path):
    model = network()
    x, _ = pictures(8, 16)
    figures = report.write(tmp_path / "r.html", model, (x, (model.predict(x)[:, 0] > 0.5) * 1))
    page, _, _ = read_report(tmp_path / "r.html")
    assert figures["accuracy"] == 1
    assert figures["mistakes"] == []
    assert "all 8 photos were classified correctly" in page


@pytest.mark.parametrize("classes", [10, 40])
def test_many_classes_with_absent_and_never_predicted_ones(classes, tmp_path):
    x, _ = pictures(30, 16)
    y = np.arange(30) % min(classes, 28) // 2
    model = network(classes)
    model.metadata["class_names"] = [f"a rather long name of class {k}" for k in range(classes)]
    history = model.fit(x, y, epochs=1, verbose=0)
    figures = report.write(tmp_path / "r.html", model, (x, y), history=history)
    read_report(tmp_path / "r.html")
    assert figures["per_class"][-1]["recall"] is None
    assert len(figures["confusion_matrix"]) == classes


def test_model_without_images_has_a_report_without_photos(tmp_path):
    x, y = blobs(30)
    figures = report.write(tmp_path / "r.html", classifier(), (x, y))
    page, markup, _ = read_report(tmp_path / "r.html")
    assert markup.images == []
    assert "30 samples" in page
    assert figures["least_certain"][0]["file"].startswith("sample ")


def test_dense_model_has_photos_without_overlays(tmp_path):
    model = Sequential([Input((16, 16, 1)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    x, y = pictures(6, 16)
    report.write(tmp_path / "r.html", model, (x[..., :1], y))
    _, markup, figures = read_report(tmp_path / "r.html")
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


def test_shuffling_changes_nothing(tmp_path):
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


def test_validation_metrics_carry_a_warning(tmp_path):
    x, y = pictures(8, 16)
    report.write(tmp_path / "r.html", network(), (x, y), part="validation")
    assert 'id="not-a-test"' in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (lambda x, y: ((x, y) for _ in range(1)), DataError, ["read twice"]),
        (lambda x, y: ArrayDataset(x), DataError, ["labels"]),
        (lambda x, y: (x, y + 1), DataError, ["labels 0..1"]),
    ],
)
def test_unusable_data_are_refused(data, error, words, tmp_path):
    with refused(error, *words):
        report.write(tmp_path / "r.html", network(), data(*pictures(4, 16)))


def test_other_classes_are_refused(tmp_path):
    model = network()
    model.metadata["class_names"] = ["owls", "cats"]
    data = ImageFolder(make_photos(tmp_path / "p"), image_size=(16, 16))
    with refused(DataError, "owls", "dogs"):
        report.write(tmp_path / "r.html", model, data)


def test_unwritable_path_is_refused_first(tmp_path):
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


def test_logs_that_are_not_numbers_are_ignored(tmp_path):
    x, y = pictures(8, 16)
    model = network()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "confusion_matrix"])
    history = model.fit(x, y, epochs=1, verbose=0, callbacks=[callbacks.TerminateOnNaN()])
    figures = report.write(tmp_path / "r.html", model, (x, y), history=history)
    assert set(figures["history"]) == {"loss", "accuracy"}
