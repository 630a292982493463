"""The table that ``model.summary()`` prints."""

from __future__ import annotations

__all__ = ["format_summary"]

HEADINGS = ("Layer (type)", "Output shape", "Parameters", "Multiply-adds", "Reads")


def format_summary(network) -> str:
    """Return the table: layer, output shape, parameters, multiply-adds, inputs, totals."""
    rows = [_row(network, node) for node in network.nodes]
    table = [HEADINGS, *rows]
    widths = [max(len(row[k]) for row in table) for k in range(len(HEADINGS))]
    line = "-" * (sum(widths) + 2 * (len(widths) - 1))
    text = [_align(row, widths) for row in table]
    return "\n".join([network.label, line, text[0], line, *text[1:], line, *_totals(network)])


def node_multiply_adds(network, node) -> int:
    """Return the multiplications per sample of one call of a layer."""
    if not node.inputs:
        return 0
    shapes = [network.nodes[i].shape for i in node.inputs]
    return node.layer.multiply_adds(shapes if node.layer.takes_list else shapes[0], node.shape)


def _row(network, node) -> tuple[str, ...]:
    layer = node.layer
    parameters = layer.count_params()
    frozen = " frozen" if parameters and not layer.trainable else ""
    work = node_multiply_adds(network, node)
    return (
        f"{layer.name} ({type(layer).__name__}){frozen}",
        str(node.shape),
        f"{parameters:,}" if parameters else "",
        f"{work:,}" if work else "",
        ", ".join(network.nodes[i].layer.name for i in node.inputs),
    )


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
