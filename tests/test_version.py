"""The version: one source for the package, its metadata and the changelog."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import minidl
from minidl.version import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_package_and_changelog_have_the_same_version():
    assert minidl.__version__ == __version__
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## .*?(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert newest.group(1) == __version__


def test_pyproject_agrees_with_the_version():
    with open(ROOT / "pyproject.toml", "rb") as file:
        settings = tomllib.load(file)
    if "version" in settings["project"].get("dynamic", []):
        attribute = settings["tool"]["setuptools"]["dynamic"]["version"]["attr"]
        assert attribute == "minidl.version.__version__"
    else:
        assert settings["project"]["version"] == __version__


def test_the_command_line_prints_the_version():
    command = [sys.executable, "-m", "minidl", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert __version__ in output
