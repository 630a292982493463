"""``minidl train``: a folder of photos becomes a classifier, from scratch or on a base."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl.callbacks import ModelCheckpoint, TerminateOnNaN
from minidl.cli.check import warn_of_leaks
from minidl.cli.predict import report
from minidl.cli.run_folder import Run
from minidl.cli.train_options import BASES, SCRATCH, TRANSFER
from minidl.common.output_paths import PLOTS, check_output
from minidl.evaluation.classifier import class_names

__all__ = ["train"]


def train(options: argparse.Namespace) -> int:
    """Train a classifier on a folder of photos, from scratch or on a pretrained base."""
    from minidl.common import plotting
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
    run = _run_of(options, model, training)
    older = _stamp(output)
    began = time.perf_counter()
    history = model.fit(
        training, validation_data=validation, epochs=options.epochs, resume=options.resume,
        augmented_passes=options.augmented_passes,
        callbacks=[
            TerminateOnNaN(), ModelCheckpoint(output),
            *(run.callbacks(validation is not None) if run else []),
        ],
    )  # fmt: skip
    if run:
        if _stamp(output) != older:  # a training that diverged has written nothing
            run.keep(output)
        _close(run, model, history, time.perf_counter() - began)
    _check_converged(model, options)
    if history.epoch:
        print(f"Model: {output}")
    if history.interrupted:
        return 1
    if options.plot:
        plotting.plot_history(history, options.plot, str(options.folder))
        print(f"Learning curves: {options.plot}")
    if options.test:
        results = report(model, options.test, options.batch_size, as_json=False)
        if run:
            run.finish(test=results, state="finished")
    _report(options, run, model, history, training, validation)
    return 0


def _run_of(options: argparse.Namespace, model, training) -> Run | None:
    """Return the folder to note this training in: a new one, or that of the training resumed."""
    if not options.runs:
        return None
    if options.resume and "run" in model.metadata:
        with contextlib.suppress(ValueError):  # it has been moved or deleted
            run = Run(model.metadata["run"])
            run.amend(epochs=options.epochs)
            return run
    config = {name: getattr(options, name) for name in (*SCRATCH, "folder", "test", "output")}
    names, counts = training.class_names, np.bincount(training.labels)
    config["photos"] = dict(zip(names, counts.tolist(), strict=True))
    config["command"] = _command(options)
    run = Run.new(options.runs, options.base or "small_cnn", config)
    model.metadata["run"] = str(run.folder.resolve())  # whence ever it will be resumed
    print(f"Run: {run.folder}", flush=True)
    return run


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from the one that will replace it."""
    with contextlib.suppress(OSError):
        state = path.stat()
        return state.st_ino, state.st_mtime_ns
    return None


def _close(run: Run, model, history, seconds: float) -> None:
    """Note how the training ended."""
    state = "interrupted" if history.interrupted else "finished"
    # A test from before the training was resumed says nothing of this model.
    run.finish(seconds, state="diverged" if model.stop_training else state, test=None)


def _report(options: argparse.Namespace, run: Run | None, model, *trained) -> None:
    """Write the report where it was asked for; into the run's folder, where it can be drawn."""
    if options.report:
        _write_report(options, options.report, model, *trained)
        print(f"Report: {options.report}")
        if run:
            shutil.copyfile(options.report, run.report)
    elif run and (options.test or options.validation_split):
        with contextlib.suppress(ImportError):  # no matplotlib, no report
            _write_report(options, run.report, model, *trained)
            print(f"Report: {run.report}")


def _write_report(options, path, model, history, training, validation) -> None:
    """Write the report of the test photos, or of the validation part where there are none."""
    from minidl import data
    from minidl.report import write

    test, part = validation, "validation"
    if options.test:
        part = "test"
        test = data.ImageFolder(
            options.test, options.image_size, options.batch_size, shuffle=False,
            class_names=training.class_names,
        )  # fmt: skip
    findings = data.check(options.folder, options.test)
    write(
        path, model, test, part=part, history=history, train_data=training,
        validation_data=validation, findings=findings, command=_command(options),
    )  # fmt: skip


def _command(options: argparse.Namespace) -> str:
    """Return a line that repeats this training, whatever the defaults will be."""
    words = ["minidl", "train", options.folder]
    for name in (*SCRATCH, "test", "output", "report"):
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value not in (None, False) or name in ("seed", "validation_split"):  # these may be 0
            words += [option, str(value)]
    return f"MINIDL_NUM_THREADS={minidl.get_num_threads()} {shlex.join(words)}"


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
        weights = "pets" if options.base == "pets_net" else "imagenet"
        return {**TRANSFER, "image_size": BASES[options.base][1], "weights": weights}
    for name in ("weights", "until", "augmented_passes"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} goes with --base NETWORK")
    return SCRATCH


def _check_before_training(options: argparse.Namespace, model) -> None:
    """Raise for what would otherwise fail when the training is over."""
    from minidl.common import plotting
    from minidl.data.listing import find_classes

    kept = [options.folder, options.test]  # each result is kept from the photos and the others
    for name, suffixes in (("output", ()), ("plot", PLOTS), ("report", ())):
        path = getattr(options, name)
        if path is not None:
            check_output(f"--{name}", path, suffixes, kept)
            kept.append(path)
    if options.plot or options.report:
        plotting.require_matplotlib()
    if options.report and not options.test and not options.validation_split:
        raise ValueError(
            "--report: needs photos that were not trained on: --test DIR, or a "
            "--validation-split above 0"
        )
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
