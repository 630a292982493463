"""Small pieces of the report's page: escaped text, numbers as people write them, boxes.

Whatever comes from file names, class names or options goes through :func:`text`, so that it
is shown and never obeyed.

>>> from minidl.report.html import percent, text
>>> text('<b>&"x'), percent(0.5)
('&lt;b&gt;&amp;&quot;x', '50.0%')
"""

from __future__ import annotations

import html

from minidl.report.plots import decimals

__all__ = ["UNDEFINED", "counted", "listed", "number", "pairs", "percent", "plot", "text"]

text = html.escape
UNDEFINED = "\N{EN DASH}"


def listed(names: list[str], limit: int = 5) -> str:
    """Return names as a sentence has them, or how many there are.

    Examples
    --------
    >>> listed(["cats", "dogs", "owls"]), listed(["a"] * 10)
    ('cats, dogs and owls', '10 classes')
    """
    if len(names) > limit:
        return f"{len(names)} classes"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def plot(svg: str, caption: str) -> str:
    """Return a plot in its box, with a sentence on how to read it."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def pairs(title: str, facts: dict[str, str]) -> str:
    """Return a box of facts, each with its name."""
    rows = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts.items())
    return f"<div><h3>{text(title)}</h3><dl>{rows}</dl></div>"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, which is given in the plural."""
    return f"{n:,} {noun if n != 1 else noun.removesuffix('s')}"


def percent(value: float | None) -> str:
    """Return a share in percent; only what is all or nothing looks so.

    Examples
    --------
    >>> percent(0.98305), percent(0.9999), percent(1.0)
    ('98.3%', '&gt; 99.9%', '100.0%')
    """
    if value is None:
        return UNDEFINED
    if 0.9995 <= value < 1:
        return text("> 99.9%")
    return text("< 0.1%") if 0 < value < 0.0005 else f"{value:.1%}"


def number(value: float | None) -> str:
    """Return a share with three digits."""
    return UNDEFINED if value is None else text(decimals(value))
