"""For mkdocs: the map of every file in ``architecture.md``, made of each file's first line.

A line ``<!-- files of minidl/graph -->`` becomes a table of the modules in that folder.
mkdocs.yml names this file as a hook, so that the map cannot drift from the code.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"^<!-- files of (minidl[\w/]*) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_) -> str:
    """Called by mkdocs for every page before it becomes HTML."""
    return MARK.sub(lambda match: table_of(ROOT / match[1]), markdown)


def table_of(folder: Path) -> str:
    """Return a Markdown table of a folder's modules with their first lines."""
    rows = [f"| `{path.name}` | {first_line(path)} |" for path in sorted(folder.glob("*.py"))]
    return "\n".join(["| file | content |", "|---|---|", *rows])


def first_line(path: Path) -> str:
    """Return the first paragraph of a module's docstring as the cell of a table."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("|", r"\|")
