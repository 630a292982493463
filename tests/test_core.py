"""The core described in docs/core.md: its files exist, and its code lines stay in budget."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_FILES = 20
MOST_LINES = 2500
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def core_files() -> list[Path]:
    """Return the files in the table of docs/core.md."""
    text = (ROOT / "docs" / "core.md").read_text(encoding="utf-8")
    return [ROOT / "minidl" / name for name in re.findall(r"^\| \d+ \| `(\S+\.py)` \|", text, re.M)]


def code_lines(source: str) -> int:
    """Count the lines that hold code: neither comments, nor docstrings, nor blank lines."""
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            docstring = node.body[0]
            documented |= set(range(docstring.lineno, docstring.end_lineno + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def test_code_lines_are_counted_without_comments_and_docstrings():
    source = '"""Title."""\n\n# comment\ndef f(\n    x,\n):\n    """Return x."""\n    return x\n'
    assert code_lines(source) == 4


def test_the_core_keeps_its_budget():
    files = core_files()
    assert 10 < len(files) <= MOST_FILES
    lines = {path.name: code_lines(path.read_text(encoding="utf-8")) for path in files}
    assert sum(lines.values()) <= MOST_LINES, lines


def test_every_family_of_the_core_is_listed():
    folders = {path.relative_to(ROOT / "minidl").parts[0] for path in core_files()}
    assert folders == {"layers", "kernels", "graph", "losses", "optimizers", "training"}
