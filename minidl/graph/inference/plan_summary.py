"""The table of ``model.plan_summary()``: the steps of the inference plan.

>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 1), layers.ReLU(), layers.Flatten()])
>>> print(model.plan_summary(print_fn=None).splitlines()[3].split("  ")[0])
conv2d + re_lu
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from minidl.common.text_table import format_table
from minidl.graph.inference.memory_plan import Tensor, Workspace
from minidl.graph.inference.plan import InferencePlan
from minidl.graph.inference.steps import SizedShape, Step
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.memory import aligned

if TYPE_CHECKING:
    from minidl.graph.network import Network

__all__ = ["format_plan", "measure"]

HEADINGS = ("Step", "Computed by", "Output", "Written to", "Multiply-adds", "ms", "GFLOP/s")


def format_plan(
    network: Network, plan: InferencePlan, shapes: list[SizedShape], profile: bool = False
) -> str:
    """Return the table for inputs of given shapes.

    Parameters
    ----------
    network : Network
    plan : InferencePlan
        The plan of the network.
    shapes : list of tuple of int
        Shapes of the inputs, batch first.
    profile : bool
        Also run the plan, and show milliseconds and GFLOP/s of each step.
    """
    seconds, whole = measure(plan, shapes, network.dtype) if profile else (None, 0.0)
    prepared = plan.prepare(shapes)
    tensors = prepared.memory.tensors
    rows: list[tuple[str, ...]] = [HEADINGS]
    total = 0
    for step in prepared.graph.steps:
        inputs, output = [tensors[j].shape for j in step.inputs], tensors[step.number].shape
        work = step.multiply_adds(inputs, output)
        total += work
        rows.append(
            (
                " + ".join(layer.name for layer in step.layers),
                step.describe(inputs[0]),
                "x".join(map(str, output)),
                _location(network, tensors[step.number], step),
                f"{work:,}" if work else "",
                *_speed(work, None if seconds is None else seconds[step.number]),
            )
        )
    title = f"{network.label}, inference for inputs of {', '.join(map(str, shapes))}"
    memory = f"inner tensors share {prepared.memory.size / 2**20:.1f} MiB"
    columns = len(HEADINGS) if profile else len(HEADINGS) - 2
    lines = format_table([row[:columns] for row in rows], right=range(4, columns), rules=True)
    return "\n".join(
        [title, *lines, f"Multiply-adds: {total:,}; {memory}", *_time(total, seconds, whole)]
    )


def measure(
    plan: InferencePlan, shapes: list[SizedShape], dtype: np.dtype, rounds: int = 5
) -> tuple[dict[int, float], float]:
    """Return median seconds on random numbers: of each step, and of a normal run.

    A normal run executes many steps as one pipeline; to be measured, they run one by one.
    """
    rng = np.random.default_rng(0)
    xs = [rng.random(shape).astype(dtype) for shape in shapes]
    prepared = plan.prepare(shapes)
    arena = aligned((prepared.memory.size,), np.uint8)
    times: dict[int, list[float]] = {step.number: [] for step in prepared.graph.steps}
    wholes: list[float] = []
    with thread_pool.computing():
        for _ in range(rounds + 1):
            workspace = Workspace(prepared.memory, arena, xs)
            for step in prepared.graph.steps:
                times[step.number].append(_seconds(partial(step.execute, workspace)))
            wholes.append(_seconds(partial(plan.run, xs)))
    # The first round compiles kernels and allocates memory.
    steps = {number: float(np.median(values[1:])) for number, values in times.items()}
    return steps, float(np.median(wholes[1:]))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _location(network: Network, tensor: Tensor, step: Step) -> str:
    if step.joined_in is not None:
        return network.nodes[step.joined_in].layer.name
    storage = tensor.storage
    if storage is None or storage.offset is None:
        return "own memory"
    return f"+{storage.offset / 2**20:.2f} MiB"


def _speed(work: int, seconds: float | None) -> tuple[str, str]:
    if seconds is None:
        return "", ""
    return f"{seconds * 1e3:.2f}", f"{2 * work / seconds / 1e9:.0f}" if work else ""


def _time(work: int, seconds: dict[int, float] | None, whole: float) -> list[str]:
    if seconds is None:
        return []
    speed = 2 * work / whole / 1e9
    steps = sum(seconds.values()) * 1e3
    return [f"Time: {whole * 1e3:.1f} ms, {speed:.0f} GFLOP/s; step by step {steps:.1f} ms"]
