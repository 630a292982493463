"""The training loop: batches in, forward, loss, backward, optimizer step, numbers out.

A :class:`Trainer` belongs to a compiled model, which hands ``fit`` and ``evaluate`` on to it.
All randomness of a training follows from the model's seed and the number of epochs and steps
it has seen, so a resumed training equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl import losses
from minidl.callbacks.callback import CallbackGroup, History
from minidl.callbacks.progress import ProgressBar
from minidl.common.argument_checks import check_integer
from minidl.common.errors import DataError, ShapeError
from minidl.data.array_checks import holds_batches
from minidl.data.pipeline import Dataset, IterableDataset, as_dataset, split_arrays
from minidl.kernels.runtime.memory import retain_freed_memory
from minidl.losses.crossentropy import on_logits
from minidl.metrics.accuracy import Mean
from minidl.metrics.accuracy import get as choose_metric
from minidl.optimizers import algorithms as optimizers
from minidl.training.batches import check_finite, combined_weights, sample_count, unpack
from minidl.training.feature_cache.cache import FeatureCache, batches, choose_cache
from minidl.training.logits import LogitsNetwork, final_activation

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
        self._network: LogitsNetwork | None = None
        self._split_nodes: list[Any] | None = None  # the model's nodes when it was split

    @property
    def network(self) -> LogitsNetwork:
        """The model with logits as outputs where the losses can be computed from logits."""
        if self._network is None or self._split_nodes is not self.model.nodes:
            activations = [final_activation(self.model, k) for k in range(len(self.losses))]
            logits_losses = [*map(on_logits, self.losses, activations)]
            self._network = LogitsNetwork(
                self.model, [k for k, loss in enumerate(logits_losses) if loss is not None]
            )
            self._split_nodes = self.model.nodes
            self._network_losses = [
                loss if activation is None else logits_loss
                for loss, logits_loss, activation in zip(
                    self.losses, logits_losses, self._network.activations, strict=True
                )
            ]
        return self._network

    # ------------------------------------------------------------------ one batch

    def train_step(self, x, y, sample_weight=None, class_weight=None, network=None) -> float:
        """Make one optimizer step and return the loss of the batch.

        `network` is the model or, where `x` are the features of a frozen base, its head.
        """
        check_finite(x)
        network = network or self._built_network(x)
        # A loss that is not finite is said out loud in the end: NumPy need not warn as well.
        with np.errstate(over="ignore", invalid="ignore"), _statistics_kept(network):
            loss, gradients = self._gradients(network, x, y, sample_weight, class_weight)
            self.optimizer.apply(network.trainable_weights, gradients)
        return loss

    def _gradients(self, network, x, y, sample_weight, class_weight):
        """Run one batch forward and backward, and count it in the metrics."""
        rng = np.random.default_rng([self.model.seed, 0, self.optimizer.iterations])
        outputs, tape = network.forward(x, training=True, rng=rng, need_dx=False)
        if class_weight is not None and len(self.losses) > 1:
            raise ValueError(f"{self.model.label}: class_weight needs a model with one output")
        weights = combined_weights(y, outputs, self.losses[0], class_weight, sample_weight)
        loss, dys = self._loss_and_gradients(y, outputs, weights)
        self._update_metrics(y, outputs)
        dy = dys[0] if self.model.single_output else dys
        _, gradients = network.backward(dy, tape, need_dx=False)
        parameters = network.trainable_weights
        gradients = [
            g if p.regularizer is None else g + p.regularizer.gradient(p.value).astype(g.dtype)
            for p, g in zip(parameters, gradients, strict=True)
        ]
        return loss, gradients

    def test_step(self, x, y, sample_weight=None, network=None) -> float:
        """Return the loss of one batch and count it in the metrics; see train_step."""
        check_finite(x)
        with np.errstate(over="ignore", invalid="ignore"):
            outputs = (network or self._built_network(x)).infer(x)
            loss, _ = self._loss_and_gradients(y, outputs, sample_weight)
            self._update_metrics(y, outputs)
        return loss

    def _built_network(self, x) -> LogitsNetwork:
        if not self.model.nodes:  # a Sequential takes its shapes from its first data
            self.model.check_inputs(x)
        return self.network

    def _loss_and_gradients(self, y, outputs, sample_weight):
        """Return the loss, and its gradient with respect to each output of the network."""
        ys, outputs = self._per_output(y), self._outputs(outputs)
        total = self.penalty()
        dys = []
        for k, (loss, weight) in enumerate(
            zip(self._network_losses, self.loss_weights, strict=True)
        ):
            value, dy = loss.value_and_gradient(ys[k], outputs[k], sample_weight)
            dys.append(dy if weight == 1 else dy * dy.dtype.type(weight))
            total += weight * value
            if self.output_losses:
                self.output_losses[k].update_state(value, sample_weight=len(outputs[k]))
        return float(total), dys

    def penalty(self) -> float:
        """Return the sum of the regularizers' penalties; frozen parameters have none."""
        parameters = self.model.trainable_weights
        return float(sum(p.regularizer(p.value) for p in parameters if p.regularizer))

    def _update_metrics(self, y, outputs) -> None:
        """Count a batch in the metrics, which see probabilities instead of logits."""
        ys = self._per_output(y)
        predictions = [
            output if activation is None else activation.infer(output)
            for output, activation in zip(
                self._outputs(outputs), self.network.activations, strict=True
            )
        ]
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

    @retain_freed_memory()
    def fit(
        self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
        validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
        sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
        validation_batch_size=None, validation_freq=1, resume=False, cache_features="auto",
        augmented_passes=0,
    ) -> History:  # fmt: skip
        """See :meth:`minidl.Model.fit`."""
        history = History()
        _check_counts(
            epochs=epochs, initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps, validation_freq=validation_freq,
            augmented_passes=augmented_passes,
        )  # fmt: skip
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_arrays(
                x, y, sample_weight, validation_split
            )
        train = as_dataset(
            x, y, sample_weight, batch_size=batch_size, shuffle=shuffle, seed=self.model.seed
        )
        bar = ProgressBar(verbose)
        cache = choose_cache(
            self.network if self.model.nodes else self.model,  # an unbuilt Sequential
            train,
            cache_features,
            augmented_passes,
            steps_per_epoch,
            bar.bars,
            self.model.seed,
        )
        validation = self._validation_dataset(
            validation_data, validation_batch_size or batch_size, train, cache
        )
        group = CallbackGroup(self.model, history, callbacks, bar)
        steps = steps_per_epoch or _length(train)
        group.begin(epochs=epochs, steps=steps, verbose=verbose, resume=resume)
        initial_epoch = group.restore() if resume else group.start(initial_epoch)
        try:
            for epoch in range(initial_epoch, epochs):
                if self.model.stop_training:
                    break
                logs = self._train_epoch(train, epoch, group, class_weight, steps_per_epoch, cache)
                if validation is not None and (epoch + 1) % validation_freq == 0:
                    results = self.evaluate_dataset(validation, validation_steps, cache)
                    logs.update({f"val_{name}": value for name, value in results.items()})
                group.epoch_end(epoch, logs)
                _say_if_flat(history.history["loss"], self.optimizer.current_learning_rate())
        except KeyboardInterrupt:
            history.interrupted = True
            print(
                f"\nTraining stopped by Ctrl-C after {len(history.epoch)} whole epochs", flush=True
            )
        finally:
            group.end()
        return history

    def _train_epoch(self, train, epoch, group, class_weight, steps, cache) -> dict[str, float]:
        """Train on each batch once and return the means of the epoch."""
        self.reset_metrics()
        mean = Mean()
        logs: dict[str, float] = {}
        group.call("on_epoch_begin", epoch, {})
        source = batches(train, self.model.epochs_seen, steps, cache, augmented=True)
        for number, (network, batch) in enumerate(source):
            x, y, weight = unpack(batch)
            group.call("on_train_batch_begin", number, {})
            loss = self.train_step(x, y, weight, class_weight, network)
            if not math.isfinite(loss) and math.isfinite(logs.get("loss", 0.0)):
                warnings.warn(
                    f"epoch {epoch + 1}, batch {number}: the loss is {loss}; lower the learning "
                    "rate or clip gradients (TerminateOnNaN stops here)",
                    stacklevel=4,
                )
            mean.update_state(loss, sample_weight=sample_count(x))
            logs = {"loss": mean.result(), **self.metric_results(within_epoch=True)}
            group.batch_end(number, logs)
            if self.model.stop_training:
                break
        if not logs:
            raise DataError(f"{self.model.label}: fit received no batches")
        self.model.epochs_seen += 1
        if _class_names(train):
            self.model.metadata.setdefault("class_names", _class_names(train))
        return {"loss": mean.result(), **self.metric_results()}

    def evaluate_dataset(
        self, dataset: Dataset, steps: int | None = None, cache: FeatureCache | None = None
    ) -> dict[str, float]:
        """Return the mean loss and the metrics over one pass."""
        self.reset_metrics()
        mean = Mean()
        for network, batch in batches(dataset, 0, steps, cache):
            x, y, weight = unpack(batch)
            loss = self.test_step(x, y, weight, network)
            mean.update_state(loss, sample_weight=sample_count(x))
        if mean.count == 0:
            raise DataError(f"{self.model.label}: evaluate received no batches")
        return {"loss": mean.result(), **self.metric_results()}

    def reset_metrics(self) -> None:
        for group in [self.output_losses, *(self.metrics or [])]:
            for metric in group:
                metric.reset_state()

    def metric_results(self, within_epoch: bool = False) -> dict[str, Any]:
        """Return the metrics so far; several outputs' losses and metrics bear their names.

        Within an epoch, without those that are worth computing only at its end.
        """
        prefixes = [""]
        if not self.model.single_output:
            prefixes = [f"{tensor.layer.name}_" for tensor in self.model.output_tensors]
        results = {
            f"{prefix}loss": mean.result()
            for prefix, mean in zip(prefixes, self.output_losses, strict=False)
        }
        for prefix, group in zip(prefixes, self.metrics or [], strict=False):
            for metric in group:
                if metric.each_batch or not within_epoch:
                    results[prefix + metric.name] = metric.result()
        return results

    def _validation_dataset(self, data, batch_size, train: Dataset, cache) -> Dataset | None:
        if data is None:
            return None
        given, size = (data,), None  # a Dataset makes its own batches
        if isinstance(data, tuple) or (isinstance(data, list) and not holds_batches(data)):
            given, size = data, batch_size
            if len(data) not in (2, 3):
                raise DataError(
                    "validation_data: expected (x, y), (x, y, sample_weight) or a Dataset, "
                    f"received a {type(data).__name__} of {len(data)}"
                )
        dataset = as_dataset(*given, batch_size=size, shuffle=False)
        ours, theirs = _class_names(train), _class_names(dataset)
        if ours and theirs and ours != theirs:
            raise DataError(
                f"validation_data: expected the classes of the training data, {ours}, received "
                f"{theirs}; ImageFolder(class_names=...) sets their order"
            )
        if not isinstance(dataset, IterableDataset):  # such data might be given only once
            for network, batch in batches(dataset, 0, 1, cache):
                self.test_step(*unpack(batch), network)  # complains before an epoch is spent
        return dataset


