"""Shared code of the examples: arguments, photos, seeds and the printed results."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import minidl
from minidl import Model, datasets, plotting
from minidl.callbacks import History
from minidl.common.errors import MinidlError
from minidl.data import ArrayDataset, Dataset, ImageFolder
from minidl.data.doctor.doctor import find_leaks
from minidl.data.listing import find_images


def parse(
    text: str,
    epochs: int | None,
    image_size: int = 150,
    cartoon_size: int = 64,
    weights: str = "",
    add=None,
    photos: bool = True,
    other_test: bool = True,
    drawn: str = "cartoon cats and dogs",
) -> argparse.Namespace:
    """Read the command line; `text` is the example's docstring.

    `weights` names the network of an example with pretrained weights; ``add(parser)`` adds the
    options of one example. `drawn` names the cartoons that are drawn without --data. `photos` and
    `other_test` tell whether the example has the options --data and --also-test.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if photos:
        parser.add_argument(
            "--data",
            metavar="DIR",
            help="folder with train/ and test/, each with one folder of photos per class "
            f"(default: {drawn} drawn by minidl)",
        )
    if photos and other_test:
        parser.add_argument(
            "--also-test", metavar="DIR", help="another folder of test photos of the same classes"
        )
    default = epochs or "as in each example"
    parser.add_argument("--epochs", type=int, default=epochs, help=f"default {default}")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one or more; default 0")
    parser.add_argument(
        "--image-size",
        type=int,
        help=f"default {image_size} for photos, {cartoon_size} for cartoons"
        if photos
        else f"default {cartoon_size}",
    )
    if weights:
        parser.add_argument(
            "--weights",
            metavar="FILE",
            default="imagenet",
            help=f"weights of {weights}, a Keras or minidl file "
            "(default: the official one, downloaded)",
        )
    if add:
        add(parser)
    parser.add_argument("--output", default="outputs", help="folder for plots and models")
    options = parser.parse_args()
    of_photos = photos and options.data
    options.image_size = options.image_size or (image_size if of_photos else cartoon_size)
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
    # Refuse a folder with other classes.
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
    """Run a function; on a user's error, print one sentence and exit."""
    try:
        yield
    except (MinidlError, OSError, ValueError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped")


class Run(NamedTuple):
    """The outcome of one training; `result` holds the loss and the metrics of the test data.

    `unseen` holds the accuracy on the test photos that are not among the training photos, and the
    number of these photos. It is None if there are no leaks.
    """

    model: Model
    history: History
    test: Dataset
    result: dict[str, float]
    seconds: float
    unseen: tuple[float, int] | None


def train_and_test(options: argparse.Namespace, seed: int, train_once) -> Run:
    """Train and test once; ``train_once(options, seed) -> (model, history, test data)``."""
    minidl.set_random_seed(seed)
    began = time.perf_counter()
    model, history, test = train_once(options, seed)
    if history.interrupted:  # Ctrl-C ends fit; do not start the next seed
        raise KeyboardInterrupt
    seconds = time.perf_counter() - began
    result = model.evaluate(test, return_dict=True, verbose=0)
    return Run(model, history, test, result, seconds, accuracy_on_unseen(options, model, test))


def accuracy_on_unseen(options, model: Model, test: Dataset) -> tuple[float, int] | None:
    """Return the accuracy on the test photos that are not in train, and their number, or None."""
    leaks = leaked(options.data, tuple(test.files)) if options.data else frozenset()
    if not leaks:
        return None
    p = model.predict(test, verbose=0)  # (N, K), in the order of test.files
    right = (p[:, 0] > 0.5 if p.shape[1] == 1 else p.argmax(axis=1)) == test.labels
    unseen = np.array([file not in leaks for file in test.files])
    return (float(right[unseen].mean()), int(unseen.sum())) if unseen.any() else None


@functools.cache
def leaked(root: str, files: tuple[str, ...]) -> frozenset[str]:
    """Return the test `files` that show the same photo as a training file."""
    return frozenset(find_leaks(find_images(str(Path(root) / "train")), files))


def run(options: argparse.Namespace, name: str, train_once) -> None:
    """Train once for each seed, test, and print and draw the results."""
    with guarded(name):
        _run(options, name, train_once)


def _run(options: argparse.Namespace, name: str, train_once) -> None:
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    other = other_test(options)
    accuracies, unseen, start = [], [], time.perf_counter()
    for seed in options.seed:
        done = train_and_test(options, seed, train_once)
        model, history, test, result, seconds = done[:5]
        accuracies.append(result["accuracy"])
        model.metadata["class_names"] = getattr(test, "class_names", datasets.CARTOON_CLASSES)
        model.save(folder / f"{name}-seed{seed}.h5")
        plotting.plot_history(history, folder / f"{name}-seed{seed}.png", f"{name}, seed {seed}")
        print(
            f"seed {seed}: test accuracy {result['accuracy']:.4f}, "
            f"test loss {result['loss']:.4f}, {seconds:.0f} s"
        )
        if done.unseen:
            unseen.append(done.unseen[0])
            without = f"the {done.unseen[1]} test photos that are not in train"
            print(f"seed {seed}: accuracy {unseen[-1]:.4f} on {without}")
        if other is not None:
            result = model.evaluate(other, return_dict=True, verbose=0)
            print(f"seed {seed}: accuracy {result['accuracy']:.4f} on {options.also_test}")
    print(
        f"{name}: mean test accuracy {np.mean(accuracies):.4f} over seeds "
        f"{' '.join(map(str, options.seed))} ({time.perf_counter() - start:.0f} s in all)"
    )
    if unseen:
        print(f"{name}: mean accuracy {np.mean(unseen):.4f} on {without}")
    summary = {"example": name, "data": options.data, "accuracy": accuracies, "unseen": unseen}
    (folder / f"{name}.json").write_text(json.dumps(summary) + "\n")
