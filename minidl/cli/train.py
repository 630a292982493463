"""The command ``minidl train``: train a classifier of photos, from scratch or on a base."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np

from minidl import data, optimizers
from minidl.applications import small_cnn
from minidl.applications.catalog import NETWORKS
from minidl.applications.transfer import transfer_classifier
from minidl.callbacks import History
from minidl.cli.check import warn_of_leaks
from minidl.cli.evaluate import print_evaluation
from minidl.cli.fitting import WEIGHT_DECAY, fine_tune_layer, train_phases
from minidl.cli.options import AddCommand, option_name
from minidl.cli.resolve_options import resolve_options
from minidl.cli.run_folder import Run
from minidl.cli.train_options import NO_BASE, SCRATCH, add_training_options
from minidl.common import plotting
from minidl.common.output_paths import PLOTS, check_output
from minidl.common.seeding import set_random_seed
from minidl.data.listing import find_classes
from minidl.distributed.communicator import alone, current
from minidl.evaluation.classifier import class_names
from minidl.kernels.runtime.thread_pool import get_num_threads
from minidl.models.loading import load_model
from minidl.models.model import Model
from minidl.optimizers.schedules import CosineDecay

__all__ = ["add_train_command", "train"]


def add_train_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    add_training_options(
        add(train, "train a classifier on a folder of photos, from scratch or on a base")
    )


def train(options: argparse.Namespace) -> int:
    """Train a classifier on a folder of photos; return 1 if the training was interrupted."""
    model = load_model(options.output) if options.resume else None
    resolve_options(options, model)
    _check_before_training(options, model)
    if options.test and current().rank == 0:
        warn_of_leaks(options.folder, options.test)
    set_random_seed(options.seed)
    training, validation = _datasets(options, model)
    print(f"{len(training.files)} photos of {', '.join(training.class_names)}", flush=True)
    if model:
        _extend_training(model, options, options.epochs * len(training))
    else:
        model = _new_model(options, training)
    run = _run_folder(options, model, training)
    history = train_phases(options, model, training, validation, run)
    if history.epoch:
        print(f"Model: {options.output}")
    if history.interrupted:
        return 1
    if options.plot:
        plotting.plot_history(history, options.plot, str(options.folder))
        print(f"Learning curves: {options.plot}")
    if options.test:
        results = print_evaluation(model, options.test, options.batch_size)
        if run:
            run.finish(test=results)
    with alone():  # only rank 0 writes reports
        _write_reports(options, run, model, history, training, validation)
    return 0


def _check_before_training(options: argparse.Namespace, model: Model | None) -> None:
    """Raise for anything that would fail only after the training."""
    used = [options.folder, options.test]  # no result may overwrite a photo or another result
    for name, suffixes in (("output", ()), ("plot", PLOTS), ("report", ())):
        path = getattr(options, name)
        if path is not None:
            check_output(option_name(name), path, suffixes, used)
            used.append(path)
    if options.plot or options.report:
        plotting.require_matplotlib()
    if options.report and not options.test and not options.validation_split:
        raise ValueError(
            "--report: expected held-out photos, received none. Add --test DIR, or a "
            "--validation-split above 0."
        )
    if options.test:
        classes = list(find_classes(options.test))
        expected = sorted(class_names(model) if model else find_classes(options.folder))
        if classes != expected:
            raise ValueError(f"{options.test}: expected the classes {expected}, received {classes}")


def _datasets(
    options: argparse.Namespace, model: Model | None
) -> tuple[data.ImageFolder, data.ImageFolder | None]:
    """Return the training and the validation photos."""
    settings: dict[str, Any] = {
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "class_names": class_names(model) if model else None,
    }
    if not options.validation_split:
        return data.ImageFolder(options.folder, **settings), None
    settings["validation_split"] = options.validation_split
    training = data.ImageFolder(options.folder, **settings, subset="training")
    settings["class_names"] = training.class_names
    return training, data.ImageFolder(
        options.folder, **settings, subset="validation", shuffle=False
    )


def _new_model(options: argparse.Namespace, training: data.ImageFolder) -> Model:
    """Build and compile a network for the folder's classes; store the options in it."""
    names = training.class_names
    if options.base != NO_BASE:
        base = NETWORKS[options.base].build(
            options.weights,
            include_top=False,
            input_shape=training.image_shape,
            until=options.until,
        )
        model = transfer_classifier(
            base, len(names), augment=options.augmented_passes > 0, name="pets"
        )
    else:
        model = small_cnn(
            training.image_shape, len(names), augment=not options.no_augmentation, name="pets"
        )
    schedule = _schedule(options.epochs * len(training), options.learning_rate)
    loss = "binary_crossentropy" if len(names) == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY), loss, metrics=["accuracy"])
    if options.fine_tune:
        fine_tune_layer(model, options.fine_tune)  # raises if the base has no such layer
    model.metadata["class_names"] = list(names)
    model.metadata["training"] = {name: getattr(options, name) for name in SCRATCH}
    return model