@contextlib.contextmanager
def _statistics_kept(model) -> Iterator[None]:
    """Give a model its moving statistics back where a step fails: it has learned nothing."""
    kept = [(p, p.value.copy()) for p in model.weights if not p.learned]
    try:
        yield
    except BaseException:
        for parameter, value in kept:
            parameter.array = value
        raise


def _say_if_flat(losses: list[float], learning_rate: float) -> None:
    """Warn where an epoch of training left the loss at the very same number."""
    learned_already = losses[-1] < 1e-6
    if len(losses) >= 2 and losses[-1] == losses[-2] and learning_rate and not learned_already:
        warnings.warn(
            f"the loss stayed at exactly {losses[-1]:g} for an epoch: nothing seems to be "
            "learned; scale the inputs, change the learning rate, or see what is frozen",
            stacklevel=4,
        )


def _for_each_output(what: str, value, outputs: int) -> list:
    if outputs == 1:
        single = isinstance(value, (list, tuple)) and len(value) == 1
        return [value[0] if single else value]
    if not isinstance(value, (list, tuple)) or len(value) != outputs:
        raise ValueError(f"compile: expected a list of {outputs} for {what}, one for each output")
    return list(value)


def _class_names(dataset) -> list[str]:
    names = getattr(dataset, "class_names", None)
    return [] if names is None else list(names)


def _length(dataset) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _check_counts(**counts) -> None:
    """Check numbers of epochs and steps; steps may be None."""
    for name, value in counts.items():
        if value is not None or "steps" not in name:
            minimum = 0 if name in ("epochs", "initial_epoch", "augmented_passes") else 1
            check_integer("fit", name, value, minimum)
