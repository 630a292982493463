"""The table that ``model.summary()`` prints, and the one that a notebook shows.

>>> from minidl import Input, layers
>>> from minidl.graph.network import Network
>>> from minidl.graph.summary import format_summary
>>> x = Input((4,))
>>> format_summary(Network(x, layers.Dense(2, name="head")(x))).splitlines()[-3]
'Parameters: 10 (0.00 MiB)'
"""

from __future__ import annotations

import html

__all__ = ["format_summary", "summary_html"]

HEADINGS = ("Layer (type)", "Output shape", "Parameters", "Multiply-adds", "Reads")
BOLD, DIM, END = "\033[1m", "\033[2m", "\033[0m"


def format_summary(network, colour: bool = False) -> str:
    """Return the table: layer, output shape, parameters, multiply-adds, inputs, totals.

    With `colour` it is for a terminal: headings and totals bold, frozen layers dimmed.
    """
    table = [HEADINGS, *(_row(network, node) for node in network.nodes)]
    widths = [max(len(row[k]) for row in table) for k in range(len(HEADINGS))]
    line = "-" * (sum(widths) + 2 * (len(widths) - 1))
    heading, *rows = [_align(row, widths) for row in table]
    totals = _totals(network)
    if colour:
        frozen = [_is_frozen(node.layer) for node in network.nodes]
        rows = [f"{DIM}{r}{END}" if f else r for r, f in zip(rows, frozen, strict=True)]
        heading, totals = f"{BOLD}{heading}{END}", [f"{BOLD}{total}{END}" for total in totals]
    return "\n".join([network.label, line, heading, line, *rows, line, *totals])


def summary_html(network) -> str:
    """Return the same as an HTML table with its totals; rows of frozen layers are pale."""
    right = ' style="text-align: right"'
    aligned = ["", "", right, right, ""]

    def cells(row, tag: str) -> str:
        pairs = zip(row, aligned, strict=True)
        return "".join(f"<{tag}{style}>{html.escape(cell)}</{tag}>" for cell, style in pairs)

    rows = [
        f'<tr class="frozen" style="opacity: 0.6">{cells(_row(network, node), "td")}</tr>'
        if _is_frozen(node.layer)
        else f"<tr>{cells(_row(network, node), 'td')}</tr>"
        for node in network.nodes
    ]
    totals = "<br>".join(html.escape(total) for total in _totals(network))
    return (
        f'<table class="summary"><thead><tr>{cells(HEADINGS, "th")}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table><p>{totals}</p>"
    )


def node_multiply_adds(network, node) -> int:
    """Return the multiplications per sample of one call of a layer."""
    if not node.inputs:
        return 0
    shapes = [network.nodes[i].shape for i in node.inputs]
    return node.layer.multiply_adds(node.layer.as_input(shapes), node.shape)


def _row(network, node) -> tuple[str, ...]:
    layer = node.layer
    parameters = layer.count_params()
    frozen = " frozen" if _is_frozen(layer) else ""
    work = node_multiply_adds(network, node)
    return (
        f"{layer.name} ({type(layer).__name__}){frozen}",
        str(node.shape),
        f"{parameters:,}" if parameters else "",
        f"{work:,}" if work else "",
        ", ".join(network.nodes[i].layer.name for i in node.inputs),
    )


def _is_frozen(layer) -> bool:
    return bool(layer.count_params()) and not layer.trainable


def _align(row, widths) -> str:
    cells = [
        cell.rjust(width) if k in (2, 3) else cell.ljust(width)
        for k, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _totals(network) -> list[str]:
    total = network.count_params()
    trainable = sum(parameter.value.size for parameter in network.trainable_weights)
    work = sum(node_multiply_adds(network, node) for node in network.nodes)
    size = sum(parameter.value.nbytes for parameter in network.weights) / 2**20
    return [
        f"Parameters: {total:,} ({size:.2f} MiB)",
        f"Trainable: {trainable:,}; frozen or statistics: {total - trainable:,}",
        f"Multiply-adds per sample: {work:,}",
    ]
