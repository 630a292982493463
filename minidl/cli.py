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

__all__ = ["main"]


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
    from minidl import callbacks, plotting
    from minidl.data import ImageFolder

    minidl.set_random_seed(options.seed)
    output = Path(options.output)
    model = minidl.load_model(output) if options.resume else None
    _check_before_training(options, model)
    size = _image_size(model) if model else (options.image_size, options.image_size)
    names = _class_names(model) if model else None
    common = {"image_size": size, "batch_size": options.batch_size, "seed": options.seed}
    split = {"validation_split": options.validation_split} if options.validation_split else {}
    training = ImageFolder(
        options.folder, **common, **split, subset="training" if split else None, class_names=names
    )
    validation = None
    if split:
        validation = ImageFolder(
            options.folder, **common, **split, subset="validation", shuffle=False,
            class_names=training.class_names,
        )  # fmt: skip
    print(f"{len(training.files)} photos of {', '.join(training.class_names)}", flush=True)

    if model:
        _prolong_schedule(model.optimizer, options.epochs * len(training))
    else:
        model = _new_model(options, size, training)
    save = callbacks.ModelCheckpoint(output)
    history = model.fit(
        training, validation_data=validation, epochs=options.epochs, callbacks=[save],
        resume=options.resume,
    )  # fmt: skip
    if history.epoch:
        print(f"Model: {output}")
    if history.interrupted:
        return 1
    if options.plot:
        plotting.plot_history(history, options.plot, str(options.folder))
        print(f"Learning curves: {options.plot}")
    if options.test:
        _report(model, options.test, options.batch_size, as_json=False)
    return 0


def _check_before_training(options: argparse.Namespace, model) -> None:
    """Raise for what would otherwise fail when the training is over."""
    from minidl import plotting
    from minidl.data.listing import find_classes

    if options.plot:
        plotting.require_matplotlib()
    if options.test:
        classes = list(find_classes(options.test))
        wanted = sorted(_class_names(model) if model else find_classes(options.folder))
        if classes != wanted:
            raise ValueError(f"{options.test}: expected the classes {wanted}, found {classes}")


def _new_model(options: argparse.Namespace, size: tuple[int, int], training):
    """Build and compile the network for the folder's classes."""
    from minidl import optimizers
    from minidl.applications import small_cnn

    names = training.class_names
    model = small_cnn((*size, 3), len(names), augment=not options.no_augmentation, name="pets")
    schedule = _schedule(options.epochs * len(training), options.learning_rate)
    loss = "binary_crossentropy" if len(names) == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizers.AdamW(schedule, weight_decay=0.05), loss, metrics=["accuracy"])
    model.metadata["class_names"] = list(names)
    return model


