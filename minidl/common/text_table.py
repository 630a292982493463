"""Text tables: columns of equal width, for a terminal.

>>> from minidl.common.text_table import format_table
>>> rows = [("Layer", "Parameters"), ("conv2d", "1,792"), ("flatten", "")]
>>> print("\\n".join(format_table(rows, right=[1], rules=True)))
Layer    Parameters
-------------------
conv2d        1,792
flatten
-------------------
"""

from __future__ import annotations

from collections.abc import Container, Sequence

__all__ = ["format_table"]

GAP = "  "


def format_table(
    rows: Sequence[Sequence[str]],
    right: Container[int] = (),
    rules: bool = False,
    indent: str = "",
) -> list[str]:
    """Return one line of text per row; columns are as wide as their longest cell.

    Parameters
    ----------
    rows : sequence of sequence of str
        All of one length. May be empty.
    right : container of int
        Numbers of the columns to align to the right, from 0; the others are aligned to the left.
    rules : bool
        Whether a line of dashes follows the first row, the heading, and the last row.
    indent : str
        Text before each line.

    Returns
    -------
    list of str
        Lines without trailing spaces.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + GAP.join(cells)).rstrip())
    if rules:
        rule = indent + "-" * (sum(widths) + len(GAP) * (len(widths) - 1))
        lines = [lines[0], rule, *lines[1:], rule]
    return lines
