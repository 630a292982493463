"""Options of ``minidl train`` and their defaults.

>>> from minidl.cli.train_options import SCRATCH, TRANSFER
>>> SCRATCH["epochs"], TRANSFER["epochs"]
(30, 20)
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from minidl.cli.options import fraction, option_name, positive, rate, seed_number

__all__ = ["BASES", "SCRATCH", "TRANSFER", "add_training_options"]

SCRATCH: dict[str, Any] = {
    "epochs": 30,
    "image_size": 96,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "validation_split": 0.2,
    "no_augmentation": False,
    "seed": 0,
    "base": None,
    "weights": None,
    "until": None,
    "augmented_passes": 0,
}
TRANSFER = {**SCRATCH, "epochs": 20, "learning_rate": 1e-2, "weights": "imagenet"}
BASES = {
    "vgg16": ("VGG16", 224),
    "resnet50": ("ResNet50", 224),
    "inception_v3": ("InceptionV3", 299),
    "pets_net": ("PetsNet", 128),
}
NUMBERS = (
    ("epochs", positive, "N", "passes over the photos"),
    ("image_size", positive, "PIXELS", "height and width of the resized photos"),
    ("batch_size", positive, "N", "photos per step"),
    ("learning_rate", rate, "RATE", "highest learning rate, after the warm-up"),
    ("validation_split", fraction, "SHARE", "share of photos for validation; 0 for none"),
    ("seed", seed_number, "N", "seed of the weights, the split and the order of training"),
)


def add_training_options(command: argparse.ArgumentParser) -> None:
    """Add the options of train; omitted ones are None, so that --resume can tell."""
    _add_files(command)
    command.add_argument(
        "--resume",
        action="store_true",
        help="continue the training of the model file with its original options; --epochs may be "
        "higher",
    )
    command.add_argument(
        "--no-augmentation",
        action="store_true",
        default=None,
        help="from scratch: train on the unchanged photos (default: vary position, size, angle "
        "and brightness)",
    )
    for name, kind, metavar, text in NUMBERS:
        default = f"default: {SCRATCH[name]}"
        if name == "image_size":
            default += "; with --base the size that the network was trained on"
        elif TRANSFER[name] != SCRATCH[name]:
            default += f"; with --base {TRANSFER[name]}"
        command.add_argument(
            option_name(name), type=kind, metavar=metavar, help=f"{text} ({default})"
        )
    _add_base(command)


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", metavar="DIR", help="folder with one folder of photos per class")
    command.add_argument("--test", metavar="DIR", help="photos to test on after the training")
    command.add_argument(
        "--output", default="model.h5", help="model file to write (default: %(default)s)"
    )
    command.add_argument("--plot", metavar="PNG", help="write the learning curves")
    command.add_argument(
        "--report",
        metavar="HTML",
        help="write a report with metrics, learning curves and the worst mistakes with Grad-CAM "
        "maps, on the --test photos, else on the validation photos",
    )
    command.add_argument(
        "--runs",
        metavar="DIR",
        default=os.environ.get("MINIDL_RUNS", "runs"),
        help="folder for the run folder of each training: options, metrics, models and report; "
        "see minidl runs (default: %(default)s, or the value of MINIDL_RUNS)",
    )
    command.add_argument(
        "--no-run", dest="runs", action="store_const", const="", help="create no run folder"
    )


def _add_base(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("transfer learning")
    group.add_argument(
        "--base", choices=BASES, help="train a new classifier on top of this frozen network"
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the base, in a file of Keras or minidl (default: the official ones, "
        "downloaded; those of pets_net ship with minidl)",
    )
    group.add_argument(
        "--until", metavar="LAYER", help="last layer of the base to use, such as mixed8"
    )
    group.add_argument(
        "--augmented-passes",
        type=positive,
        metavar="K",
        help="train on K augmented versions of each photo (default: the unchanged photos)",
    )
