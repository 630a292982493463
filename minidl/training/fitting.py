"""The loop over epochs behind ``Model.fit``.

All randomness of a training follows from the model's seed and the number of epochs and steps that
the model has seen. Therefore a resumed training equals an uninterrupted one.

Under MPI all ranks run this loop on the same batches; each step divides its batch among them
(:mod:`minidl.training.sharded_step`). Rank 0 prints and writes files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minidl.callbacks.callback import Callback, CallbackGroup
from minidl.callbacks.history import History
from minidl.callbacks.progress import ProgressBar, display_mode
from minidl.common.argument_checks import check_choice, check_integer
from minidl.common.errors import DataError
from minidl.data.array_checks import holds_batches
from minidl.data.pipeline import Dataset, IterableDataset, as_dataset, split_arrays
from minidl.distributed.communicator import Communicator, alone, current
from minidl.kernels.runtime.memory import retain_freed_memory
from minidl.metrics.metric import Mean
from minidl.training.batches import sample_count, unpack
from minidl.training.feature_cache.cache import FeatureCache, batches, choose_cache
from minidl.training.sharded_step import ShardedStep, check_equal_weights
from minidl.training.trainer import Trainer

__all__ = ["FitArguments", "fit"]

LEARNED = 1e-6  # a constant loss below this is no sign of a problem


@dataclass(frozen=True)
class FitArguments:
    """The arguments of :meth:`minidl.Model.fit`, which documents them."""

    x: Any
    y: Any
    batch_size: int | None
    epochs: int
    verbose: int | str
    callbacks: Callback | Sequence[Callback] | None
    validation_split: float
    validation_data: Any
    shuffle: bool
    class_weight: dict[int, float] | None
    sample_weight: Any
    initial_epoch: int
    steps_per_epoch: int | None
    validation_steps: int | None
    validation_batch_size: int | None
    validation_freq: int
    resume: bool
    cache_features: bool | str
    augmented_passes: int
    shards: int | None
    gradient_dtype: str
    distributed: bool

    def __post_init__(self) -> None:
        for name in ("epochs", "initial_epoch", "augmented_passes"):
            check_integer("fit", name, getattr(self, name), minimum=0)
        check_integer("fit", "validation_freq", self.validation_freq, minimum=1)
        for name in ("steps_per_epoch", "validation_steps", "shards"):
            if getattr(self, name) is not None:
                check_integer("fit", name, getattr(self, name), minimum=1)
        check_choice("fit", "gradient_dtype", self.gradient_dtype, ("float32", "float16"))


@retain_freed_memory()
def fit(trainer: Trainer, arguments: FitArguments) -> History:
    """Train a compiled model.

    Parameters
    ----------
    trainer : Trainer
        The model's trainer.
    arguments : FitArguments

    Returns
    -------
    History
    """
    if not arguments.distributed:
        with alone():
            return _fit(trainer, arguments, current())
    if current().rank == 0:
        return _fit(trainer, arguments, current())
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        return _fit(trainer, dataclasses.replace(arguments, verbose=0), current())


def _fit(trainer: Trainer, arguments: FitArguments, communicator: Communicator) -> History:
    """Train a compiled model as one of the ranks of the communicator."""
    model, history = trainer.model, History()
    bar = ProgressBar(arguments.verbose)
    model.seed, model.epochs_seen = communicator.all_gather(
        (model.seed, model.epochs_seen), "the start of fit"
    )[0]
    train, validation_data = _training_data(trainer, arguments)
    train.seed = communicator.all_gather(train.seed, "the order of the data")[0]
    cache = choose_cache(
        trainer.network if model.built else model,  # an unbuilt Sequential has no network yet
        train,
        arguments.cache_features,
        arguments.augmented_passes,
        steps=arguments.steps_per_epoch,
        progress=display_mode(arguments.verbose) == "bar",
        seed=model.seed,
    )
    validation = _validation_dataset(trainer, validation_data, arguments, train, cache)
    group = CallbackGroup(model, history, arguments.callbacks, bar, communicator.rank == 0)
    trainer.sharded = _sharded_step(trainer, arguments, communicator)
    group.begin(
        epochs=arguments.epochs,
        steps=arguments.steps_per_epoch or _length(train),
        verbose=arguments.verbose,
        resume=arguments.resume,
    )
    first = group.restore() if arguments.resume else group.start(arguments.initial_epoch)
    try:
        for epoch in range(first, arguments.epochs):
            if model.stop_training:
                break
            logs = _train_epoch(trainer, train, epoch, group, arguments, cache)
            if validation is not None and (epoch + 1) % arguments.validation_freq == 0:
                results = trainer.evaluate_dataset(validation, arguments.validation_steps, cache)
                logs.update({f"val_{name}": value for name, value in results.items()})
            if communicator.size > 1:
                check_equal_weights(model, communicator)
            group.epoch_end(epoch, logs)
            _warn_if_constant(history.history["loss"], trainer.optimizer.current_learning_rate())
    except KeyboardInterrupt:
        history.interrupted = True
        print(f"\nTraining stopped by Ctrl-C after {len(history.epoch)} whole epochs", flush=True)
    finally:
        if trainer.sharded is not None:
            trainer.sharded.close()
            trainer.sharded = None
        group.end()
    return history


def _sharded_step(
    trainer: Trainer, arguments: FitArguments, communicator: Communicator
) -> ShardedStep | None:
    """Return the step for several shards, None for one; the optimizer's state stores the number."""
    optimizer, shards = trainer.optimizer, arguments.shards
    if arguments.resume and optimizer.iterations:
        if shards not in (None, optimizer.shards):
            raise ValueError(
                f"fit: expected shards={optimizer.shards} as in the training to be resumed, "
                f"received {shards}. Omit shards to continue it."
            )
        shards = optimizer.shards
    shards = communicator.size if shards is None else shards
    if shards % communicator.size:
        raise ValueError(
            f"fit: expected shards to be a multiple of the {communicator.size} ranks, received "
            f"{shards}. Start another number of processes, or set shards."
        )
    optimizer.shards = shards
    if shards == 1:
        return None
    payload = None if arguments.gradient_dtype == "float32" else arguments.gradient_dtype
    return ShardedStep(trainer, communicator, shards, payload)


