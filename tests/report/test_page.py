"""The page: escaped JSON, and its layout in a real browser."""

import json
from types import SimpleNamespace

import pytest
from support.pages import browse
from support.tiny import make_photos

from minidl import report
from minidl.applications.small_cnn import small_cnn
from minidl.data import ImageFolder
from minidl.report.page import as_json


@pytest.fixture(scope="module", params=[2, 10])
def page(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    names = ["cats", "dogs"]
    if request.param == 10:
        names = [f"averylongnamewithoutanyspaces_number_{k}" for k in range(9)] + ['日本語 <b>&"x']
    photos = make_photos(folder / "photos", names, count=4)
    data = ImageFolder(photos, image_size=(32, 32), seed=0)
    model = small_cnn((32, 32, 3), len(names))
    loss = "binary_crossentropy" if len(names) == 2 else "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(data, epochs=2, verbose=0)

    files = ("a/" + "long" * 60 + ".jpg",) * 5
    leak = SimpleNamespace(kind="leak", severity="error", message="in both parts", files=files)
    path = folder / "report.html"
    report.write(
        path,
        model,
        data,
        history=history,
        train_data=data,
        command="minidl train " + "x" * 300,
        findings=SimpleNamespace(findings=[leak]),
    )
    return path


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_a_report_in_chromium(page, width, dark):
    found = browse(page, width, dark)
    assert found["width"] == width
    assert found["scrollWidth"] <= width
    assert found["overflowing"] == []
    assert found["images"] >= 24
    assert found["broken"] == 0
    assert found["console"] == []
    for photo in found["photos"]:
        assert photo == {"states": ["0", "1", "0"], "focused": True}
    assert (found["all"], found["allBut"]) == ("1", "0")
    assert found["dark"] == dark
    shade = sum(int(n) for n in found["background"].removeprefix("rgb(").rstrip(")").split(","))
    assert (shade < 200) == dark
    (color,) = set(found["textColors"])  # text in plots has the page's color
    ink = sum(int(n) for n in color.removeprefix("rgb(").rstrip(")").split(","))
    assert (ink > 500) == dark


@pytest.mark.parametrize("text", ["</script><script>", "<!--", "&lt;", "日本 <b>&"])
def test_json_in_the_page_cannot_end_its_element(text):
    raw = as_json({"names": [text], "loss": None})
    assert not set("<>&") & set(raw)
    assert json.loads(raw) == {"names": [text], "loss": None}


def test_json_refuses_numbers_that_it_cannot_hold():
    with pytest.raises(ValueError, match="JSON compliant"):
        as_json({"loss": float("nan")})
