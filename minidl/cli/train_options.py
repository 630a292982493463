"""Options of ``minidl train`` and their defaults.

>>> from minidl.cli.train_options import SCRATCH, TRANSFER
>>> SCRATCH["epochs"], TRANSFER["epochs"]
(30, 20)
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from minidl.applications.catalog import NETWORKS
from minidl.cli.options import fraction, option_name, positive, rate, seed_number

__all__ = ["FINE_TUNE_RATE", "NO_BASE", "SCRATCH", "TRANSFER", "UPPER", "add_training_options"]

NO_BASE = "none"  # --base none: from scratch
UPPER = "upper"  # --fine-tune without a layer: the upper fifth of the convolutions
FINE_TUNE_RATE = 0.01  # learning rate of fine-tuning, as a fraction of the head's
SCRATCH: dict[str, Any] = {
    "epochs": 30,
    "image_size": 96,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "validation_split": 0.2,
    "no_augmentation": False,
    "seed": 0,
    "class_weight": None,
    "early_stopping": None,
    "base": NO_BASE,
    "weights": None,
    "until": None,
    "augmented_passes": 0,
    "fine_tune": None,
    "fine_tune_epochs": 5,
}
TRANSFER = {**SCRATCH, "epochs": 20, "learning_rate": 1e-2}
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
        help="continue the training of the model file with its original options; --epochs and "
        "--fine-tune-epochs may be higher, and --fine-tune may be added",
    )
    for name, kind, metavar, text in NUMBERS:
        default = f"default: {TRANSFER[name]}"
        if name == "image_size":
            default = "default: the size that the base was trained on"
        if name == "image_size" or TRANSFER[name] != SCRATCH[name]:
            default += f"; from scratch {SCRATCH[name]}"
        command.add_argument(
            option_name(name), type=kind, metavar=metavar, help=f"{text} ({default})"
        )
    command.add_argument(
        "--class-weight",
        choices=["balanced"],
        help="weigh the photos in the loss so that each class counts the same (default: each "
        "photo counts the same)",
    )
    command.add_argument(
        "--early-stopping",
        type=positive,
        metavar="N",
        help="stop when the validation loss has not improved for N epochs, and keep the weights "
        "of the best epoch (default: train for all epochs)",
    )
    command.add_argument(
        "--shards",
        type=positive,
        metavar="S",
        help="divide each batch into S parts, which `mpiexec -n N minidl train` shares among N "
        "processes; S, not N, determines the result (default: N)",
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
        "--base",
        choices=[*NETWORKS, NO_BASE],
        metavar="NETWORK",
        help="train a new classifier on top of this frozen network of `minidl bases`; none: from "
        "scratch (default: efficientnet_lite0 if its weights are on this machine; else pets_net "
        "for cats and dogs; else none)",
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the base, in a file of Keras, PyTorch or minidl (default: the official "
        "ones, downloaded if necessary; those of pets_net ship with minidl)",
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
    group.add_argument(
        "--fine-tune",
        metavar="LAYER",
        nargs="?",
        const=UPPER,
        help="afterwards also train the base from LAYER upwards, at a hundredth of the learning "
        "rate, the base at a tenth of that (without LAYER: the upper fifth of its convolutions)",
    )
    group.add_argument(
        "--fine-tune-epochs",
        type=positive,
        metavar="N",
        help=f"epochs of --fine-tune (default: {SCRATCH['fine_tune_epochs']})",
    )
    command.add_argument_group("training from scratch").add_argument(
        "--no-augmentation",
        action="store_true",
        default=None,
        help="train from scratch on the unchanged photos (default: vary position, size, angle "
        "and brightness)",
    )