def _schedule(steps: int, peak: float):
    """Return a learning rate that rises a little while, then falls to zero within `steps`."""
    from minidl.optimizers.schedules import CosineDecay

    return CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=max(1, steps // 20))


def _prolong_schedule(optimizer, steps: int) -> None:
    """Make a schedule last as long as the training, so that no epoch learns at rate zero."""
    old = optimizer.learning_rate
    if getattr(old, "decay_steps", steps) < steps and hasattr(old, "warmup_target"):
        optimizer.learning_rate = _schedule(steps, old.warmup_target)


def evaluate(options: argparse.Namespace) -> None:
    """Test a saved model on a folder of photos."""
    _report(minidl.load_model(options.model), options.folder, options.batch_size, options.json)


def _report(model, folder, batch_size: int, as_json: bool) -> None:
    """Print loss, accuracy and the confusion matrix of a model on a folder."""
    from minidl.data import ImageFolder

    noted = _class_names(model) if "class_names" in model.metadata else None
    dataset = ImageFolder(
        folder, image_size=_image_size(model), batch_size=batch_size, shuffle=False,
        class_names=noted, color_mode=_color_mode(model),
    )  # fmt: skip
    names = dataset.class_names
    results: dict[str, Any] = model.evaluate(dataset, return_dict=True, verbose=0)
    matrix = minidl.metrics.ConfusionMatrix(num_classes=len(names))
    for x, y in dataset.batches(0):
        matrix.update_state(y, model.predict_on_batch(x))
    counts = matrix.result()
    if as_json:
        print(json.dumps({**results, "class_names": names, "confusion_matrix": counts.tolist()}))
        return
    print(f"{folder}: " + ", ".join(f"{name} {value:.4f}" for name, value in results.items()))
    width = max(len(name) for name in names)
    for name, row in zip(names, counts, strict=True):
        cells = ", ".join(f"{n} as {other}" for n, other in zip(row, names, strict=True))
        print(f"  {name.ljust(width)}: {cells}")


def predict(options: argparse.Namespace) -> int:
    """Print class and probability of each image; go on after one that cannot be read."""
    import numpy as np

    from minidl.data.images import load_image
    from minidl.errors import DataError

    model = minidl.load_model(options.model)
    names = _class_names(model)
    results: list[dict[str, Any]] = []
    for path in options.images:
        try:
            image = load_image(path, _image_size(model), _color_mode(model))
        except DataError as error:
            results.append({"file": str(path), "error": str(error)})
            continue
        p = model.predict_on_batch(image[None].astype(np.float32))[0]
        p = np.array([1 - p[0], p[0]]) if len(p) == 1 else p
        results.append(
            {
                "file": str(path),
                "class": names[int(p.argmax())],
                "probability": round(float(p.max()), 6),
                "probabilities": {
                    name: round(float(v), 6) for name, v in zip(names, p, strict=True)
                },
            }
        )
    if options.json:
        print(json.dumps(results, indent=2))
    for item in results:
        if "error" in item:
            print(f"minidl: {item['error']}", file=sys.stderr)
        elif not options.json:
            print(f"{item['file']}: {item['class']} {item['probability']:.1%}")
    return 1 if any("error" in item for item in results) else 0


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


def _class_names(model) -> list[str]:
    """The names that training noted in the model, or made-up ones."""
    if not model.single_output or len(model.output_shape) != 2:
        raise ValueError(f"{model.label} is no classifier: its output is {model.output_shape}")
    outputs = model.output_shape[-1]
    count = 2 if outputs == 1 else outputs
    names = model.metadata.get("class_names") or [f"class_{i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{model.label}: {len(names)} class names for {count} classes")
    return list(names)


def _image_size(model) -> tuple[int, int]:
    shape = model.input_shape
    if not model.single_input or len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError(f"{model.label} does not take images: its input is {shape}")
    default = model.metadata.get("image_size", (224, 224))
    return shape[1] or default[0], shape[2] or default[1]


def _color_mode(model) -> str:
    return "grayscale" if model.input_shape[3] == 1 else "rgb"


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
    command.add_argument("--output", default="minidl-demo", help="folder for pictures and model")
    command.add_argument("--epochs", type=_positive, default=8)
    command.add_argument("--seed", type=_seed, default=0)

    command = add(train, "train a small CNN from scratch on a folder of photos")
    command.add_argument("folder", metavar="DIR", help="one folder of photos for each class")
    command.add_argument("--test", metavar="DIR", help="photos for a test at the end")
    command.add_argument("--output", default="model.h5", help="the model file (default: model.h5)")
    command.add_argument("--plot", metavar="PNG", help="write learning curves")
    command.add_argument("--epochs", type=_positive, default=30)
    command.add_argument("--image-size", type=_positive, default=96)
    command.add_argument("--batch-size", type=_positive, default=32)
    command.add_argument("--learning-rate", type=_rate, default=2e-3)
    command.add_argument("--validation-split", type=_fraction, default=0.2, help="0 for none")
    command.add_argument("--no-augmentation", action="store_true")
    command.add_argument("--resume", action="store_true", help="continue from the model file")
    command.add_argument("--seed", type=_seed, default=0)

    command = add(evaluate, "test a saved model on a folder of photos")
    command.add_argument("model", metavar="MODEL")
    command.add_argument("folder", metavar="DIR")
    command.add_argument("--batch-size", type=_positive, default=32)
    command.add_argument("--json", action="store_true")

    command = add(predict, "print class and probability of images")
    command.add_argument("model", metavar="MODEL")
    command.add_argument("images", metavar="IMAGE", nargs="+")
    command.add_argument("--json", action="store_true")

    command = add(info, "print versions, threads and settings")
    command.add_argument("--json", action="store_true")
    return parser


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