def _training_data(trainer: Trainer, arguments: FitArguments) -> tuple[Dataset, Any]:
    """Return the training data as a Dataset, and the validation data as given or split off."""
    x, y, weight = arguments.x, arguments.y, arguments.sample_weight
    validation_data = arguments.validation_data
    if arguments.validation_split and validation_data is None:
        (x, y, weight), validation_data = split_arrays(x, y, weight, arguments.validation_split)
    train = as_dataset(
        x,
        y,
        weight,
        batch_size=arguments.batch_size,
        shuffle=arguments.shuffle,
        seed=trainer.model.seed,
    )
    return train, validation_data


def _validation_dataset(
    trainer: Trainer, data: Any, arguments: FitArguments, train: Dataset, cache: FeatureCache | None
) -> Dataset | None:
    """Return the validation data as a Dataset; its first batch is checked before training."""
    if data is None:
        return None
    x, y, weight, size = data, None, None, None  # a Dataset makes its own batches
    if isinstance(data, tuple) or (isinstance(data, list) and not holds_batches(data)):
        size = arguments.validation_batch_size or arguments.batch_size
        if len(data) not in (2, 3):
            raise DataError(
                "validation_data: expected (x, y), (x, y, sample_weight) or a Dataset, "
                f"received a {type(data).__name__} of {len(data)}"
            )
        x, y, weight = (*data, None)[:3]
    dataset = as_dataset(x, y, weight, batch_size=size, shuffle=False)
    names, validation_names = _class_names(train), _class_names(dataset)
    if names and validation_names and names != validation_names:
        raise DataError(
            f"validation_data: expected the classes of the training data, {names}, received "
            f"{validation_names}; ImageFolder(class_names=...) sets their order"
        )
    if not isinstance(dataset, IterableDataset):  # an iterator may be exhausted after one pass
        for network, batch in batches(dataset, 0, 1, cache):
            trainer.test_step(*unpack(batch), network)
    return dataset


def _train_epoch(
    trainer: Trainer,
    train: Dataset,
    epoch: int,
    group: CallbackGroup,
    arguments: FitArguments,
    cache: FeatureCache | None,
) -> dict[str, float]:
    """Train on each batch once and return the epoch's means."""
    model = trainer.model
    trainer.reset_metrics()
    mean = Mean()
    logs: dict[str, float] = {}
    group.call("on_epoch_begin", epoch, {})
    source = batches(train, model.epochs_seen, arguments.steps_per_epoch, cache, augmented=True)
    for number, (network, batch) in enumerate(source):
        x, y, weight = unpack(batch)
        group.call("on_train_batch_begin", number, {})
        loss = trainer.train_step(x, y, weight, arguments.class_weight, network)
        if not math.isfinite(loss) and math.isfinite(logs.get("loss", 0.0)):
            warnings.warn(
                f"epoch {epoch + 1}, batch {number}: the loss is {loss}; lower the learning "
                "rate or clip gradients (TerminateOnNaN stops here)",
                stacklevel=6,
            )
        mean.update_state(loss, sample_weight=sample_count(x))
        logs = {"loss": mean.result(), **trainer.metric_results(within_epoch=True)}
        group.batch_end(number, logs)
        if model.stop_training:
            break
    if not logs:
        raise DataError(f"{model.label}: fit received no batches")
    model.epochs_seen += 1
    if names := _class_names(train):
        model.metadata.setdefault("class_names", names)
    return {"loss": mean.result(), **trainer.metric_results()}


def _warn_if_constant(losses: list[float], learning_rate: float) -> None:
    """Warn if the loss of an epoch equals that of the epoch before."""
    constant = len(losses) >= 2 and losses[-1] == losses[-2] and losses[-1] >= LEARNED
    if constant and learning_rate:
        warnings.warn(
            f"the loss stayed at exactly {losses[-1]:g} for an epoch: nothing seems to be "
            "learned; scale the inputs, change the learning rate, or see what is frozen",
            stacklevel=6,
        )


def _class_names(dataset: Dataset) -> list[str]:
    return list(getattr(dataset, "class_names", None) or [])


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None
