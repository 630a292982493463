"""Scripts outside the package: the language check and the extensions of the documentation."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted([*(ROOT / ".ci").glob("*.py"), *(ROOT / "docs").rglob("*.py")])


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_load(path):
    if path.name == "docstrings.py":
        pytest.importorskip("griffe")  # an extra of the documentation
    load(path)


def test_the_continuous_integration_script_has_valid_syntax():
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def test_the_language_check_runs():
    if not (ROOT / ".git").exists():
        pytest.skip("the check lists the files of the Git repository")
    command = [sys.executable, str(ROOT / ".ci" / "check_language.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.returncode in (0, 1)  # CI itself requires 0


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    as_markdown = load(ROOT / "docs" / "docstrings.py").as_markdown
    text = "Double :func:`~a.f`.\n\n>>> 1 + 1\n2\n\nExamples\n--------\n>>> 3\n3\n"
    expected = "Double `a.f`.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nExamples\n--------\n>>> 3\n3\n"
    assert as_markdown(text).replace("```\n\n\n", "```\n\n") == expected


def test_the_file_map_becomes_a_table():
    page = load(ROOT / "docs" / "file_map.py").on_page_markdown("<!-- files of minidl/io -->")
    assert page.startswith("| file | content |")
    assert "| `inspection.py` | " in page
