"""``minidl train``: a folder of photos becomes a classifier, from scratch or on a base.

>>> from minidl.cli_train import SCRATCH, TRANSFER
>>> SCRATCH["epochs"], TRANSFER["epochs"]
(30, 20)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import minidl
from minidl.callbacks import ModelCheckpoint, TerminateOnNaN
from minidl.cli_check import warn_of_leaks
from minidl.cli_options import fraction, positive, rate, seed_number
from minidl.cli_predict import class_names, report

__all__ = ["add_training_options", "train"]

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
        help="its weights, a file of Keras or minidl (default: the official ones, downloaded)",
    )  # fmt: skip
    group.add_argument("--until", metavar="LAYER", help="cut the network there, such as mixed8")
    group.add_argument(
        "--augmented-passes", type=positive, metavar="K",
        help="train on K varied versions of each photo (default: the photos as they are)",
    )  # fmt: skip


def train(options: argparse.Namespace) -> int:
    """Train a classifier on a folder of photos, from scratch or on a pretrained base."""
    from minidl import plotting
    from minidl.data import ImageFolder

    output = Path(options.output)
    model = minidl.load_model(output) if options.resume else None
    _settle(options, model)
    _check_before_training(options, model)
    if options.test:
        warn_of_leaks(options.folder, options.test)
    minidl.set_random_seed(options.seed)
    common: dict[str, Any] = {
        "image_size": (options.image_size, options.image_size),
        "batch_size": options.batch_size,
        "seed": options.seed,
    }
    split = {"validation_split": options.validation_split} if options.validation_split else {}
    training = ImageFolder(
        options.folder, **common, **split, subset="training" if split else None,
        class_names=class_names(model) if model else None,
    )  # fmt: skip
    validation = None
    if split:
        validation = ImageFolder(
            options.folder, **common, **split, subset="validation", shuffle=False,
            class_names=training.class_names,
        )  # fmt: skip
    print(f"{len(training.files)} photos of {', '.join(training.class_names)}", flush=True)

    if model:
        _prolong(model, options.epochs, options.epochs * len(training))
    else:
        model = _new_model(options, training)
    history = model.fit(
        training, validation_data=validation, epochs=options.epochs, resume=options.resume,
        augmented_passes=options.augmented_passes,
        callbacks=[TerminateOnNaN(), ModelCheckpoint(output)],
    )  # fmt: skip
    _check_converged(model, options)
    if history.epoch:
        print(f"Model: {output}")
    if history.interrupted:
        return 1
    if options.plot:
        plotting.plot_history(history, options.plot, str(options.folder))
        print(f"Learning curves: {options.plot}")
    if options.test:
        report(model, options.test, options.batch_size, as_json=False)
    return 0


def _settle(options: argparse.Namespace, model) -> None:
    """Fill in what was not given: as the training to be resumed began, else the defaults."""
    noted = model.metadata.get("training") if model else _defaults(options)
    if not isinstance(noted, dict) or not noted.keys() >= SCRATCH.keys():
        raise ValueError(
            f"{options.output}: holds no training of minidl train; in Python, load_model and "
            "fit(resume=True) continue with it"
        )
    for name in SCRATCH:
        given, value = getattr(options, name), noted[name]
        if given is None:
            setattr(options, name, value)
        elif model and given != value and name != "epochs":
            option = f"--{name.replace('_', '-')}"
            began = f"without {option}" if value is False else f"with {option} {value}"
            raise ValueError(
                f"{options.output}: its training began {began}; leave {option} out to resume it, "
                "or --resume to begin anew"
            )


def _defaults(options: argparse.Namespace) -> dict[str, Any]:
    """Return what applies where an option is not given; refuse those that need a base."""
    if options.base and options.no_augmentation:
        raise ValueError("--no-augmentation: with --base photos are not varied anyway")
    if options.weights == "":
        raise ValueError("--weights: expected the name of a file, received none")
    if options.base:
        return {**TRANSFER, "image_size": BASES[options.base][1]}
    for name in ("weights", "until", "augmented_passes"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} goes with --base NETWORK")
    return SCRATCH


def _check_before_training(options: argparse.Namespace, model) -> None:
    """Raise for what would otherwise fail when the training is over."""
    from minidl import plotting
    from minidl.data.listing import find_classes

    folder = Path(options.output).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{options.output}: the folder {folder} does not exist")
    if options.plot:
        plotting.require_matplotlib()
    if options.test:
        classes = list(find_classes(options.test))
        wanted = sorted(class_names(model) if model else find_classes(options.folder))
        if classes != wanted:
            raise ValueError(f"{options.test}: expected the classes {wanted}, found {classes}")


def _new_model(options: argparse.Namespace, training):
    """Build and compile the network for the folder's classes; note how its training begins."""
    names = training.class_names
    build = _on_base if options.base else _from_scratch
    model, optimizer = build(options, training)
    loss = "binary_crossentropy" if len(names) == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.metadata["class_names"] = list(names)
    model.metadata["training"] = {name: getattr(options, name) for name in SCRATCH}
    return model


def _from_scratch(options: argparse.Namespace, training):
    from minidl import optimizers
    from minidl.applications import small_cnn

    model = small_cnn(
        training.image_shape, len(training.class_names), augment=not options.no_augmentation,
        name="pets",
    )  # fmt: skip
    schedule = _schedule(options.epochs * len(training), options.learning_rate)
    return model, optimizers.AdamW(schedule, weight_decay=0.05)


def _on_base(options: argparse.Namespace, training):
    from minidl import applications, optimizers
    from minidl.applications.transfer import transfer_classifier

    network = getattr(applications, BASES[options.base][0])
    base = network(
        options.weights, include_top=False, input_shape=training.image_shape, until=options.until
    )
    model = transfer_classifier(
        base, len(training.class_names), augment=options.augmented_passes > 0, name="pets"
    )
    schedule = _schedule(options.epochs * len(training), options.learning_rate)
    return model, optimizers.AdamW(schedule, weight_decay=0.05)


def _schedule(steps: int, peak: float):
    """Return a learning rate that rises a little while, then falls to zero within `steps`."""
    from minidl.optimizers.schedules import CosineDecay

    return CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=max(1, steps // 20))


def _prolong(model, epochs: int, steps: int) -> None:
    """Make a schedule last as long as the training, so that no epoch learns at rate zero."""
    noted, old = model.metadata["training"], model.optimizer.learning_rate
    noted["epochs"] = max(noted["epochs"], epochs)
    if getattr(old, "decay_steps", steps) < steps and hasattr(old, "warmup_target"):
        model.optimizer.learning_rate = _schedule(steps, old.warmup_target)


def _check_converged(model, options: argparse.Namespace) -> None:
    """Raise where a callback has ended the training: here, they do so for divergence only."""
    if model.stop_training:
        output = Path(options.output)
        kept = f"; {output} keeps the model from before" if output.exists() else ""
        raise RuntimeError(
            "training diverged: the loss is not a finite number any more; train anew with a "
            f"--learning-rate below {options.learning_rate:g}{kept}"
        )
