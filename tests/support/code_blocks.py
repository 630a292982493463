"""What the tests of README.md and docs/ share: code blocks that run, outputs that must match."""

import contextlib
import io
import re

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text, language):
    """Return the code blocks of a language."""
    return [code for kind, code in FENCE.findall(text) if kind == language]


def examples(text):
    """Return each Python block with what it is to print: a text block right below it, or None."""
    found = list(FENCE.finditer(text))
    result = []
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block[1] != "python":
            continue
        right_below = (
            following is not None
            and following[1] == "text"
            and not text[block.end() : following.start()].strip()
        )
        result.append((block[2], following[2] if right_below else None))
    return result


def commands(text):
    """Return the lines of shell blocks that call minidl, without the name."""
    lines = [line for code in blocks(text, "sh") for line in code.splitlines()]
    return [line.removeprefix("minidl ") for line in lines if line.startswith("minidl ")]


def run(text, name, replace=lambda code: code):
    """Run all Python blocks in one namespace; fail where a shown output is not the real one."""
    namespace = {"__name__": name}
    for code, expected in examples(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(replace(code), name, "exec"), namespace)
        if expected is not None:
            assert printed.getvalue() == expected, f"{name}:\n{code}"
    return namespace
