"""Inference of one batch by networks of minidl.applications: minidl and its peers.

    python benchmarks/networks.py --peer-python .venv-peers/bin/python --json networks.json
    python benchmarks/networks.py --networks VGG16 --batches 8 --no-top    # memory of the body

All engines use the same random weights and float32. Images of 299 (InceptionV3) or 224 pixels (the
other networks) are in memory, and there is no preprocessing.
"""

from __future__ import annotations

import bench

SIZES = {
    "VGG16": 224,
    "ResNet50": 224,
    "InceptionV3": 299,
    "MobileNetV2": 224,
    "EfficientNetLite0": 224,
}
MIN_SIZES = {
    "VGG16": 32,
    "ResNet50": 32,
    "InceptionV3": 75,
    "MobileNetV2": 32,
    "EfficientNetLite0": 32,
}


def main() -> None:
    """Compare each network at each batch size."""
    parser = bench.arguments(__doc__)
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=SIZES,
        default=list(SIZES),
        metavar="NAME",
        help=f"of {', '.join(SIZES)}; default: all",
    )
    parser.add_argument(
        "--batches",
        nargs="+",
        type=bench.positive,
        default=[1, 8],
        metavar="N",
        help="batch sizes; default: 1 8",
    )
    parser.add_argument("--no-top", action="store_true", help="leave out the classifier")
    options = bench.parse(parser)
    sizes = MIN_SIZES if options.smoke else SIZES
    with bench.Session(options, "networks") as session:
        for name in options.networks:
            specification = {"network": name, "size": sizes[name], "top": not options.no_top}
            folder = session.network(specification)
            for batch in options.batches:
                without = " without top" if options.no_top else ""
                session.compare(
                    f"{name}{without}, {sizes[name]} px, inference, batch {batch}",
                    "inference",
                    {"folder": folder, "batch": batch},
                    items=batch,
                )


if __name__ == "__main__":
    main()
