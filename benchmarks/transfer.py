"""Transfer learning from a folder of photos with a frozen InceptionV3: minidl and its peers.

    python benchmarks/transfer.py --peer-python .venv-peers/bin/python --data photos/train
    python benchmarks/transfer.py --work features --rounds 3

There are two kinds of work, and both include reading JPEG files:

    features   one pass through the base; pooled features of all photos
    transfer   20 epochs of a dropout and a dense layer on the base; the peer is Keras

Times are totals divided by the number of photos. Without --data, 466 photos are drawn first. Every
engine reads with as many threads as it computes with. Decoded photos stay in memory after the first
epoch.
"""

from __future__ import annotations

import argparse

import bench

PHOTOS, PHOTO_SIZE = 466, 400  # drawn without --data; as many as in the small pets dataset


def main() -> None:
    """Compare both kinds of work."""
    parser = bench.arguments(__doc__, rounds=3)
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with two folders of photos (default: drawn ones)")
    add(
        "--work",
        nargs="+",
        choices=("features", "transfer"),
        default=["features", "transfer"],
        metavar="WORK",
        help="features, transfer or both (default)",
    )
    add(
        "--fit-rounds",
        type=bench.positive,
        default=1,
        metavar="N",
        help="rounds of transfer, which takes minutes with Keras; default: 1",
    )
    add("--epochs", type=bench.positive, default=20, metavar="N", help="default: 20")
    add("--batch-size", type=bench.positive, default=32, metavar="N", help="default: 32")
    options = bench.parse(parser)
    with bench.Session(options, "transfer") as session:
        compare(session, options)


def compare(session: bench.Session, options: argparse.Namespace) -> None:
    """Prepare photos and network, and measure."""
    size, batch = (75, 4) if options.smoke else (299, options.batch_size)
    photos = options.data
    if photos is None:
        photos = str(session.folder("photos"))
        count, side = (10, 75) if options.smoke else (PHOTOS, PHOTO_SIZE)
        bench.run_script("photos.py", "draw", photos, count, side)
    few = str(session.folder("few"))
    count = int(bench.run_script("photos.py", "few", photos, few, batch))
    specification = {
        "network": "InceptionV3",
        "size": size,
        "top": False,
        "pooling": "avg",
        "preprocessing": True,
    }
    epochs = 2 if options.smoke else options.epochs
    job = {
        "folder": session.network(specification),
        "photos": photos,
        "few_photos": few,
        "size": size,
        "batch": batch,
        "epochs": epochs,
    }
    titles = {
        "features": f"InceptionV3, {size} px: features of {count} photos, one pass",
        "transfer": f"frozen InceptionV3 and head, {size} px: {count} photos, {epochs} epochs",
    }
    rounds = {"features": options.rounds, "transfer": options.fit_rounds}
    for work in options.work:
        # Decoding, resizing and the order of the photos differ slightly.
        session.compare(titles[work], work, job, items=count, rounds=rounds[work], exact=False)


if __name__ == "__main__":
    main()
