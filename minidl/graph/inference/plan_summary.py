"""The table that ``model.plan_summary()`` prints: what inference does, step by step.

>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 1), layers.ReLU(), layers.Flatten()])
>>> print(model.plan_summary(print_fn=None).splitlines()[3].split("  ")[0])
conv2d + re_lu
"""

from __future__ import annotations

import time

import numpy as np

from minidl.graph.inference.plan import InferencePlan
from minidl.kernels.runtime import thread_pool

__all__ = ["format_plan", "measure"]

HEADINGS = ("Step", "Computed by", "Output", "Written to", "Multiply-adds", "ms", "GFLOP/s")


def format_plan(
    network, plan: InferencePlan, shapes: list[tuple[int, ...]], profile: bool = False
) -> str:
    """Return the table for inputs of given shapes.

    Parameters
    ----------
    network : Network
        Whose plan it is.
    plan : InferencePlan
    shapes : list of tuple
        Of the inputs, batch first.
    profile : bool
        Also run the plan, and tell milliseconds and GFLOP/s of each step.
    """
    seconds, whole = measure(plan, shapes, network.dtype) if profile else (None, 0.0)
    rows = [HEADINGS]
    total = 0
    for step, inputs, output in plan.steps(shapes):
        work = step.multiply_adds(inputs, output)
        total += work
        inside = step.root not in (None, step.number)
        place = network.nodes[step.root].layer.name if inside else plan.place_of(step, shapes)
        rows.append(
            (
                " + ".join(layer.name for layer in step.layers),
                step.describe(inputs[0]),
                "x".join(map(str, output)),
                place,
                f"{work:,}" if work else "",
                *_speed(work, None if seconds is None else seconds[step.number]),
            )
        )
    title = f"{network.label}, inference for inputs of {', '.join(map(str, shapes))}"
    memory = f"inner tensors share {plan.arena_bytes(shapes) / 2**20:.1f} MiB"
    lines = _table([row if profile else row[:-2] for row in rows])
    return "\n".join(
        [title, *lines, f"Multiply-adds: {total:,}; {memory}", *_time(total, seconds, whole)]
    )


def measure(plan: InferencePlan, shapes, dtype, rounds: int = 5) -> tuple[dict[int, float], float]:
    """Return median seconds on random numbers: of each step, and of the whole as it usually runs.

    Usually many steps run as one chain; to be measured, they run one by one.
    """
    rng = np.random.default_rng(0)
    xs = [rng.random(shape).astype(dtype) for shape in shapes]
    times: dict[int, list[float]] = {}
    wholes: list[float] = []
    with thread_pool.computing():
        for number in range(rounds + 1):
            seconds: dict[int, float] = {}
            plan.run(xs, seconds)
            start = time.perf_counter()
            plan.run(xs)
            if number:  # the first round compiles kernels and touches memory for the first time
                wholes.append(time.perf_counter() - start)
                for step, value in seconds.items():
                    times.setdefault(step, []).append(value)
    steps = {step: float(np.median(values)) for step, values in times.items()}
    return steps, float(np.median(wholes))


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


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table, the first row as its heading; numbers stand on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if k >= 4 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:], rule]
