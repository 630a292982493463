"""The command line: ``minidl demo | train | evaluate | predict | info``.

Exit codes: 0 all went well; 1 the data or a file cannot be used; 2 the command was wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minidl
from minidl.callbacks import ModelCheckpoint, TerminateOnNaN
from minidl.cli_predict import class_names, evaluate, predict, report

__all__ = ["main"]

TRAINING_DEFAULTS: dict[str, Any] = {
    "epochs": 30, "image_size": 96, "batch_size": 32, "learning_rate": 2e-3,
    "validation_split": 0.2, "no_augmentation": False, "seed": 0,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return options.command(options) or 0
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"minidl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minidl: stopped", file=sys.stderr)
        return 1


def demo(options: argparse.Namespace) -> None:
    """Train on the cartoon set."""
    from minidl.demo import run_demo

    run_demo(options.output, options.epochs, options.seed)


def train(options: argparse.Namespace) -> int:
    """Train a small CNN from scratch on a folder of photos."""
    from minidl import plotting
    from minidl.data import ImageFolder

    output = Path(options.output)
    model = minidl.load_model(output) if options.resume else None
    _settle(options, model)
    _check_before_training(options, model)
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
    noted = model.metadata.get("training") if model else TRAINING_DEFAULTS
    if not isinstance(noted, dict) or not TRAINING_DEFAULTS.keys() <= noted.keys():
        raise ValueError(
            f"{options.output}: holds no training of minidl train; in Python, load_model and "
            "fit(resume=True) continue with it"
        )
    for name in TRAINING_DEFAULTS:
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


def _check_before_training(options: argparse.Namespace, model) -> None:
    """Raise for what would otherwise fail when the training is over."""
    from minidl import plotting
    from minidl.data.listing import find_classes

    if options.plot:
        plotting.require_matplotlib()
    if options.test:
        classes = list(find_classes(options.test))
        wanted = sorted(class_names(model) if model else find_classes(options.folder))
        if classes != wanted:
            raise ValueError(f"{options.test}: expected the classes {wanted}, found {classes}")


def _new_model(options: argparse.Namespace, training):
    """Build and compile the network for the folder's classes; note how its training begins."""
    from minidl import optimizers
    from minidl.applications import small_cnn

    names = training.class_names
    model = small_cnn(
        training.image_shape, len(names), augment=not options.no_augmentation, name="pets"
    )
    schedule = _schedule(options.epochs * len(training), options.learning_rate)
    loss = "binary_crossentropy" if len(names) == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizers.AdamW(schedule, weight_decay=0.05), loss, metrics=["accuracy"])
    model.metadata["class_names"] = list(names)
    model.metadata["training"] = {name: getattr(options, name) for name in TRAINING_DEFAULTS}
    return model


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


def info(options: argparse.Namespace) -> None:
    """Print versions, threads and where Numba keeps compiled kernels."""
    import h5py
    import numba
    import numpy
    import PIL
    from threadpoolctl import threadpool_info

    blas = next((item for item in threadpool_info() if item["user_api"] == "blas"), {})
    facts = {
        "minidl": minidl.__version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "h5py": h5py.__version__,
        "pillow": PIL.__version__,
        "blas": f"{blas.get('internal_api', '?')} {blas.get('version', '')}".strip(),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": minidl.get_num_threads(),
        "kernel cache": numba.config.CACHE_DIR or "__pycache__ beside the kernels",
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:13} {value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidl", description="Deep learning in NumPy and Numba: train and use classifiers."
    )
    parser.add_argument("--version", action="version", version=f"minidl {minidl.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(function, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__, help=text, description=text)
        command.set_defaults(command=function)
        return command

    command = add(demo, "train on drawn cats and dogs: a minute from nothing to a classifier")
    command.add_argument(
        "--output", default="minidl-demo",
        help="folder for pictures and model (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--epochs", type=_positive, default=8, metavar="N",
        help="passes over the drawings (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--seed", type=_seed, default=0, metavar="N",
        help="of the weights and the order of training (default: %(default)s)",
    )  # fmt: skip

    command = add(train, "train a small CNN from scratch on a folder of photos")
    _add_training_options(command)

    command = add(evaluate, "test a saved model on a folder of photos")
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument("folder", metavar="DIR", help="one folder of photos for each class")
    command.add_argument(
        "--batch-size", type=_positive, default=32, metavar="N",
        help="photos at a time (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print JSON")

    command = add(predict, "print class and probability of images")
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    command.add_argument("--json", action="store_true", help="print JSON")

    command = add(info, "print versions, threads and settings")
    command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_training_options(command: argparse.ArgumentParser) -> None:
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
        help="train on the photos as they are (default: vary position, size, angle and light)",
    )  # fmt: skip
    for option, kind, metavar, text in (
        ("--epochs", _positive, "N", "passes over the photos"),
        ("--image-size", _positive, "PIXELS", "height and width that photos are resized to"),
        ("--batch-size", _positive, "N", "photos in each step"),
        ("--learning-rate", _rate, "RATE", "highest rate, after warming up"),
        ("--validation-split", _fraction, "SHARE", "of the photos to validate on; 0 for none"),
        ("--seed", _seed, "N", "of the weights, the split and the order of training"),
    ):
        default = TRAINING_DEFAULTS[option.removeprefix("--").replace("-", "_")]
        command.add_argument(
            option, type=kind, metavar=metavar, help=f"{text} (default: {default})"
        )


def _number(kind: type, expected: str, good) -> Callable[[str], Any]:
    """Return the check of one option's value, for argparse."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not good(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, received {text!r}")
        return value

    return parse


_positive = _number(int, "a whole number from 1", lambda n: n >= 1)
_seed = _number(int, "a whole number from 0", lambda n: n >= 0)
_fraction = _number(float, "a number from 0 to below 1", lambda x: 0 <= x < 1)
_rate = _number(float, "a positive number", lambda x: 0 < x < math.inf)


def _show_warning(message, *_) -> None:
    """Print a warning as a user of the command line wants it: without a line of source code."""
    print(f"minidl: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
