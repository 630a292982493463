"""Comparison of seven models on one folder of photos: three from scratch, four pretrained.

    python examples/08_compare_models.py --data PHOTOS --weights inception.h5 vgg16.h5 resnet50.h5

Each model is built and trained as in its own example. The content of a weight file determines which
network it belongs to; official weights that are installed or in the cache are found without a file.
A network without weights is reported as missing, because random weights would say nothing about it.
"""

import argparse
import importlib
import sys
from pathlib import Path

import common
import numpy as np

from minidl import plotting
from minidl.applications.catalog import NETWORKS
from minidl.io import inspect_weights

FROM_SCRATCH = {
    "logistic regression": "01_logistic_regression",
    "dense network": "02_dense_network",
    "small CNN": "03_small_cnn",
}
PRETRAINED = {
    "VGG16": "05_transfer_vgg16",
    "ResNet50": "06_transfer_resnet50",
    "InceptionV3": "07_transfer_inception_v3",
    "EfficientNetLite0": "14_transfer_efficientnet_lite",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option for weight files."""
    parser.add_argument("--weights", metavar="FILE", nargs="+", default=[], help="any of the four")


def find_weights(files: list[str]) -> dict[str, tuple[str, str | None]]:
    """Return, for each network that a file fits, the file and its last layer."""
    found = {}
    for file in files:
        report = inspect_weights(file)
        if not report.fits:
            sys.exit(f"{file}: fits none of {', '.join(PRETRAINED)}: {report.problem}")
        fit = report.fits[0]
        if fit.until and fit.network != "InceptionV3":
            sys.exit(f"{file}: ends at {fit.until}; example {PRETRAINED[fit.network]} needs it all")
        if fit.network in found:
            sys.exit(f"{file}: a second file for {fit.network}, after {found[fit.network][0]}")
        found[fit.network] = file, fit.until
    for network in NETWORKS.values():
        name = getattr(network.factory, "__name__", "")
        if name in PRETRAINED and name not in found and network.local_file() is not None:
            found[name] = "imagenet", "mixed8" if name == "InceptionV3" else None
    return found


def options_for(options, example, weights, until) -> argparse.Namespace:
    """Return the options with the defaults of that example."""
    own = {"epochs": options.epochs or example.EPOCHS, "weights": weights, "until": until}
    return argparse.Namespace(**{**vars(options), **own, "fine_tune": None})


def compare(options: argparse.Namespace) -> list[tuple]:
    """Train all models; return for each its name, test accuracies (None: no weights), the same
    for the photos that are not in train, and seconds a run."""
    weights = find_weights(options.weights)
    rows = []
    for name, module in {**FROM_SCRATCH, **PRETRAINED}.items():
        if name in PRETRAINED and name not in weights:
            rows.append((name, None, None, 0.0))
            continue
        example = importlib.import_module(module)
        file, until = weights.get(name, (None, None))
        settings = options_for(options, example, file, until)
        runs = [common.train_and_test(settings, s, example.train_once) for s in options.seed]
        accuracies = [run.result["accuracy"] for run in runs]
        unseen = [run.unseen[0] for run in runs if run.unseen] or accuracies
        rows.append((name, accuracies, unseen, float(np.mean([run.seconds for run in runs]))))
    return rows


def report(rows, options: argparse.Namespace) -> None:
    """Print a table and draw the accuracies as bars."""
    print(f"\n{'model':22} {'test accuracy':>14} {'not in train':>14} {'training':>10}")
    for name, accuracies, unseen, seconds in rows:
        if accuracies is None:
            print(f"{name:22} {'no weights':>14}")
        else:
            means = f"{np.mean(accuracies):>14.1%} {np.mean(unseen):>14.1%}"
            print(f"{name:22} {means} {seconds:>8.0f} s")
    known = {name: float(100 * np.mean(a)) for name, a, *_ in rows if a is not None}
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    plotting.plot_bars(known, folder / "compare_models.png", "test accuracy, %")
    print(f"Bar chart: {folder / 'compare_models.png'}")


if __name__ == "__main__":
    options = common.parse(__doc__, epochs=None, cartoon_size=96, add=add_options)
    with common.guarded("compare_models"):
        report(compare(options), options)
