"""The command ``minidl bases``: the pretrained networks for ``minidl train --base``."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

from minidl.applications.catalog import NETWORKS, SOURCES, PretrainedNetwork
from minidl.cli.options import AddCommand, add_json
from minidl.common.text_table import format_table
from minidl.graph.summary import count_multiply_adds
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["add_bases_command", "bases"]

HEADINGS = (
    *("network", "pixels", "parameters", "multiply-adds", "top-1", "source", "license"),
    "weights",
)
NUMERIC = (1, 2, 3, 4)  # columns aligned to the right
BATCH_SIZE = 8
REPETITIONS = 5


def add_bases_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(bases, "list the pretrained networks for train --base")
    command.description = (
        "List the pretrained networks: image size, parameters and multiply-adds without the "
        "classifier of ImageNet, published top-1 accuracy on ImageNet, license of the weights, "
        "and where the weights are or how to get them."
    )
    command.add_argument(
        "--measure",
        action="store_true",
        help=f"also measure milliseconds per image on this machine, in batches of {BATCH_SIZE} "
        "(about a minute)",
    )
    add_json(command)


def bases(options: argparse.Namespace) -> None:
    """Print one line per network."""
    facts = [_facts(network, options.measure) for network in NETWORKS.values()]
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    rows = [_row(fact) for fact in facts]
    headings: tuple[str, ...] = HEADINGS
    numeric: tuple[int, ...] = NUMERIC
    if options.measure:
        headings = (*HEADINGS[:4], "ms/image", *HEADINGS[4:])
        numeric = (*NUMERIC, 5)
    print("\n".join(format_table([headings, *rows], numeric)))
    used = {fact["source"]: SOURCES[fact["source"]] for fact in facts if fact["source"]}
    print("\nParameters and multiply-adds: without the classifier of ImageNet, at this size.")
    if options.measure:
        print(f"ms/image: batches of {BATCH_SIZE}, {get_num_threads()} threads.")
    print("top-1: accuracy on ImageNet in percent, as published by")
    print("\n".join(f"  {name}: {address}" for name, address in used.items()))


def _facts(network: PretrainedNetwork, measure: bool) -> dict[str, Any]:
    """Return what the command prints of a network."""
    base = network.base()
    file = network.local_file()
    facts: dict[str, Any] = {
        "network": network.name,
        "image_size": network.image_size,
        "parameters": base.count_params(),
        "multiply_adds": count_multiply_adds(base),
        "imagenet_accuracy": network.accuracy,
        "source": network.source,
        "license": network.license,
        "weights": None if file is None else str(file),
        "get": None if file is not None else network.where_to_get(),
    }
    if measure:
        facts["milliseconds"] = round(_milliseconds(base), 2)
    return facts


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a network."""
    accuracy = facts["imagenet_accuracy"]
    cells = [
        facts["network"],
        str(facts["image_size"]),
        f"{facts['parameters'] / 1e6:.1f} M",
        f"{facts['multiply_adds'] / 1e6:,.0f} M",
        "-" if accuracy is None else str(accuracy),
        facts["source"] or "-",
        facts["license"],
        facts["weights"] or f"missing: {facts['get']}",
    ]
    if "milliseconds" in facts:
        cells.insert(4, f"{facts['milliseconds']:.1f}")
    return tuple(cells)


def _milliseconds(base: Any) -> float:
    """Return the median time per image of a batch of noise, after one batch that compiles."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (BATCH_SIZE, *base.input_shape[1:])).astype(np.float32)
    base.predict_on_batch(x)
    seconds = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        base.predict_on_batch(x)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds) / BATCH_SIZE
