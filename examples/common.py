"""What the examples share: arguments, loading a folder of photos, seeds and the report."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minidl
from minidl import Model, datasets, plotting
from minidl.callbacks import History
from minidl.data import ArrayDataset, Dataset, ImageFolder
from minidl.errors import MinidlError


def parse(
    text: str,
    epochs: int | None,
    image_size: int = 150,
    cartoon_size: int = 64,
    weights: str = "",
    add=None,
) -> argparse.Namespace:
    """Read the command line; `text` is the example's docstring.

    Examples that need pretrained weights say in `weights` of which network; ``add(parser)`` adds
    options of the example's own.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder with train/ and test/, each with one folder of photos per class "
        "(default: cartoon cats and dogs drawn by minidl)",
    )
    parser.add_argument(
        "--also-test", metavar="DIR", help="another folder of test photos of the same classes"
    )
    default = epochs or "as in each example"
    parser.add_argument("--epochs", type=int, default=epochs, help=f"default {default}")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one or more; default 0")
    parser.add_argument(
        "--image-size",
        type=int,
        help=f"default {image_size} for photos, {cartoon_size} for cartoons",
    )
    if weights:
        parser.add_argument(
            "--weights",
            metavar="FILE",
            default="imagenet",
            help=f"{weights}'s weights, a file of Keras or minidl "
            "(default: the official one, downloaded)",
        )
    if add:
        add(parser)
    parser.add_argument("--output", default="outputs", help="folder for plots and models")
    options = parser.parse_args()
    options.image_size = options.image_size or (image_size if options.data else cartoon_size)
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


def other_test(options: argparse.Namespace) -> ImageFolder | None:
    """Return the photos of --also-test, if there are any."""
    if not options.also_test:
        return None
    size = (options.image_size, options.image_size)
    names = ImageFolder(Path(options.data) / "train").class_names if options.data else None
    return ImageFolder(options.also_test, image_size=size, shuffle=False, class_names=names)


@contextlib.contextmanager
def guarded(name: str):
    """End the program with one sentence where photos, weights or arguments are wrong."""
    try:
        yield
    except (MinidlError, OSError, ValueError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped")


class Run(NamedTuple):
    """What one training gave: the test's loss and metrics are in `result`."""

    model: Model
    history: History
    test: Dataset
    result: dict[str, float]
    seconds: float


def train_and_test(options: argparse.Namespace, seed: int, train_once) -> Run:
    """Train and test once; ``train_once(options, seed) -> (model, history, test data)``."""
    minidl.set_random_seed(seed)
    began = time.perf_counter()
    model, history, test = train_once(options, seed)
    if history.interrupted:  # fit ends in order at Ctrl-C; the next seed should not begin
        raise KeyboardInterrupt
    seconds = time.perf_counter() - began
    return Run(model, history, test, model.evaluate(test, return_dict=True, verbose=0), seconds)


def run(options: argparse.Namespace, name: str, train_once) -> None:
    """Train once for each seed, test, and print and draw the results."""
    with guarded(name):
        _run(options, name, train_once)


def _run(options: argparse.Namespace, name: str, train_once) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    other = other_test(options)
    accuracies, start = [], time.perf_counter()
    for seed in options.seed:
        model, history, test, result, seconds = train_and_test(options, seed, train_once)
        accuracies.append(result["accuracy"])
        model.metadata["class_names"] = getattr(test, "class_names", datasets.CARTOON_CLASSES)
        model.save(folder / f"{name}-seed{seed}.h5")
        plotting.plot_history(history, folder / f"{name}-seed{seed}.png", f"{name}, seed {seed}")
        print(
            f"seed {seed}: test accuracy {result['accuracy']:.4f}, "
            f"test loss {result['loss']:.4f}, {seconds:.0f} s"
        )
        if other is not None:
            result = model.evaluate(other, return_dict=True, verbose=0)
            print(f"seed {seed}: accuracy {result['accuracy']:.4f} on {options.also_test}")
    print(
        f"{name}: mean test accuracy {np.mean(accuracies):.4f} over seeds "
        f"{' '.join(map(str, options.seed))} ({time.perf_counter() - start:.0f} s in all)"
    )
    summary = {"example": name, "data": options.data, "accuracy": accuracies}
    (folder / f"{name}.json").write_text(json.dumps(summary) + "\n")
