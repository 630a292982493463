"""Gradient sums: buckets, their order, and errors of the communication thread."""

import numpy as np
import pytest
from support.mpi import in_threads, tree_reference

from minidl.distributed import gradients as module
from minidl.distributed.communicator import Communicator
from minidl.distributed.gradients import GradientSums
from minidl.distributed.tree import shard_range

SHAPES = {"a": (3, 4), "b": (7,), "c": (2, 2, 2), "d": (1,)}


def gradient(shard, key, dtype=np.float32):
    seed = [shard, ord(key)]
    return np.random.default_rng(seed).normal(size=SHAPES[key]).astype(dtype)


def totals(communicator, shards=8, order=tuple(SHAPES), steps=2, **options):
    sums = GradientSums(communicator, shards, **options)
    for _ in range(steps):
        sums.begin({key: np.zeros(shape, np.float32) for key, shape in SHAPES.items()})
        for shard in range(*shard_range(communicator.rank, communicator.size, shards)):
            for key in order:
                sums.add(shard, key, gradient(shard, key))
        results = sums.finish()
    sums.close()
    return [result.tobytes() for result in results]


@pytest.mark.parametrize("bucket", [1, 40, 2**20])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("payload", [None, "float16"])
def test_ranks_and_buckets_do_not_change_the_sums(monkeypatch, size, bucket, payload):
    monkeypatch.setattr(module, "BUCKET_BYTES", bucket)
    results = in_threads(size, lambda rank: totals(rank, payload=payload))
    assert all(result == totals(Communicator(), payload=payload) for result in results)
    if payload is None:
        expected = [tree_reference([gradient(s, key) for s in range(8)]) for key in SHAPES]
        assert results[0] == [array.tobytes() for array in expected]


def test_ranks_may_complete_the_gradients_in_different_orders(monkeypatch):
    monkeypatch.setattr(module, "BUCKET_BYTES", 1)
    orders = [tuple(SHAPES), tuple(reversed(SHAPES))]
    results = in_threads(2, lambda rank: totals(rank, order=orders[rank.rank]))
    assert results[0] == results[1] == totals(Communicator())


def test_gradients_are_not_changed():
    given = [np.ones(3), np.ones(3)]
    sums = GradientSums(Communicator(), 2)
    sums.begin({"w": np.zeros(3)})
    for shard, array in enumerate(given):
        sums.add(shard, "w", array)
    assert sums.finish()[0].tolist() == [2, 2, 2]
    assert all((array == 1).all() for array in given)


def test_an_error_of_the_communication_thread_is_raised():
    class Broken(Communicator):
        size = 2

        def send(self, array, to, place):
            raise ConnectionError(place)

        receive = send

    sums = GradientSums(Broken(), 2)
    sums.begin({"w": np.zeros(3)})
    sums.add(0, "w", np.ones(3))
    with pytest.raises(ConnectionError, match="the sum of gradients"):
        sums.finish()
    sums.close()
