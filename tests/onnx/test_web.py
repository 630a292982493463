"""The web page: its markup, and photos dropped onto it in Chromium."""

import json
import re

import pytest
from PIL import Image
from support.commands import run
from support.onnx_files import run_onnx
from support.pages import Markup
from support.tiny import classifier, make_photos, refused
from support.web_pages import drop_photos, install_runtime

import minidl
from minidl import applications, out_of_distribution
from minidl.applications.pets_net import pets_file
from minidl.data import load_image
from minidl.onnx.web import render, write_web


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page of minidl's own classifier, with onnxruntime-web beside it."""
    folder = tmp_path_factory.mktemp("web")
    assert run("export", pets_file(), "--web", folder) == 0
    install_runtime(folder)
    return folder


def predictions(photos, capsys):
    """Return what ``minidl predict`` prints as JSON."""
    capsys.readouterr()
    assert run("predict", pets_file(), *photos, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (390, True)])
def test_photos_of_a_cat_and_a_dog(folder, shared_data, capsys, width, dark):
    pets = shared_data / "data" / "seed_pets"
    photos = [sorted((pets / "test" / kind).iterdir())[0] for kind in ("cats", "dogs")]
    photos.append(pets / "example_dog.jpg")
    found = drop_photos(folder, photos, width, dark)
    assert "error" not in found, found
    assert found["ready"] == "The model is ready."
    for result, expected in zip(found["results"], predictions(photos, capsys), strict=True):
        assert result["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-3)
        assert result["bars"] == pytest.approx(
            list(result["probabilities"].values()), abs=0.03
        )  # the shortest bar has two pixels
        if expected["known"]:
            assert result["verdict"].startswith(expected["class"])
        else:
            assert result["verdict"].startswith("unknown (OOD score")
    classes = [result["verdict"].split()[0] for result in found["results"][:2]]
    assert classes == ["cats", "dogs"]
    assert found["scrollWidth"] <= width
    assert found["dark"] == dark
    shade = sum(int(n) for n in re.findall(r"\d+", found["background"]))
    assert (shade < 200) == dark
    assert (found["focused"], found["labels"]) == ("file", 1)


def test_a_large_photo_is_reduced_as_the_decoder_of_minidl_does(
    folder, shared_data, tmp_path, capsys
):
    with Image.open(shared_data / "data" / "seed_pets" / "example_dog.jpg") as image:
        image.resize((1600, 1000)).save(tmp_path / "large.jpg", quality=92)
        image.rotate(90, expand=True).save(tmp_path / "lying.jpg", exif=b"", quality=92)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees to the right
        image.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=92)
        image.convert("L").save(tmp_path / "gray.png")
    photos = [tmp_path / name for name in ("large.jpg", "lying.jpg", "turned.jpg", "gray.png")]
    found = drop_photos(folder, photos)
    for result, expected in zip(found["results"], predictions(photos, capsys), strict=True):
        # The mean of 2 x 2 pixels is not exactly the cosine transform at half the size.
        tolerance = 5e-3 if "large" in expected["file"] else 1e-3
        assert result["probabilities"] == pytest.approx(expected["probabilities"], abs=tolerance)


def test_a_file_that_is_no_photo(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    (result,) = drop_photos(folder, [tmp_path / "notes.txt"])["results"]
    assert result["hidden"]
    assert result["status"].startswith("notes.txt: cannot be classified")


def test_without_the_runtime_the_page_says_how_to_get_it(tmp_path):
    write_web(applications.PetsNet(), tmp_path)
    found = drop_photos(tmp_path, [])
    assert "npm install onnxruntime-web" in found["ready"]


def test_markup_of_the_page():
    model = applications.small_cnn((32, 32, 1), classes=7, name='a "<b>" & c')
    model.metadata["class_names"] = ["</script><b>", "日本 &", *"cdefg"]
    page = render(model)
    markup = Markup(page)
    assert markup.problems == []
    assert [script.get("type") for script in markup.scripts] == ["application/json", None]
    assert not re.search(r"https?://(?!localhost)|@import", page)
    facts = json.loads(re.search(r'id="model">(.*?)</script>', page, re.DOTALL)[1])
    assert facts["class_names"] == model.metadata["class_names"]
    assert facts["color_mode"] == "grayscale"
    assert facts["ood_threshold"] == out_of_distribution.THRESHOLD
    assert "&lt;/script&gt;&lt;b&gt;, 日本 &amp;, c, d, e and 2 others" in page


def test_a_model_without_photos_is_refused_before_anything_is_written(tmp_path):
    with refused(ValueError, "does not take images"):
        write_web(classifier(), tmp_path / "web")
    assert not (tmp_path / "web").exists()


def test_the_exported_model_resizes_as_minidl_does(tmp_path):
    model = minidl.load_model(pets_file())
    write_web(model, tmp_path)
    photo = make_photos(tmp_path / "photos") / "cats" / "0.png"
    output, _ = run_onnx((tmp_path / "model.onnx").read_bytes(), load_image(photo)[None])
    expected = model.predict(load_image(photo, 128)[None], verbose=0)
    assert output == pytest.approx(expected, abs=1e-3)
