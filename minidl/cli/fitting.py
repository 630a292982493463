"""The phases of ``minidl train``: the head or the whole network, then fine-tuning of the base.

Both phases write the same files: the model after each epoch, and the metrics of the run folder.
The model's metadata tell whether fine-tuning has begun, so that a training resumes in its phase.

>>> import argparse
>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.cli.fitting import fine_tune_layer
>>> base = Sequential([Input((8, 8, 3)), *(layers.Conv2D(4, 3, name=f"c{i}") for i in range(3))])
>>> head = [layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")]
>>> fine_tune_layer(Sequential([base, *head]), "upper")
'c2'
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from minidl import data, optimizers
from minidl.callbacks import Callback, EarlyStopping, History, ModelCheckpoint, TerminateOnNaN
from minidl.callbacks.monitors import losses_are_finite
from minidl.cli.run_folder import Run
from minidl.cli.train_options import FINE_TUNE_RATE, UPPER
from minidl.common.finite_json import finite
from minidl.distributed.communicator import current
from minidl.layers import Conv2D
from minidl.losses.labels import balanced_class_weight
from minidl.models.model import Model
from minidl.training.fine_tuning import base_layers, check_is_in_base, fine_tune

__all__ = ["WEIGHT_DECAY", "fine_tune_layer", "train_phases"]

WEIGHT_DECAY = 0.05
PHASE = "fine_tuning"  # key of the metadata: the epochs before fine-tuning, and their history


def train_phases(
    options: argparse.Namespace,
    model: Model,
    training: data.ImageFolder,
    validation: data.ImageFolder | None,
    run: Run | None,
) -> History:
    """Train the model and store the result in the run folder; raise if the loss diverged.

    Parameters
    ----------
    options : argparse.Namespace
        Options of ``minidl train``.
    model : Model
        Compiled; resumed if ``options.resume``.
    training, validation : ImageFolder
    run : Run, optional

    Returns
    -------
    History
        The epochs of all phases.

    Raises
    ------
    RuntimeError
        If the loss is no longer finite.
    """
    output = Path(options.output)
    before, start = _file_version(output), time.perf_counter()
    history = _fit(options, model, training, validation, _callbacks(options, run, validation))
    diverged = not losses_are_finite({name: values[-1] for name, values in history.history.items()})
    diverged = diverged and model.stop_training
    if run:
        if _file_version(output) != before:  # a training that diverged has written nothing
            run.keep(output)
        state = "diverged" if diverged else "interrupted" if history.interrupted else "finished"
        # A test result from before the training was resumed is obsolete.
        run.finish(time.perf_counter() - start, state, test=None)
    if diverged:
        _raise_diverged(options)
    return history


def fine_tune_layer(model: Model, name: str) -> str:
    """Return the lowest layer that fine-tuning trains.

    Parameters
    ----------
    model : Model
        A head on a base.
    name : str
        A layer of the base, or "upper" for the upper fifth of its convolutions.

    Raises
    ------
    ValueError
        If the base has no such layer.
    """
    base = base_layers(model)
    if name != UPPER:
        check_is_in_base(model, base, name)
        return name
    convolutions = [layer.name for layer in base if isinstance(layer, Conv2D)]
    names = convolutions or [layer.name for layer in base]
    return names[len(names) * 4 // 5]


def _callbacks(
    options: argparse.Namespace, run: Run | None, validation: data.ImageFolder | None
) -> list[Callback]:
    """Return the callbacks of all phases."""
    callbacks: list[Callback] = [TerminateOnNaN(), ModelCheckpoint(options.output)]
    if options.early_stopping:
        patience = options.early_stopping
        callbacks.append(EarlyStopping(patience=patience, restore_best_weights=True, verbose=1))
    return callbacks + (run.callbacks(validation is not None) if run else [])


def _fit(
    options: argparse.Namespace,
    model: Model,
    training: data.ImageFolder,
    validation: data.ImageFolder | None,
    callbacks: list[Callback],
) -> History:
    """Run the phases that are left, and return the history of all."""
    settings: dict[str, Any] = {"validation_data": validation, "callbacks": callbacks}
    settings["shards"] = options.shards
    if options.class_weight:
        labels = np.asarray(training.labels)
        settings["class_weight"] = balanced_class_weight(labels, len(training.class_names))
    earlier = model.metadata.get(PHASE)
    history = History()
    if earlier is None:
        history = model.fit(
            training,
            epochs=options.epochs,
            resume=options.resume,
            augmented_passes=options.augmented_passes,
            **settings,
        )
        if not _has_ended(options, model, history) or not options.fine_tune:
            return history
        history.extend(_fine_tune(options, model, training, settings, history))
    else:
        history.epoch, history.history = list(earlier["epoch"]), dict(earlier["history"])
        last = len(history.epoch) + options.fine_tune_epochs
        history.extend(model.fit(training, epochs=last, resume=True, **settings))
    _has_ended(options, model, history)
    return history


def _fine_tune(
    options: argparse.Namespace,
    model: Model,
    training: data.ImageFolder,
    settings: dict[str, Any],
    head: History,
) -> History:
    """Train the upper layers of the base, too, at a low rate."""
    layer = fine_tune_layer(model, options.fine_tune)
    print(f"Fine-tuning from {layer}", flush=True)
    settings = {**settings, "shards": model.optimizer.shards}  # as in the first phase
    model.compile(
        optimizers.AdamW(options.learning_rate * FINE_TUNE_RATE, weight_decay=WEIGHT_DECAY),
        model.loss,
        metrics=["accuracy"],
    )
    model.metadata[PHASE] = {"epoch": head.epoch, "history": finite(head.history)}
    return fine_tune(
        model,
        training,
        head_epochs=0,
        epochs=options.fine_tune_epochs,
        from_layer=layer,
        initial_epoch=len(head.epoch),
        **settings,
    )


def _has_ended(options: argparse.Namespace, model: Model, history: History) -> bool:
    """Return whether a phase ended, rather than being interrupted or diverging.

    If it ended early, save the weights of its best epoch.
    """
    last = {name: values[-1] for name, values in history.history.items()}
    if history.interrupted or not losses_are_finite(last):
        return False
    if model.stop_training and current().rank == 0:
        model.save(options.output)
    return True


def _file_version(path: Path) -> tuple[int, int] | None:
    """Return inode and modification time of a file, which change when it is replaced."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _raise_diverged(options: argparse.Namespace) -> NoReturn:
    kept = ""
    if Path(options.output).exists():
        kept = f" {options.output} keeps the model from before."
    raise RuntimeError(
        "training diverged: the loss is no longer finite. Train anew with a --learning-rate below "
        f"{options.learning_rate:g}.{kept}"
    )
