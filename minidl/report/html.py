"""HTML elements of the report: figures, tables, lists of facts, and formatted numbers.

All text from file names, class names and options is escaped by :func:`text`.

>>> from minidl.report.html import percent, text
>>> text('<b>&"x'), percent(0.5)
('&lt;b&gt;&amp;&quot;x', '50.0%')
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from minidl.report.plots import decimals

__all__ = [
    "UNDEFINED",
    "counted",
    "listed",
    "number",
    "pairs",
    "percent",
    "plot",
    "table",
    "text",
]

text = html.escape
UNDEFINED = "\N{EN DASH}"
LONG = 15  # rows; a longer table scrolls within its box


def listed(names: list[str], limit: int = 5) -> str:
    """Return names as an enumeration, or their number if there are many.

    Examples
    --------
    >>> listed(["cats", "dogs", "owls"]), listed(["a"] * 10)
    ('cats, dogs and owls', '10 classes')
    """
    if len(names) > limit:
        return f"{len(names)} classes"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def plot(svg: str, caption: str) -> str:
    """Return a figure with its caption."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def pairs(title: str, facts: dict[str, str]) -> str:
    """Return a titled list of facts."""
    rows = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in facts.items())
    return f"<div><h3>{text(title)}</h3><dl>{rows}</dl></div>"


def table(head: Iterable[str], body: Sequence[Sequence[str]], foot: Sequence[str]) -> str:
    """Return a table of numbers, one row per class.

    Parameters
    ----------
    head : iterable of str
        Headings of the columns after the first.
    body : sequence of sequence of str
        Rows of cells, the name of the class first.
    foot : sequence of str
        Cells of the last row.
    """
    heads = "".join(f'<th class="number" scope="col">{text(name)}</th>' for name in head)
    rows = "".join(_row(cells) for cells in body)
    box = "scroll flush tall" if len(body) > LONG else "scroll flush"
    return (
        f'<div class="{box}"><table><thead><tr><th scope="col">class</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody><tfoot>{_row(foot)}</tfoot></table></div>"
    )


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, which is given in the plural.

    Examples
    --------
    >>> counted(1, "photos"), counted(1200, "photos")
    ('1 photo', '1,200 photos')
    """
    return f"{n:,} {noun if n != 1 else noun.removesuffix('s')}"


def percent(value: float | None) -> str:
    """Return a share in percent; 0 % and 100 % are exact.

    Examples
    --------
    >>> percent(0.98305), percent(0.9999), percent(1.0)
    ('98.3%', '> 99.9%', '100.0%')
    """
    if value is None:
        return UNDEFINED
    if 0.9995 <= value < 1:
        return "> 99.9%"
    return "< 0.1%" if 0 < value < 0.0005 else f"{value:.1%}"


def number(value: float | None) -> str:
    """Return a share with three digits."""
    return UNDEFINED if value is None else decimals(value)


def _row(cells: Sequence[str]) -> str:
    numbers = "".join(f'<td class="number">{text(cell)}</td>' for cell in cells[1:])
    return f'<tr><th scope="row">{text(cells[0])}</th>{numbers}</tr>'