def _schedule(steps: int, peak: float) -> CosineDecay:
    """Return a learning rate that warms up during 5 % of the steps, then decays to zero."""
    return CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=max(1, steps // 20))


def _extend_training(model: Model, options: argparse.Namespace, steps: int) -> None:
    """Store the options that may grow in a resumed model, and extend its schedule.

    Beyond the end of its schedule, the learning rate would be zero.
    """
    stored, old = model.metadata["training"], model.optimizer.learning_rate
    stored["epochs"] = max(stored["epochs"], options.epochs)
    for name in ("fine_tune", "fine_tune_epochs"):
        stored[name] = getattr(options, name)
    if options.fine_tune:
        fine_tune_layer(model, options.fine_tune)
    if getattr(old, "decay_steps", steps) < steps and hasattr(old, "warmup_target"):
        model.optimizer.learning_rate = _schedule(steps, old.warmup_target)


def _run_folder(
    options: argparse.Namespace, model: Model, training: data.ImageFolder
) -> Run | None:
    """Return the run folder of this training: a new one, or that of the resumed training."""
    if not options.runs:
        return None
    if options.resume and "run" in model.metadata:
        with contextlib.suppress(ValueError):  # moved or deleted
            run = Run(model.metadata["run"])
            names = ("epochs", "fine_tune", "fine_tune_epochs")
            run.amend(**{name: getattr(options, name) for name in names})
            return run
    config = {name: getattr(options, name) for name in (*SCRATCH, "folder", "test", "output")}
    counts = np.bincount(np.asarray(training.labels)).tolist()
    config["photos"] = dict(zip(training.class_names, counts, strict=True))
    config["command"] = _command(options)
    run = Run.new(options.runs, "small_cnn" if options.base == NO_BASE else options.base, config)
    model.metadata["run"] = str(run.folder.resolve())  # valid in any working directory
    print(f"Run: {run.folder}", flush=True)
    return run


def _write_reports(
    options: argparse.Namespace,
    run: Run | None,
    model: Model,
    history: History,
    training: data.ImageFolder,
    validation: data.ImageFolder | None,
) -> None:
    """Write the report to --report, and to the run folder if matplotlib is installed."""
    arguments = options, model, history, training, validation
    if options.report:
        _write_report(options.report, *arguments)
        if run:
            shutil.copyfile(options.report, run.report)
    elif run and (options.test or options.validation_split):
        with contextlib.suppress(ImportError):  # matplotlib is missing
            _write_report(run.report, *arguments)


def _write_report(
    path: str | Path,
    options: argparse.Namespace,
    model: Model,
    history: History,
    training: data.ImageFolder,
    validation: data.ImageFolder | None,
) -> None:
    """Write a report on the test photos, or on the validation photos if there are none."""
    from minidl.report import write

    part, tested = "validation", cast(data.ImageFolder, validation)  # checked before the training
    if options.test:
        part = "test"
        tested = data.ImageFolder(
            options.test,
            options.image_size,
            options.batch_size,
            shuffle=False,
            class_names=training.class_names,
        )
    write(
        path,
        model,
        tested,
        part=part,
        history=history,
        train_data=training,
        validation_data=validation,
        findings=data.check(options.folder, options.test),
        command=_command(options),
    )
    print(f"Report: {path}")


def _command(options: argparse.Namespace) -> str:
    """Return a command line that repeats this training without relying on defaults."""
    words = ["minidl", "train", options.folder]
    for name in (*SCRATCH, "test", "output", "report"):
        if name == "fine_tune_epochs" and not options.fine_tune:
            continue
        value = getattr(options, name)
        if value is True:
            words.append(option_name(name))
        elif value not in (None, False) or name in ("seed", "validation_split"):  # these may be 0
            words += [option_name(name), str(value)]
    return f"MINIDL_NUM_THREADS={get_num_threads()} {shlex.join(words)}"
