"""Documentation pages: code blocks, shown outputs, commands, links and the file map."""

import importlib.util
import re
import shlex
import warnings
from pathlib import Path

import pytest
from PIL import Image
from support.code_blocks import commands, run

from minidl import datasets
from minidl.cli.main import _parser

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
spec = importlib.util.spec_from_file_location("file_map", DOCS / "file_map.py")
file_map = importlib.util.module_from_spec(spec)
spec.loader.exec_module(file_map)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the photos of the pages."""
    x, y = datasets.cartoon_pets(24, size=64, seed=0)
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        part = "test" if i < 8 else "train"
        place = tmp_path / "photos" / part / ("cats", "dogs")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@each_page
def test_python_blocks_print_the_shown_output(page, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the page on errors provokes them
        run(page.read_text(encoding="utf-8"), page.name)


@each_page
def test_commands_are_valid(page):
    for line in commands(page.read_text(encoding="utf-8")):
        _parser().parse_args(shlex.split(line))


@each_page
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (DOCS / target).exists(), target


@each_page
def test_every_page_is_in_the_table_of_contents(page):
    assert f": {page.name}" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_the_map_has_every_folder():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    mapped = re.findall(r"^<!-- files of (minidl[\w/]*) -->$", text, re.MULTILINE)
    folders = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "minidl").rglob("*.py")}
    assert sorted(mapped) == sorted(folders)


def test_every_module_has_a_first_line_for_the_map():
    for path in (ROOT / "minidl").rglob("*.py"):
        assert file_map.first_line(path), path


def test_pages_load_no_external_files():
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert "http" not in settings
