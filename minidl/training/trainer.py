"""The training loop: batches in, forward, loss, backward, optimizer step, numbers out.

A :class:`Trainer` belongs to a compiled model, which hands ``fit`` and ``evaluate`` on to it.
All randomness of a training follows from the model's seed and the number of the epoch or
step, so a resumed training equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minidl.data.checks import holds_batches
from minidl.data.pipeline import Dataset, IterableDataset, as_dataset, split_arrays
from minidl.errors import DataError, ShapeError
from minidl.training import losses, optimizers
from minidl.training.batches import check_finite, combined_weights, limit, sample_count, unpack
from minidl.training.callback import Callback, History
from minidl.training.metrics import Mean
from minidl.training.metrics import get as choose_metric
from minidl.training.progress import ProgressBar

__all__ = ["Trainer"]


class Trainer:
    """Optimizer, losses and metrics of one model, and the loops over batches.

    Parameters
    ----------
    model : Model
    optimizer : str or Optimizer
    loss : str, Loss or a list with one for each output
    metrics : list of str or Metric; for several outputs, a list of such lists
    loss_weights : list of float, optional
        For several outputs.
    """

    def __init__(self, model, optimizer="rmsprop", loss=None, metrics=None, loss_weights=None):
        self.model = model
        self.optimizer = optimizers.get(optimizer)
        outputs = 1 if model.single_output else len(model.output_tensors)
        self.losses = [losses.get(item) for item in _for_each_output("loss", loss, outputs)]
        weights = loss_weights or [1.0] * outputs
        self.loss_weights = [float(w) for w in _for_each_output("loss_weights", weights, outputs)]
        if outputs == 1:
            metrics = [metrics or []]
        self.metric_names = [
            item if isinstance(item, (list, tuple)) else [item]
            for item in _for_each_output("metrics", metrics or [[]] * outputs, outputs)
        ]
        for names, item in zip(self.metric_names, self.losses, strict=True):
            for name in names:
                choose_metric(name, loss=item)  # an unknown name is refused at once
        self.metrics: list[list[Any]] | None = None  # chosen when the first labels are seen
        self.output_losses = [Mean() for _ in self.losses] if outputs > 1 else []

    # ------------------------------------------------------------------ one batch

    def train_step(self, x, y, sample_weight=None, class_weight=None) -> float:
        """Make one optimizer step and return the loss of the batch."""
        check_finite(x)
        # A loss that is not finite is said out loud in the end: NumPy need not warn as well.
        with np.errstate(over="ignore", invalid="ignore"), _statistics_kept(self.model):
            loss, gradients = self._gradients(x, y, sample_weight, class_weight)
            self.optimizer.apply(self.model.trainable_weights, gradients)
        return loss

    def _gradients(self, x, y, sample_weight, class_weight):
        """Run one batch forward and backward, and count it in the metrics."""
        rng = np.random.default_rng([self.model.seed, 0, self.optimizer.iterations])
        y_pred, tape = self.model.forward(x, training=True, rng=rng, need_dx=False)
        if class_weight is not None and len(self.losses) > 1:
            raise ValueError(f"{self.model.label}: class_weight needs a model with one output")
        weights = combined_weights(y, y_pred, self.losses[0], class_weight, sample_weight)
        loss, dys = self._loss_and_gradients(y, y_pred, weights)
        self._update_metrics(y, y_pred)
        dy = dys[0] if self.model.single_output else dys
        _, gradients = self.model.backward(dy, tape, need_dx=False)
        parameters = self.model.trainable_weights
        gradients = [
            g if p.regularizer is None else g + p.regularizer.gradient(p.value).astype(g.dtype)
            for p, g in zip(parameters, gradients, strict=True)
        ]
        return loss, gradients

    def test_step(self, x, y, sample_weight=None) -> float:
        """Return the loss of one batch and count it in the metrics."""
        check_finite(x)
        y_pred = self.model.infer(x)
        loss, _ = self._loss_and_gradients(y, y_pred, sample_weight, need_gradients=False)
        self._update_metrics(y, y_pred)
        return loss

    def _loss_and_gradients(self, y, y_pred, sample_weight, need_gradients=True):
        ys, predictions = self._per_output(y), self._outputs(y_pred)
        total = self.penalty()
        dys, values = [], []
        for loss, weight, t, p in zip(self.losses, self.loss_weights, ys, predictions, strict=True):
            if need_gradients:
                value, dy = loss.value_and_gradient(t, p, sample_weight)
                dys.append(dy if weight == 1 else dy * p.dtype.type(weight))
            else:
                value = loss(t, p, sample_weight)
            total += weight * value
            values.append(value)
        for mean, value in zip(self.output_losses, values, strict=False):
            mean.update_state(value, sample_weight=len(predictions[0]))
        return float(total), dys

    def penalty(self) -> float:
        """Return the sum of the regularizers' penalties; frozen parameters have none."""
        parameters = self.model.trainable_weights
        return float(sum(p.regularizer(p.value) for p in parameters if p.regularizer))

    def _update_metrics(self, y, y_pred) -> None:
        ys, predictions = self._per_output(y), self._outputs(y_pred)
        if self.metrics is None:
            self.metrics = [
                [choose_metric(name, np.shape(p), loss, t) for name in names]
                for names, loss, t, p in zip(
                    self.metric_names, self.losses, ys, predictions, strict=True
                )
            ]
        for group, t, p in zip(self.metrics, ys, predictions, strict=True):
            for metric in group:
                metric.update_state(t, p)

    def _outputs(self, y_pred) -> list[np.ndarray]:
        return [y_pred] if self.model.single_output else y_pred

    def _per_output(self, y) -> list:
        if y is None:
            raise DataError(
                f"{self.model.label}: training and evaluation need labels, received none"
            )
        if self.model.single_output or (len(self.losses) == 1 and not isinstance(y, (list, tuple))):
            return [y]
        if not isinstance(y, (list, tuple)) or len(y) != len(self.losses):
            raise ShapeError(
                f"{self.model.label}: expected a list of {len(self.losses)} label arrays, one "
                "for each output"
            )
        return list(y)

    # ------------------------------------------------------------------ epochs

    def fit(
        self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
        validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
        sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
        validation_batch_size=None, validation_freq=1, resume=False,
    ) -> History:  # fmt: skip
        """See :meth:`minidl.Model.fit`."""
        _check_counts(
            epochs=epochs, initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps, validation_freq=validation_freq,
        )  # fmt: skip
        if validation_split:
            (x, y, sample_weight), validation_data = split_arrays(
                x, y, sample_weight, validation_split
            )
        train = as_dataset(
            x, y, sample_weight, batch_size=batch_size, shuffle=shuffle, seed=self.model.seed
        )
        validation = self._validation_dataset(validation_data, validation_batch_size or batch_size)
        history = History()
        group = _CallbackGroup(self.model, history, callbacks, ProgressBar(verbose))
        group.begin(epochs, steps_per_epoch or _length(train), verbose)
        if resume:
            initial_epoch = group.restore()
        try:
            for epoch in range(initial_epoch, epochs):
                if self.model.stop_training:
                    break
                logs = self._train_epoch(train, epoch, group, class_weight, steps_per_epoch)
                if validation is not None and (epoch + 1) % validation_freq == 0:
                    results = self.evaluate_dataset(validation, validation_steps)
                    logs.update({f"val_{name}": value for name, value in results.items()})
                group.epoch_end(epoch, logs)
        except KeyboardInterrupt:
            history.interrupted = True
            print(
                f"\nTraining stopped by Ctrl-C after {len(history.epoch)} whole epochs", flush=True
            )
        finally:
            group.call("on_train_end", {})
        return history

    def _train_epoch(self, train, epoch, group, class_weight, steps) -> dict[str, float]:
        """Train on each batch once and return the means of the epoch."""
        self.reset_metrics()
        mean = Mean()
        logs: dict[str, float] = {}
        group.call("on_epoch_begin", epoch, {})
        for number, batch in enumerate(limit(train.batches(epoch), steps)):
            x, y, weight = unpack(batch)
            group.call("on_train_batch_begin", number, {})
            loss = self.train_step(x, y, weight, class_weight)
            if not math.isfinite(loss) and math.isfinite(logs.get("loss", 0.0)):
                warnings.warn(
                    f"epoch {epoch + 1}, batch {number}: the loss is {loss}; lower the learning "
                    "rate or clip gradients (TerminateOnNaN stops here)",
                    stacklevel=4,
                )
            mean.update_state(loss, sample_weight=sample_count(x))
            logs = {"loss": mean.result(), **self.metric_results()}
            group.call("on_train_batch_end", number, logs)
            if self.model.stop_training:
                break
        if not logs:
            raise DataError(f"{self.model.label}: fit received no batches")
        return dict(logs)

    def evaluate_dataset(self, dataset: Dataset, steps: int | None = None) -> dict[str, float]:
        """Return the mean loss and the metrics over one pass."""
        self.reset_metrics()
        mean = Mean()
        for batch in limit(dataset.batches(0), steps):
            x, y, weight = unpack(batch)
            mean.update_state(self.test_step(x, y, weight), sample_weight=sample_count(x))
        if mean.count == 0:
            raise DataError(f"{self.model.label}: evaluate received no batches")
        return {"loss": mean.result(), **self.metric_results()}

    def reset_metrics(self) -> None:
        for group in [self.output_losses, *(self.metrics or [])]:
            for metric in group:
                metric.reset_state()

    def metric_results(self) -> dict[str, float]:
        """Return the metrics so far; several outputs' losses and metrics bear their names."""
        prefixes = [""]
        if not self.model.single_output:
            prefixes = [f"{tensor.layer.name}_" for tensor in self.model.output_tensors]
        results = {
            f"{prefix}loss": mean.result()
            for prefix, mean in zip(prefixes, self.output_losses, strict=False)
        }
        for prefix, group in zip(prefixes, self.metrics or [], strict=False):
            for metric in group:
                results[prefix + metric.name] = metric.result()
        return results

    def _validation_dataset(self, data, batch_size) -> Dataset | None:
        if data is None:
            return None
        given = (data,)
        if isinstance(data, tuple) or (isinstance(data, list) and not holds_batches(data)):
            given = data
            if len(data) not in (2, 3):
                raise DataError(
                    "validation_data: expected (x, y), (x, y, sample_weight) or a Dataset, "
                    f"received a {type(data).__name__} of {len(data)}"
                )
        dataset = as_dataset(*given, batch_size=batch_size, shuffle=False)
        if not isinstance(dataset, IterableDataset):  # such data might be given only once
            for batch in limit(dataset.batches(0), 1):
                self.test_step(*unpack(batch))  # says what is wrong before an epoch is spent
        return dataset


