"""A training step on a batch that is divided into shards, on one rank or several.

The S shards of a batch are contiguous micro-batches. Each has its own BatchNormalization statistics
and its own random numbers, determined by (seed, step, shard). Their gradients are summed along a
fixed binary tree, and the moving statistics follow the whole batch, whose statistics are merged in
the order of the shards. Therefore S determines the result, not the number of ranks n: rank r
computes the shards ``r * S / n`` to ``(r + 1) * S / n - 1``.

>>> import numpy as np
>>> from minidl.training.sharded_step import merge_statistics
>>> merge_statistics([(2, np.array([1.0]), np.array([1.0])), (2, np.array([5.0]), np.array([1.0]))])
(array([3.]), array([5.]))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minidl.data.array_checks import take
from minidl.distributed.communicator import Communicator, DistributedError
from minidl.distributed.gradients import GradientSums
from minidl.distributed.tree import shard_range
from minidl.graph.network import Network
from minidl.layers.normalization import collect_statistics
from minidl.training.batches import sample_count

__all__ = ["ShardedStep", "check_equal_weights", "merge_statistics"]

Statistics = tuple[int, np.ndarray, np.ndarray]  # number of rows, mean, variance


class _Result(NamedTuple):
    """What the other ranks need to know of a shard."""

    samples: int
    losses: list[float]
    outputs: Any
    statistics: list[tuple[int, Statistics]]  # with the position of the layer in the network


class ShardedStep:
    """Computes the gradients of batches that are divided into shards.

    Parameters
    ----------
    trainer : Trainer
    communicator : Communicator
    shards : int
        A multiple of the number of ranks.
    payload : dtype, optional
        Dtype of the gradients in messages; see :class:`~minidl.distributed.gradients.GradientSums`.
    """

    def __init__(
        self, trainer: Any, communicator: Communicator, shards: int, payload: str | None = None
    ) -> None:
        self.trainer, self.communicator, self.shards = trainer, communicator, shards
        self.sums = GradientSums(communicator, shards, payload)
        self._synchronized = False

    def gradients(
        self,
        network: Network,
        x: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        class_weight: dict[int, float] | None,
    ) -> tuple[float, list[np.ndarray]]:
        """Run one batch forward and backward, and update the metrics and moving statistics."""
        if not self._synchronized:
            synchronize(self.trainer, self.communicator)
            self._synchronized = True
        total = sample_count(x)
        self.sums.begin({id(p): p.value for p in network.trainable_weights})
        results = []
        for shard in range(
            *shard_range(self.communicator.rank, self.communicator.size, self.shards)
        ):
            rows = slice(total * shard // self.shards, total * (shard + 1) // self.shards)
            if rows.start == rows.stop:
                self._add_zeros(network, shard)
                continue
            batch = [take(_indexable(value), rows) for value in (x, y, sample_weight)]
            results.append(self._shard(network, shard, total, batch, class_weight))
        place = f"step {self.trainer.optimizer.iterations + 1} of the training"
        every = [result for part in self.communicator.all_gather(results, place) for result in part]
        loss = self._update(network, y, every, total)
        return loss, self.trainer.regularized(network, self.sums.finish())

    def close(self) -> None:
        """End the communication thread."""
        self.sums.close()

    def _shard(
        self,
        network: Network,
        shard: int,
        total: int,
        batch: list[Any],
        class_weight: dict[int, float] | None,
    ) -> _Result:
        """Run one shard forward and backward; its gradients go to the sums."""
        x, y, sample_weight = batch
        trainer, count = self.trainer, sample_count(x)
        rng = np.random.default_rng([trainer.model.seed, 0, trainer.optimizer.iterations, shard])
        with collect_statistics() as collected:
            outputs, tape = network.forward(x, training=True, rng=rng, need_dx=False)
        losses, dys = trainer.losses_and_gradients(y, outputs, sample_weight, class_weight)
        dys = [dy * dy.dtype.type(count / total) for dy in dys]  # of the mean over the whole batch

        def on_gradients(parameters: Any, gradients: list[np.ndarray]) -> None:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                added.add(id(parameter))
                self.sums.add(shard, id(parameter), gradient)

        added: set[int] = set()
        dy = dys[0] if trainer.model.single_output else dys
        network.backward(dy, tape, need_dx=False, on_gradients=on_gradients)
        self._add_zeros(network, shard, added)
        numbers = {id(layer): i for i, layer in enumerate(network.layers)}
        statistics = [(numbers[id(s.layer)], (s.rows, s.mean, s.variance)) for s in collected]
        return _Result(count, losses, outputs, statistics)

    def _add_zeros(self, network: Network, shard: int, added: set[int] | None = None) -> None:
        """Add zeros for the parameters that no gradient of a shard has reached."""
        for parameter in network.trainable_weights:
            if id(parameter) not in (added or ()):
                self.sums.add(shard, id(parameter), np.zeros_like(parameter.value))

    def _update(self, network: Network, y: Any, results: list[_Result], total: int) -> float:
        """Update metrics and moving statistics with the results of all shards; return the loss."""
        shares = [result.samples / total for result in results]
        losses = [
            sum(share * value for share, value in zip(shares, values, strict=True))
            for values in zip(*(result.losses for result in results), strict=True)
        ]
        outputs: Any
        if self.trainer.model.single_output:
            outputs = np.concatenate([result.outputs for result in results])
        else:
            parts = zip(*(result.outputs for result in results), strict=True)
            outputs = [np.concatenate(part) for part in parts]
        self.trainer.update_metrics(y, outputs, losses)
        for calls in zip(*(result.statistics for result in results), strict=True):
            number, _ = calls[0]
            merged = merge_statistics([statistics for _, statistics in calls])
            layer: Any = network.layers[number]
            layer.update_moving_statistics(*merged)
        return self.trainer.total_loss(losses)


def merge_statistics(parts: Sequence[Statistics]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and (biased) variance of all rows, from those of the parts, in their order.

    Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample
    variances".

    Parameters
    ----------
    parts : sequence of (int, array, array)
        Number of rows, mean and variance of each part; the arrays in float64.
    """
    count, mean, variance = parts[0]
    squares = variance * count
    for n, m, v in parts[1:]:
        delta = m - mean
        mean = mean + delta * (n / (count + n))
        squares = squares + v * n + delta * delta * (count * n / (count + n))
        count += n
    return mean, squares / count


