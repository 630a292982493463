"""The table of ``model.summary()``, as text and as HTML for notebooks.

>>> from minidl import Input, layers
>>> from minidl.graph.network import Network
>>> from minidl.graph.summary import format_summary
>>> x = Input((4,))
>>> format_summary(Network(x, layers.Dense(2, name="head")(x))).splitlines()[-3]
'Parameters: 10 (0.00 MiB)'
"""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minidl.common.text_table import format_table
from minidl.graph.node import Node
from minidl.layers.base import Layer

if TYPE_CHECKING:
    from minidl.graph.network import Network

__all__ = ["count_multiply_adds", "format_summary", "is_color_terminal", "summary_html"]

HEADINGS = ("Layer (type)", "Output shape", "Parameters", "Multiply-adds", "Reads")
NUMERIC = (2, 3)  # columns aligned to the right
BOLD, DIM, END = "\033[1m", "\033[2m", "\033[0m"


def is_color_terminal() -> bool:
    """Whether standard output is a terminal on which colors are wanted."""
    no_color = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not no_color


def format_summary(network: Network, color: bool = False) -> str:
    """Return the table: layer, output shape, parameters, multiply-adds, inputs, totals.

    With `color` it is for a terminal: headings and totals bold, frozen layers dimmed.
    """
    rows = [HEADINGS, *(_row(network, node) for node in network.nodes)]
    heading, rule, *lines = format_table(rows, right=NUMERIC, rules=True)
    totals = _totals(network)
    if color:
        heading, totals = f"{BOLD}{heading}{END}", [f"{BOLD}{total}{END}" for total in totals]
        for i, node in enumerate(network.nodes):
            lines[i] = f"{DIM}{lines[i]}{END}" if _is_frozen(node.layer) else lines[i]
    return "\n".join([network.label, rule, heading, rule, *lines, *totals])


def count_multiply_adds(network: Network) -> int:
    """Return the number of multiplications per sample of all layers.

    Examples
    --------
    >>> from minidl import Input, layers
    >>> from minidl.graph.network import Network
    >>> x = Input((4,))
    >>> count_multiply_adds(Network(x, layers.Dense(2)(x)))
    8
    """
    return sum(_multiply_adds(network, node) for node in network.nodes)


def summary_html(network: Network) -> str:
    """Return the table with its totals as HTML; rows of frozen layers are pale."""
    rows = []
    for node in network.nodes:
        style = ' class="frozen" style="opacity: 0.6"' if _is_frozen(node.layer) else ""
        rows.append(f"<tr{style}>{_cells(_row(network, node), 'td')}</tr>")
    totals = "<br>".join(html.escape(total) for total in _totals(network))
    return (
        f'<table class="summary"><thead><tr>{_cells(HEADINGS, "th")}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table><p>{totals}</p>"
    )


def _cells(row: Sequence[str], tag: str) -> str:
    styles = [' style="text-align: right"' if k in NUMERIC else "" for k in range(len(row))]
    pairs = zip(row, styles, strict=True)
    return "".join(f"<{tag}{style}>{html.escape(cell)}</{tag}>" for cell, style in pairs)


def _row(network: Network, node: Node) -> tuple[str, ...]:
    layer = node.layer
    parameters, work = layer.count_params(), _multiply_adds(network, node)
    return (
        f"{layer.name} ({type(layer).__name__}){' frozen' if _is_frozen(layer) else ''}",
        str(node.shape),
        f"{parameters:,}" if parameters else "",
        f"{work:,}" if work else "",
        ", ".join(network.nodes[i].layer.name for i in node.inputs),
    )


def _multiply_adds(network: Network, node: Node) -> int:
    """Return the number of multiplications per sample of one call of a layer."""
    if not node.inputs:
        return 0
    shapes = [network.nodes[i].shape for i in node.inputs]
    return node.layer.multiply_adds(node.layer.as_input(shapes), node.shape)


def _is_frozen(layer: Layer) -> bool:
    return bool(layer.count_params()) and not layer.trainable


def _totals(network: Network) -> list[str]:
    total = network.count_params()
    trainable = sum(parameter.value.size for parameter in network.trainable_weights)
    work = count_multiply_adds(network)
    size = sum(parameter.value.nbytes for parameter in network.weights) / 2**20
    return [
        f"Parameters: {total:,} ({size:.2f} MiB)",
        f"Trainable: {trainable:,}; frozen or statistics: {total - trainable:,}",
        f"Multiply-adds per sample: {work:,}",
    ]
