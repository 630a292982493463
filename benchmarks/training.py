"""Training steps (forward, backward, update of all layers): minidl and its peers.

    python benchmarks/training.py --peer-python .venv-peers/bin/python --json training.json
    python benchmarks/training.py --networks small_cnn --rounds 15

The small CNN is that of examples/03_small_cnn.py. All use SGD with momentum 0.9, the
cross-entropy loss and the same random weights. Images and labels are in memory.
"""

from __future__ import annotations

import bench

# Image size, batch size, and whether engines must compute equal losses; dropout is random.
CASES = {
    "small_cnn": (150, 32, False),
    "VGG16": (224, 8, True),
    "ResNet50": (224, 8, True),
    "MobileNetV2": (224, 16, True),
    "EfficientNetLite0": (224, 16, False),
}
MIN_SIZES = {
    "small_cnn": 32,
    "VGG16": 32,
    "ResNet50": 64,
    "MobileNetV2": 64,
    "EfficientNetLite0": 64,
}
LEARNING_RATE = 1e-4


def main() -> None:
    """Compare a training step of each network."""
    parser = bench.arguments(__doc__)
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=CASES,
        default=list(CASES),
        metavar="NAME",
        help=f"of {', '.join(CASES)}; default: all",
    )
    options = bench.parse(parser)
    with bench.Session(options, "training") as session:
        for name in options.networks:
            size, batch, exact = CASES[name]
            size = MIN_SIZES[name] if options.smoke else size
            folder = session.network({"network": name, "size": size})
            job = {"folder": folder, "batch": batch, "learning_rate": LEARNING_RATE}
            title = f"{name}, {size} px, training step, batch {batch}"
            session.compare(title, "training", job, items=batch, exact=exact)


if __name__ == "__main__":
    main()