def synchronize(trainer: Any, communicator: Communicator) -> None:
    """Give all ranks the weights and the optimizer's state of rank 0, if they differ."""
    optimizer, model = trainer.optimizer, trainer.model
    facts = optimizer.iterations, _checksums(model)
    every = communicator.all_gather(facts, "the first step of the training")
    if all(other == every[0] for other in every):
        return
    for parameter in model.weights:
        value = parameter.value.copy()
        communicator.broadcast(value, 0, f"the weights of {parameter.path}")
        parameter.assign(value)
    state = optimizer.get_state() if communicator.rank == 0 else None
    optimizer.set_state(communicator.all_gather(state, "the state of the optimizer")[0])


def check_equal_weights(model: Any, communicator: Communicator) -> None:
    """Raise DistributedError if the weights of a rank differ from those of rank 0."""
    every = communicator.all_gather(_checksums(model), "the comparison of the weights")
    for rank, checksums in enumerate(every):
        different = [path for path, value in checksums.items() if value != every[0].get(path)]
        if different:
            raise DistributedError(
                f"{model.label}: the weights of rank {rank} differ from those of rank 0, first in "
                f"{different[0]!r}. Look for a callback or a layer that changes weights on one "
                "rank only, or for data that differ between the ranks."
            )


def _checksums(model: Any) -> dict[str, str]:
    return {
        p.path: hashlib.blake2b(np.ascontiguousarray(p.value).data, digest_size=8).hexdigest()
        for p in model.weights
    }


def _indexable(value: Any) -> Any:
    """Return a value of which `take` can return rows: arrays, or a list of arrays."""
    if value is None or isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)) and any(np.ndim(part) for part in value):
        return [np.asarray(part) for part in value]
    return np.asarray(value)
