"""One training step: forward, loss, backward, update.

A :class:`Trainer` holds what ``compile`` sets: optimizer, losses and metrics. The loop over epochs
is in :mod:`minidl.training.fitting`.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> model = Sequential([Input((2,)), layers.Dense(1, kernel_initializer="ones")])
>>> model.compile("sgd", "mse")
>>> model.trainer.train_step(np.ones((4, 2)), np.zeros((4, 1)))
4.0
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl import losses
from minidl.callbacks.progress import Progress
from minidl.common.errors import DataError, ShapeError
from minidl.data.pipeline import Dataset
from minidl.graph.input_checks import check_finite
from minidl.graph.network import Network
from minidl.losses.base import Loss
from minidl.losses.crossentropy import on_logits
from minidl.metrics import get as get_metric
from minidl.metrics.metric import Mean, Metric
from minidl.optimizers import algorithms as optimizers
from minidl.training.batches import combined_weights, sample_count, unpack
from minidl.training.feature_cache.cache import FeatureCache, batches
from minidl.training.logits import LogitsNetwork, final_activation
from minidl.training.sharded_step import ShardedStep
from minidl.training.shared_inference import shared_outputs

__all__ = ["Trainer"]


class Trainer:
    """Optimizer, losses and metrics of one model.

    Parameters
    ----------
    model : Model
    optimizer : str or Optimizer
    loss : str, Loss or list
        One for each output.
    metrics : list
        Names or metrics; for several outputs a list of such lists.
    loss_weights : list of float, optional
        One for each output.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: list[float] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizers.get(optimizer)
        outputs = 1 if model.single_output else len(model.output_tensors)
        self.losses = [losses.get(item) for item in _per_output("loss", loss, outputs)]
        weights = loss_weights or [1.0] * outputs
        self.loss_weights = [float(w) for w in _per_output("loss_weights", weights, outputs)]
        if outputs == 1:
            metrics = [metrics or []]
        self.metric_names = [
            item if isinstance(item, (list, tuple)) else [item]
            for item in _per_output("metrics", metrics or [[]] * outputs, outputs)
        ]
        for names, item in zip(self.metric_names, self.losses, strict=True):
            for name in names:
                get_metric(name, loss=item)  # refuses unknown names at once
        self.metrics: list[list[Metric]] = []  # chosen when the first labels arrive
        self.output_losses = [Mean() for _ in self.losses] if outputs > 1 else []
        self.sharded: ShardedStep | None = None  # set by fit with several shards or ranks
        self._network: LogitsNetwork | None = None
        self._split_nodes: list[Any] = []  # the model's nodes when the network was split
        self._network_losses: list[Loss] = []

    @property
    def network(self) -> LogitsNetwork:
        """The model with logits as outputs where the losses can be computed from logits."""
        if self._network is None or self._split_nodes is not self.model.nodes:
            names = [final_activation(self.model, k) for k in range(len(self.losses))]
            candidates = [on_logits(loss, n) for loss, n in zip(self.losses, names, strict=True)]
            outputs = [k for k, loss in enumerate(candidates) if loss is not None]
            self._network = LogitsNetwork(self.model, outputs)
            self._split_nodes = self.model.nodes
            self._network_losses = [
                loss if activation is None or candidate is None else candidate
                for loss, candidate, activation in zip(
                    self.losses, candidates, self._network.activations, strict=True
                )
            ]
        return self._network

    # ------------------------------------------------------------------ one batch

    def train_step(
        self,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        class_weight: dict[int, float] | None = None,
        head: Network | None = None,
    ) -> float:
        """Make one optimizer step.

        Parameters
        ----------
        x, y : array or list of arrays
            Inputs and labels of one batch.
        sample_weight : array_like, shape (batch,), optional
        class_weight : dict, optional
            Class number to weight.
        head : Network, optional
            The part of :attr:`network` to train if `x` are features of a frozen base.

        Returns
        -------
        float
            The batch's loss before the step.
        """
        check_finite(x)
        network = head or self._network_for(x)
        # Overflows end in a loss that is not finite, which fit reports.
        with np.errstate(over="ignore", invalid="ignore"), _restore_statistics(network):
            compute = self._gradients if self.sharded is None else self.sharded.gradients
            loss, gradients = compute(network, x, y, sample_weight, class_weight)
            self.optimizer.apply(network.trainable_weights, gradients)
        return loss

    def _gradients(
        self,
        network: Network,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        class_weight: dict[int, float] | None,
    ) -> tuple[float, list[np.ndarray]]:
        """Run one batch forward and backward, and update the metrics."""
        rng = np.random.default_rng([self.model.seed, 0, self.optimizer.iterations])
        outputs, tape = network.forward(x, training=True, rng=rng, need_dx=False)
        losses, dys = self.losses_and_gradients(y, outputs, sample_weight, class_weight)
        self.update_metrics(y, outputs, losses)
        dy = dys[0] if self.model.single_output else dys
        _, gradients = network.backward(dy, tape, need_dx=False)
        return self.total_loss(losses), self.regularized(network, gradients)

    def regularized(self, network: Network, gradients: list[np.ndarray]) -> list[np.ndarray]:
        """Return the gradients with those of the regularizers' penalties."""
        return [
            g if p.regularizer is None else g + p.regularizer.gradient(p.value).astype(g.dtype)
            for p, g in zip(network.trainable_weights, gradients, strict=True)
        ]

    def test_step(
        self,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        head: Network | None = None,
        outputs: Any = None,
    ) -> float:
        """Return the loss of one batch and update the metrics.

        Parameters
        ----------
        x, y, sample_weight, head
            As for :meth:`train_step`.
        outputs : array or list of arrays, optional
            Of :meth:`infer` for this batch, if they are known.

        Returns
        -------
        float
        """
        if outputs is None:
            outputs = self.infer(x, head)
        with np.errstate(over="ignore", invalid="ignore"):
            losses, _ = self.losses_and_gradients(y, outputs, sample_weight)
            self.update_metrics(y, outputs, losses)
        return self.total_loss(losses)

    def infer(self, x: Any, head: Network | None = None) -> Any:
        """Return the outputs of :attr:`network`, or of the head, for one batch."""
        check_finite(x)
        with np.errstate(over="ignore", invalid="ignore"):
            return (head or self._network_for(x)).infer(x)

    def predict(self, xs: list[np.ndarray]) -> Any:
        """Return the model's outputs for checked inputs.

        They come from the network that :meth:`test_step` uses, so that evaluation and prediction
        share one inference plan with its prepared weights.
        """
        ys = self._predictions(self.network.run_plan(xs))
        return ys[0] if self.model.single_output else ys

    def _network_for(self, x: Any) -> LogitsNetwork:
        """Return the network, after building a Sequential that had no input shape so far."""
        if not self.model.built:
            self.model.check_inputs(x)
        return self.network

    def losses_and_gradients(
        self,
        y: Any,
        outputs: Any,
        sample_weight: ArrayLike | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> tuple[list[float], list[np.ndarray]]:
        """Return each output's loss, and the total loss' gradients with respect to the outputs."""
        if class_weight is not None and len(self.losses) > 1:
            raise ValueError(f"{self.model.label}: class_weight needs a model with one output")
        weights = combined_weights(y, outputs, self.losses[0], class_weight, sample_weight)
        values, dys = [], []
        ys, outputs = self._labels(y), self._outputs(outputs)
        parts = zip(self._network_losses, self.loss_weights, ys, outputs, strict=True)
        for loss, weight, t, z in parts:
            value, dy = loss.value_and_gradient(t, z, weights)
            values.append(value)
            dys.append(dy if weight == 1 else dy * z.dtype.type(weight))
        return values, dys

    def total_loss(self, losses: list[float]) -> float:
        """Return the penalty and the weighted sum of the outputs' losses."""
        total = self.penalty()
        for weight, value in zip(self.loss_weights, losses, strict=True):
            total += weight * value
        return float(total)

    def penalty(self) -> float:
        """Return the sum of the regularizers' penalties; frozen parameters have none."""
        parameters = self.model.trainable_weights
        return float(sum(p.regularizer(p.value) for p in parameters if p.regularizer))

    # ------------------------------------------------------------------ metrics

    def evaluate_dataset(
        self,
        dataset: Dataset,
        steps: int | None = None,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Return the mean loss and the metrics over one pass.

        Parameters
        ----------
        dataset : Dataset
        steps : int, optional
            Limit on the number of batches.
        cache : FeatureCache, optional
        progress : Progress, optional
            Shows each batch.

        Returns
        -------
        dict
            "loss" and the metrics by name.
        """
        self.reset_metrics()
        mean = Mean()
        source = batches(dataset, 0, steps, cache)
        for (head, batch), outputs in shared_outputs(
            source, lambda item: self.infer(unpack(item[1])[0], item[0])
        ):
            x, y, weight = unpack(batch)
            loss = self.test_step(x, y, weight, head, outputs)
            mean.update_state(loss, sample_weight=sample_count(x))
            if progress is not None:
                metrics = self.metric_results(within_epoch=True)
                progress.update({"loss": mean.result(), **metrics})
        if mean.count == 0:
            raise DataError(f"{self.model.label}: evaluate received no batches")
        return {"loss": mean.result(), **self.metric_results()}

    def reset_metrics(self) -> None:
        """Reset all metrics and the mean losses of the outputs."""
        groups: list[Sequence[Metric]] = [self.output_losses, *self.metrics]
        for group in groups:
            for metric in group:
                metric.reset_state()

    def metric_results(self, within_epoch: bool = False) -> dict[str, Any]:
        """Return the metrics so far by name; of several outputs with the layer's name before it.

        Parameters
        ----------
        within_epoch : bool
            Leave out the metrics that are costly to compute.
        """
        prefixes = [""]
        if not self.model.single_output:
            prefixes = [f"{tensor.layer.name}_" for tensor in self.model.output_tensors]
        results: dict[str, Any] = {
            f"{prefix}loss": mean.result()
            for prefix, mean in zip(prefixes, self.output_losses, strict=False)
        }
        for prefix, group in zip(prefixes, self.metrics, strict=False):
            for metric in group:
                if metric.each_batch or not within_epoch:
                    results[prefix + metric.name] = metric.result()
        return results

    def update_metrics(self, y: Any, outputs: Any, losses: list[float]) -> None:
        """Add one batch to the metrics, which receive probabilities instead of logits."""
        for mean, value, z in zip(self.output_losses, losses, self._outputs(outputs), strict=False):
            mean.update_state(value, sample_weight=len(z))
        ys, predictions = self._labels(y), self._predictions(outputs)
        if not self.metrics:
            self.metrics = [
                [get_metric(name, np.shape(p), loss, t) for name in names]
                for names, loss, t, p in zip(
                    self.metric_names, self.losses, ys, predictions, strict=True
                )
            ]
        for group, t, p in zip(self.metrics, ys, predictions, strict=True):
            for metric in group:
                metric.update_state(t, p)

    def _predictions(self, outputs: Any) -> list[np.ndarray]:
        """Apply the activations that were split off to the outputs of :attr:`network`."""
        return [
            z if activation is None else activation.infer(z)
            for z, activation in zip(self._outputs(outputs), self.network.activations, strict=True)
        ]

    def _outputs(self, outputs: Any) -> list[np.ndarray]:
        return [outputs] if self.model.single_output else outputs

    def _labels(self, y: Any) -> list[Any]:
        """Return the labels of each output."""
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


@contextlib.contextmanager
def _restore_statistics(network: Network) -> Iterator[None]:
    """Restore moving statistics if a step fails, so that it changes nothing."""
    saved = [(p, p.value.copy()) for p in network.weights if not p.learned]
    try:
        yield
    except BaseException:
        for parameter, value in saved:
            parameter.array = value
        raise


def _per_output(name: str, value: Any, outputs: int) -> list[Any]:
    """Return the argument `name` of ``compile`` as a list with one item per output."""
    if outputs == 1:
        single = isinstance(value, (list, tuple)) and len(value) == 1
        return [value[0] if single else value]
    if not isinstance(value, (list, tuple)) or len(value) != outputs:
        raise ValueError(f"compile: expected {name} to be a list of {outputs}, one per output")
    return list(value)
