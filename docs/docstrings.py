"""For mkdocstrings: docstrings as Python's doctest and Sphinx know them, turned into Markdown.

Examples above the first section become code blocks, and roles such as ``:class:`Layer``` become
names. mkdocs.yml names this file as an extension of griffe.
"""

import re

import griffe

ROLE = re.compile(r":\w+:`~?([^`]+)`")
SECTION = re.compile(r"^\w[\w ]*\n-{3,}$", re.MULTILINE)
EXAMPLE = re.compile(r"^(?:>>> .*\n?)(?:(?!\s*$).+\n?)*", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring whose opening examples are fenced, without Sphinx' roles."""
    text = ROLE.sub(r"`\1`", text)
    first = SECTION.search(text)
    cut = first.start() if first else len(text)
    opening = EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text[:cut])
    return opening + text[cut:]