class _CallbackGroup:
    """Calls all callbacks: History, the user's in their order, and the progress bar last."""

    def __init__(self, model, history: History, given: Iterable[Callback] | None, bar: Callback):
        self.model = model
        given = [given] if isinstance(given, Callback) else given or []
        if not isinstance(given, (list, tuple)) or any(not isinstance(c, Callback) for c in given):
            raise TypeError(f"callbacks: expected a list of Callback objects, received {given!r}")
        self.callbacks = [history, *given, bar]

    def begin(self, epochs: int, steps: int | None, verbose) -> None:
        self.model.stop_training = False
        for callback in self.callbacks:
            callback.model = self.model
            callback.params = {"epochs": epochs, "steps": steps, "verbose": verbose}
        self.call("on_train_begin", {})

    def call(self, event: str, *arguments) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Tell all; what ModelCheckpoint saves contains what all of them have noted."""
        history, *others = self.callbacks
        for callback in others:  # may add to the logs, hence before History
            callback.on_epoch_end(epoch, logs)
        history.on_epoch_end(epoch, logs)
        self.model.training_state = {
            "epoch": epoch + 1,
            "callbacks": {key: c.get_state() for key, c in self.named() if c.state},
        }
        self.call("after_epoch", epoch, logs)

    def restore(self) -> int:
        """Give the callbacks back what a checkpoint kept; return the epoch to continue with."""
        saved = self.model.training_state
        for key, callback in self.named():
            callback.set_state(saved.get("callbacks", {}).get(key, {}))
        return saved.get("epoch", 0)

    def named(self) -> Iterator[tuple[str, Callback]]:
        """Yield each callback with a name; several of one class are numbered in their order."""
        seen: Counter[str] = Counter()
        for callback in self.callbacks:
            name = type(callback).__name__
            seen[name] += 1
            yield (name if seen[name] == 1 else f"{name}_{seen[name]}"), callback


@contextlib.contextmanager
def _statistics_kept(model) -> Iterator[None]:
    """Give a model its moving statistics back where a step fails: it has learned nothing."""
    kept = [(p, p.value.copy()) for p in model.weights if not p.learned]
    try:
        yield
    except BaseException:
        for parameter, value in kept:
            parameter.value = value
        raise


def _for_each_output(what: str, value, outputs: int) -> list:
    if outputs == 1:
        single = isinstance(value, (list, tuple)) and len(value) == 1
        return [value[0] if single else value]
    if not isinstance(value, (list, tuple)) or len(value) != outputs:
        raise ValueError(f"compile: expected a list of {outputs} for {what}, one for each output")
    return list(value)


def _length(dataset) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _check_counts(**counts) -> None:
    """Raise ValueError for what is no number of epochs or steps; steps may be None."""
    for name, value in counts.items():
        least = 0 if name in ("epochs", "initial_epoch") else 1
        good = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        unlimited = value is None and "steps" in name
        if not unlimited and not (good and value >= least):
            raise ValueError(
                f"fit: expected {name} to be an integer >= {least}, received {value!r}"
            )
