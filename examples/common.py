"""What the examples share: arguments, loading a folder of photos, seeds and the report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import minidl
from minidl import datasets, plotting
from minidl.data import ArrayDataset, ImageFolder
from minidl.errors import DataError


def parse(text: str, epochs: int, image_size: int = 150) -> argparse.Namespace:
    """Read the command line; `text` is the example's docstring."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with train/ and test/, each with one folder of photos per class "
        "(default: cartoon cats and dogs drawn by minidl)",
    )
    parser.add_argument("--epochs", type=int, default=epochs, help=f"default {epochs}")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one or more; default 0")
    parser.add_argument(
        "--image-size", type=int, help=f"default {image_size} for photos, 64 for cartoons"
    )
    parser.add_argument("--output", default="outputs", help="folder for plots and models")
    options = parser.parse_args()
    options.image_size = options.image_size or (image_size if options.data else 64)
    return options


def load(options: argparse.Namespace, seed: int, batch_size: int = 32, validation: float = 0.2):
    """Return train, validation and test data; the validation part is taken from train."""
    size = (options.image_size, options.image_size)
    if options.data is None:
        x, y = datasets.cartoon_pets(1500, size[0], seed=0)
        cut = int(len(x) * (1 - validation))
        test = datasets.cartoon_pets(500, size[0], seed=1)
        train = ArrayDataset(x[:cut], y[:cut], batch_size=batch_size, shuffle=True, seed=seed)
        held_out = ArrayDataset(x[cut:], y[cut:]) if validation else None
        return train, held_out, ArrayDataset(*test)
    common = {"image_size": size, "batch_size": batch_size, "seed": seed}
    root = Path(options.data)
    if validation:
        train, held_out = (
            ImageFolder(
                root / "train",
                validation_split=validation,
                subset=subset,
                shuffle=shuffle,
                **common,
            )
            for subset, shuffle in (("training", True), ("validation", False))
        )
    else:
        train, held_out = ImageFolder(root / "train", **common), None
    # The same classes in the same order, or else a clear complaint.
    test = ImageFolder(root / "test", shuffle=False, class_names=train.class_names, **common)
    return train, held_out, test


def run(options: argparse.Namespace, name: str, train_once) -> None:
    """Train once for each seed, test, and print and draw the results.

    ``train_once(options, seed) -> (model, history, test data)``
    """
    try:
        _run(options, name, train_once)
    except DataError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped")


def _run(options: argparse.Namespace, name: str, train_once) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    accuracies, start = [], time.perf_counter()
    for seed in options.seed:
        minidl.set_random_seed(seed)
        began = time.perf_counter()
        model, history, test = train_once(options, seed)
        if history.interrupted:  # fit ends in order at Ctrl-C; the next seed should not begin
            raise KeyboardInterrupt
        seconds = time.perf_counter() - began
        result = model.evaluate(test, return_dict=True, verbose=0)
        accuracies.append(result["accuracy"])
        model.metadata["class_names"] = getattr(test, "class_names", datasets.CARTOON_CLASSES)
        model.save(folder / f"{name}-seed{seed}.h5")
        plotting.plot_history(history, folder / f"{name}-seed{seed}.png", f"{name}, seed {seed}")
        print(
            f"seed {seed}: test accuracy {result['accuracy']:.4f}, "
            f"test loss {result['loss']:.4f}, {seconds:.0f} s"
        )
    print(
        f"{name}: mean test accuracy {np.mean(accuracies):.4f} over seeds "
        f"{' '.join(map(str, options.seed))} ({time.perf_counter() - start:.0f} s in all)"
    )
    summary = {"example": name, "data": options.data, "accuracy": accuracies}
    (folder / f"{name}.json").write_text(json.dumps(summary) + "\n")
