"""Convolution kernels per layer shape: loops, im2col, Winograd, GEMM, PyTorch.

    python benchmarks/conv_kernels.py --peer-python .venv-peers/bin/python --json kernels.json
    python benchmarks/conv_kernels.py --networks VGG16 --algorithms minidl PyTorch

The shapes are all shapes in VGG16, ResNet50 (224 pixels) and InceptionV3 (299 pixels), each once.
One call computes the forward pass, or both gradients (of the images and of the kernel). GFLOP/s
count the multiplications and additions of the definition. Winograd needs fewer, so it can exceed
the peak. The peak is that of a large sgemm with the same threads, measured before and after. The
naive loops (compiled, one thread) compute one image, in one call per round.
"""

from __future__ import annotations

import json
import math
from typing import Any

import bench
from report import spread, table
from workers import Worker, WorkerError

SIZES = {"VGG16": 224, "ResNet50": 224, "InceptionV3": 299}
NAIVE, CHOICE = "naive loops", "minidl's choice"
PYTORCH = {"PyTorch channels_last": "channels_last", "PyTorch contiguous": "contiguous"}
DIRECTIONS = ("forward", "gradients")
TURN_SECONDS = 0.2


def main() -> None:
    """Measure every algorithm on every shape."""
    parser = bench.arguments(__doc__, rounds=5)
    parser.set_defaults(peers=["torch"])
    add = parser.add_argument
    add(
        "--networks",
        nargs="+",
        choices=SIZES,
        default=list(SIZES),
        metavar="NAME",
        help=f"of {', '.join(SIZES)}; default: all",
    )
    add(
        "--algorithms",
        nargs="+",
        default=[""],
        metavar="PART",
        help="measure those whose names contain one of these, of: naive loops, NumPy im2col, "
        "minidl (im2col, winograd...), PyTorch (channels_last, contiguous); "
        "default: all",
    )
    add("--batch-size", type=bench.positive, default=8, metavar="N", help="default: 8")
    options = bench.parse(parser)
    sizes = {name: 75 if options.smoke else SIZES[name] for name in options.networks}
    with bench.Session(options, "conv_kernels") as session:
        pairs = [str(item) for pair in sizes.items() for item in pair]
        shapes = json.loads(bench.run_script("layer_shapes.py", options.batch_size, *pairs))
        measure(session, shapes[:: max(1, len(shapes) // 4)] if options.smoke else shapes)


def measure(session: bench.Session, shapes: list[dict[str, Any]]) -> None:
    """Measure all shapes and print the tables."""
    # NumPy uses the threads of BLAS, which spin for a while, so it runs in its own process.
    engines = {"minidl": session.worker("minidl"), "numpy": session.worker("minidl")}
    if "torch" in session.options.peers:
        engines["torch"] = session.worker("torch")
    workers = {engine: worker for engine, worker in engines.items() if worker is not None}
    try:
        peaks = [_sgemm_peak(workers["numpy"])]
        for i, shape in enumerate(shapes):
            session.progress(f"{shape['layer']}: shape {i + 1} of {len(shapes)}")
            session.cases.append({**shape, "results": _measure_shape(session, workers, shape)})
        peaks.append(_sgemm_peak(workers["numpy"]))
    finally:
        for worker in workers.values():
            worker.close()
    session.machine["sgemm_gflops"] = max(peaks)
    markdown = session.options.markdown
    session.show(
        "Times for one image; both gradients at once; * is minidl's choice",
        "",
        _layer_table(session.cases, max(peaks), markdown),
    )
    session.show(
        "Sums over each network's convolutions, ms per image",
        "",
        _sum_table(session.cases, markdown),
    )
    session.show(
        "sgemm peak, GFLOP/s: "
        + " at first, ".join(f"{p:.0f}" for p in peaks)
        + f" at the end; batch {session.options.batch_size}, "
        f"{session.options.rounds} rounds"
    )


def _measure_shape(
    session: bench.Session, workers: dict[str, Worker], shape: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a result for each algorithm and direction that supports the shape."""
    parts, batch = session.options.algorithms, session.options.batch_size
    ways = {NAIVE: ("minidl", NAIVE), "NumPy im2col": ("numpy", "NumPy im2col")}
    ways |= {f"minidl {name}": ("minidl", f"minidl {name}") for name in shape["algorithms"]}
    ways |= {name: ("torch", layout) for name, layout in PYTORCH.items()}
    runs = [
        _Run(workers[engine], name, variant, direction, shape, batch)
        for name, (engine, variant) in ways.items()
        if engine in workers and any(part in name for part in parts)
        for direction in DIRECTIONS
    ]
    prepared = []
    for run in runs:
        try:
            run.prepare()
            prepared.append(run)
        except WorkerError as error:
            session.note(f"{run.name} on {shape['layer']} failed: {str(error).strip()}")
    for number in range(session.options.rounds):
        for run in prepared[:: -1 if number % 2 else 1]:
            run.take_turn()
    for worker in workers.values():
        worker.ask(forget=True)
    return [run.result() for run in prepared]


class _Run:
    """One algorithm on one shape in one direction."""

    def __init__(
        self,
        worker: Worker,
        name: str,
        variant: str,
        direction: str,
        shape: dict[str, Any],
        batch: int,
    ) -> None:
        self.worker, self.name, self.direction, self.shape = worker, name, direction, shape
        self.batch = 1 if name == NAIVE else batch
        geometry = {key: shape[key] for key in ("input", "kernel", "strides", "pads")}
        self.job = {
            "work": "convolution",
            "variant": variant,
            "direction": direction,
            "batch": self.batch,
            **geometry,
        }
        self.key = f"{name} {direction}"
        self.calls = 1
        self.milliseconds: list[float] = []  # per image

    def prepare(self) -> None:
        naive = self.name == NAIVE
        self.worker.ask(prepare=self.job, key=self.key, warm_up=0 if naive else 2)
        if not naive:
            seconds = self.worker.ask(run=self.key, calls=1)["seconds"]
            self.calls = max(1, min(20, math.floor(TURN_SECONDS / seconds[0])))

    def take_turn(self) -> None:
        warm = self.name != NAIVE
        answer = self.worker.ask(run=self.key, calls=self.calls, warm=warm)
        self.milliseconds += [1e3 * seconds / self.batch for seconds in answer["seconds"]]

    def result(self) -> dict[str, Any]:
        times = spread(self.milliseconds)
        gflop = self.shape["gflop"] * (1 if self.direction == "forward" else 2)
        return {
            "algorithm": self.name,
            "direction": self.direction,
            "batch": self.batch,
            **times,
            "gflops": 1e3 * gflop / times["median"],
            "milliseconds": self.milliseconds,
        }


def _sgemm_peak(worker: Worker) -> float:
    """Return the GFLOP/s of a large sgemm, with the threads of BLAS or of minidl (the maximum)."""
    best = 0.0
    for variant in ("BLAS threads", "strips"):
        size = worker.ask(prepare={"work": "sgemm", "variant": variant}, key="sgemm")["sample"][0]
        seconds = worker.ask(run="sgemm", calls=10)["seconds"]
        best = max(best, 2e-9 * size**3 / min(seconds))
    worker.ask(forget=True)
    return best


def _layer_table(cases: list[dict[str, Any]], peak: float, markdown: bool) -> str:
    """Return the table of all layers: times, GFLOP/s and share of the peak."""
    header = ["layer", "input", "kernel", "algorithm"]
    header += ["forward ms", "GFLOP/s", "% of peak", "gradients ms", "GFLOP/s", "% of peak"]
    rows = []
    for case in cases:
        facts = [case["layer"], "x".join(map(str, case["input"])), _describe_kernel(case)]
        for name in dict.fromkeys(r["algorithm"] for r in case["results"]):
            results = {r["direction"]: r for r in case["results"] if r["algorithm"] == name}
            chosen = name == f"minidl {case['chosen']}"
            row = [*facts, f"{name} *" if chosen else name]
            for way in DIRECTIONS:
                r = results.get(way)
                row += (
                    [r["median"], r["gflops"], round(100 * r["gflops"] / peak)] if r else [None] * 3
                )
            rows.append(row)
            if not markdown:
                facts = [""] * 3
    return table(header, rows, markdown)


def _describe_kernel(case: dict[str, Any]) -> str:
    kh, kw, _, k = case["kernel"]
    strides = "" if list(case["strides"]) == [1, 1] else f" /{case['strides'][0]}"
    return f"{kh}x{kw} -> {k}{strides}"


def _sum_table(cases: list[dict[str, Any]], markdown: bool) -> str:
    """Return the sums per network; those of minidl use the algorithm chosen for each layer."""
    groups = ["NumPy im2col", "minidl im2col", CHOICE, "best of PyTorch's two"]
    rows = []
    for network in SIZES:
        for group in groups:
            row: list[Any] = [network, group]
            row += [_sum(cases, network, group, way) for way in DIRECTIONS]
            if any(row[2:]):
                rows.append(row)
    return table(["network", "algorithm", "forward", "both gradients"], rows, markdown)


def _sum(cases: list[dict[str, Any]], network: str, group: str, direction: str) -> float | None:
    total = 0.0
    for case in cases:
        names = {
            CHOICE: [f"minidl {case['chosen']}"],
            "best of PyTorch's two": list(PYTORCH),
        }.get(group, [group])
        times = [
            r["median"]
            for r in case["results"]
            if r["direction"] == direction and r["algorithm"] in names
        ]
        count = case["count"].get(network, 0)
        if count and not times:
            return None
        total += count * min(times, default=0)
    return total or None


if __name__ == "__main__":
    main()
