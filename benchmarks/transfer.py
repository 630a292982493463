"""From a folder of photos to a trained head on a frozen InceptionV3, minidl beside the peers.

    python benchmarks/transfer.py --peer-python .venv-peers/bin/python --data photos/train
    python benchmarks/transfer.py --work features --rounds 3

Two pieces of work, each from JPEG files on:

    features   one pass through the base, pooled features of all photos
    transfer   20 epochs of a dropout and a dense layer on the base: against Keras' fit of the same

Times are for all of that, divided by the number of photos. Without --data, 466 photos are drawn
first. Every engine reads with as many threads as it computes with; decoded photos stay in memory
after an epoch.
"""

from __future__ import annotations

import bench

PHOTOS, PHOTO_SIZE = 466, 400  # drawn where there are none: as many as in the small pets set


def main() -> None:
    """Compare both pieces of work."""
    parser = bench.arguments(__doc__, rounds=3)
    add = parser.add_argument
    add("--data", metavar="DIR", help="folder with two folders of photos (default: drawn ones)")
    add("--work", nargs="+", choices=("features", "transfer"), default=["features", "transfer"],
        metavar="WORK", help="features, transfer or both (default)")  # fmt: skip
    add("--fit-rounds", type=bench.positive, default=1, metavar="N",
        help="rounds of transfer, in which Keras takes minutes; default: 1")  # fmt: skip
    add("--epochs", type=bench.positive, default=20, metavar="N", help="default: 20")
    add("--batch-size", type=bench.positive, default=32, metavar="N", help="default: 32")
    options = bench.parse(parser)
    with bench.Session(options, "transfer") as session:
        compare(session, options)


def compare(session: bench.Session, options) -> None:
    """Lay photos and network ready, and measure."""
    size, batch = (75, 4) if options.smoke else (299, options.batch_size)
    photos = options.data
    if photos is None:
        photos = str(session.folder("photos"))
        count, side = (10, 75) if options.smoke else (PHOTOS, PHOTO_SIZE)
        bench.run_script("photos.py", "draw", photos, count, side)
    few = str(session.folder("few"))
    count = int(bench.run_script("photos.py", "few", photos, few, batch))
    specification = {
        "network": "InceptionV3", "size": size, "top": False, "pooling": "avg",
        "preprocessing": True,
    }  # fmt: skip
    epochs = 2 if options.smoke else options.epochs
    job = {
        "folder": session.network(specification), "photos": photos, "few_photos": few,
        "size": size, "batch": batch, "epochs": epochs,
    }  # fmt: skip
    titles = {
        "features": f"InceptionV3, {size} px: features of {count} photos, one pass",
        "transfer": f"frozen InceptionV3 and head, {size} px: {count} photos, {epochs} epochs",
    }
    rounds = {"features": options.rounds, "transfer": options.fit_rounds}
    for work in options.work:
        # Resizing and decoding differ a little, and so does the order of the photos.
        session.compare(titles[work], work, job, items=count, rounds=rounds[work], exact=False)


if __name__ == "__main__":
    main()
