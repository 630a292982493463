"""Packages in pyproject.toml: every folder of minidl is installed."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_is_listed():
    with open(ROOT / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "minidl").rglob("__init__.py")}
    found = {".".join(folder.parts) for folder in folders}
    assert set(settings["packages"]) == found | {"minidl.weights"}
    assert settings["package-dir"]["minidl.weights"] == "weights"
