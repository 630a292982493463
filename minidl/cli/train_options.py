"""The options of ``minidl train``, and what applies where they are not given.

>>> from minidl.cli.train_options import SCRATCH, TRANSFER
>>> SCRATCH["epochs"], TRANSFER["epochs"]
(30, 20)
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from minidl.cli.options import fraction, positive, rate, seed_number

__all__ = ["BASES", "SCRATCH", "TRANSFER", "add_training_options"]

SCRATCH: dict[str, Any] = {
    "epochs": 30, "image_size": 96, "batch_size": 32, "learning_rate": 2e-3,
    "validation_split": 0.2, "no_augmentation": False, "seed": 0, "base": None, "weights": None,
    "until": None, "augmented_passes": 0,
}  # fmt: skip
TRANSFER = {**SCRATCH, "epochs": 20, "learning_rate": 1e-2, "weights": "imagenet"}
BASES = {
    "vgg16": ("VGG16", 224),
    "resnet50": ("ResNet50", 224),
    "inception_v3": ("InceptionV3", 299),
    "pets_net": ("PetsNet", 128),
}


def add_training_options(command: argparse.ArgumentParser) -> None:
    """Add the options of train; those not given are None, so that --resume can tell."""
    command.add_argument("folder", metavar="DIR", help="one folder of photos for each class")
    command.add_argument("--test", metavar="DIR", help="photos for a test at the end")
    command.add_argument(
        "--output", default="model.h5", help="the model file (default: %(default)s)"
    )
    command.add_argument("--plot", metavar="PNG", help="write learning curves")
    command.add_argument(
        "--report", metavar="HTML",
        help="write a report to look at: figures, curves, mistakes with what speaks for them; of "
        "the --test photos, else of those validated on",
    )  # fmt: skip
    command.add_argument(
        "--runs", metavar="DIR", default=os.environ.get("MINIDL_RUNS", "runs"),
        help="folder for what each training leaves behind: options, numbers, models, report; see "
        "minidl runs (default: %(default)s, or what MINIDL_RUNS says)",
    )  # fmt: skip
    command.add_argument(
        "--no-run", dest="runs", action="store_const", const="", help="leave nothing there"
    )
    command.add_argument(
        "--resume", action="store_true",
        help="continue from the model file, with the options its training began with; "
        "--epochs may be higher",
    )  # fmt: skip
    command.add_argument(
        "--no-augmentation", action="store_true", default=None,
        help="from scratch: train on the photos as they are (default: vary position, size, angle "
        "and light)",
    )  # fmt: skip
    for option, kind, metavar, text in (
        ("--epochs", positive, "N", "passes over the photos"),
        ("--image-size", positive, "PIXELS", "height and width that photos are resized to"),
        ("--batch-size", positive, "N", "photos in each step"),
        ("--learning-rate", rate, "RATE", "highest rate, after warming up"),
        ("--validation-split", fraction, "SHARE", "of the photos to validate on; 0 for none"),
        ("--seed", seed_number, "N", "of the weights, the split and the order of training"),
    ):
        name = option.removeprefix("--").replace("-", "_")
        default = f"default: {SCRATCH[name]}"
        if name == "image_size":
            default += "; with --base what the network was trained on"
        elif TRANSFER[name] != SCRATCH[name]:
            default += f"; with --base {TRANSFER[name]}"
        command.add_argument(option, type=kind, metavar=metavar, help=f"{text} ({default})")
    _add_base_options(command)


def _add_base_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("transfer learning")
    group.add_argument(
        "--base", choices=BASES, help="train a new top on this network, whose layers stay frozen"
    )
    group.add_argument(
        "--weights", metavar="FILE",
        help="its weights, a file of Keras or minidl (default: the official ones, downloaded; "
        "those of pets_net come with minidl)",
    )  # fmt: skip
    group.add_argument("--until", metavar="LAYER", help="cut the network there, such as mixed8")
    group.add_argument(
        "--augmented-passes", type=positive, metavar="K",
        help="train on K varied versions of each photo (default: the photos as they are)",
    )  # fmt: skip
