"""Two ranks with one thread each against one rank with two threads, on the same shards.

Prints images per second of training steps, medians of alternating runs, and the ratio. The model
behind ``scaling.md`` predicts the efficiency for more ranks from the measured step::

    python benchmarks/scaling.py --networks small_cnn resnet50 --rounds 3
    python benchmarks/scaling.py --predict 1.3 102 --batch-size 32     # seconds, MB of gradients
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BATCHES = {"small_cnn": 32, "resnet50": 8, "vgg16": 8}
BACKWARD = 2 / 3  # of a step's time, during which gradients are sent
LINKS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}  # bytes per second


def steps(network: str, batch_size: int, count: int) -> None:
    """Train some steps on two shards; rank 0 prints the seconds of each and the gradient's MB."""
    import minidl
    from minidl import applications, callbacks, distributed, optimizers

    size = 64 if network == "small_cnn" else 224
    minidl.set_random_seed(0)
    if network == "small_cnn":
        model = applications.small_cnn((size, size, 3), 10, augment=False)
    else:
        build = {"resnet50": applications.ResNet50, "vgg16": applications.VGG16}[network]
        model = build(weights=None, classes=10)
    model.compile(optimizers.SGD(1e-4, momentum=0.9), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(batch_size * count, size, size, 3)).astype(np.float32)
    y = rng.integers(0, 10, len(x))
    times = [time.perf_counter()]
    watch = callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: times.append(time.perf_counter())
    )
    model.fit(x, y, batch_size=batch_size, shards=2, callbacks=[watch], verbose=0)
    if distributed.is_main():
        megabytes = sum(w.value.nbytes for w in model.trainable_weights) / 1e6
        sys.stdout.write(json.dumps([np.diff(times).tolist(), megabytes]) + "\n")


def measure(network: str, rounds: int, count: int) -> None:
    """Print the speed of both ways to use two processors."""
    mpiexec = str(Path(sys.executable).with_name("mpiexec"))
    inner = [sys.executable, __file__, "--steps", network, "--count", str(count)]
    ways = {"1 rank, 2 threads": (inner, 2), "2 ranks, 1 thread": ([mpiexec, "-n", "2", *inner], 1)}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        order = list(ways) if number % 2 else list(reversed(ways))
        for way in order:
            command, threads = ways[way]
            done = subprocess.run(
                [*command, "--threads", str(threads)], capture_output=True, text=True, check=True
            )
            times, megabytes = json.loads(done.stdout)
            seconds[way].append(statistics.median(times[2:]))  # without compilation
    first, second = (statistics.median(values) for values in seconds.values())
    images = BATCHES[network]
    print(
        f"{network:10s} batch {images:3d}  {images / first:7.1f} images/s with 2 threads  "
        f"{images / second:7.1f} with 2 ranks  efficiency {first / second:.3f}  "
        f"{megabytes:.0f} MB of gradients",
        flush=True,
    )


def predict(seconds: float, megabytes: float, batch_size: int) -> None:
    """Print the efficiency that the model predicts for more ranks, each with one shard.

    The buckets pass one after the other up and down a tree of depth log2(n), while the backward
    pass runs. What does not fit into its time is added to the step.
    """
    print(f"batch {batch_size} per rank, {seconds:g} s per step, {megabytes:g} MB of gradients")
    for link, bandwidth in LINKS.items():
        row = []
        for ranks in (2, 4, 8, 16, 64, 256, 1000):
            sent = 2 * math.ceil(math.log2(ranks)) * megabytes * 1e6 / bandwidth
            excess = max(0.0, sent - BACKWARD * seconds)
            row.append(f"{ranks}: {seconds / (seconds + excess):.2f}")
        print(f"{link:11s} {'  '.join(row)}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=BATCHES, default=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=8, help="steps of a run")
    parser.add_argument("--predict", type=float, nargs=2, metavar=("SECONDS", "MB"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        import minidl

        minidl.set_num_threads(options.threads)
        steps(options.steps, BATCHES[options.steps], options.count)
    elif options.predict:
        predict(*options.predict, options.batch_size)
    else:
        for network in options.networks:
            measure(network, options.rounds, options.count)


if __name__ == "__main__":
    main()
