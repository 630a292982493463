"""The tree: the same bits for any number of ranks, and few messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mpi import in_threads, tree_reference

from minidl.distributed.communicator import Communicator
from minidl.distributed.tree import (
    PartialSums,
    middle,
    rank_of,
    shard_range,
    sum_over_ranks,
    tree_sum,
)


def leaves(shards, size=50):
    """Return arrays of very different magnitudes, so that each order of a sum rounds otherwise."""
    rng = np.random.default_rng(shards)
    return (rng.normal(size=(shards, size)) * 10.0 ** rng.integers(-4, 4, (shards, size))).astype(
        np.float32
    )


def summed(communicator, values, number=0, payload=None):
    sums = PartialSums(len(values), np.add)
    for shard in range(*shard_range(communicator.rank, communicator.size, len(values))):
        sums.add(shard, values[shard].copy())
    return sum_over_ranks(communicator, sums.nodes, len(values), "a test", number, payload)


@given(st.integers(1, 24), st.integers(1, 8), st.integers(0, 7))
def test_any_number_of_ranks_gives_the_bits_of_the_tree(shards, size, number):
    size = min(size, shards)
    values = leaves(shards)
    expected = tree_reference(list(values)).tobytes()
    for result in in_threads(size, lambda rank: summed(rank, values, number)):
        assert result.tobytes() == expected


def test_the_order_of_the_tree_is_not_the_only_one():
    values = leaves(8)
    assert (tree_reference(list(values)) != values.cumsum(axis=0)[-1]).any()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_rounded_messages_give_the_same_bits_for_any_number_of_ranks(size):
    values = np.random.default_rng(0).normal(size=(8, 30)).astype(np.float32)

    def half(a):
        return a.astype(np.float16).astype(np.float32)

    level = [half(a) for a in values]
    while len(level) > 1:
        level = [half(a + b) for a, b in zip(level[::2], level[1::2], strict=True)]

    def rounded(communicator):
        sums = PartialSums(8, lambda a, b: half(a) + half(b))
        for shard in range(*shard_range(communicator.rank, communicator.size, 8)):
            sums.add(shard, values[shard].copy())
        return sum_over_ranks(communicator, sums.nodes, 8, "a test", payload="float16")

    for result in in_threads(size, rounded):
        assert result.dtype == np.float32
        assert result.tobytes() == level[0].tobytes()


def test_consecutive_sums_are_spread_over_the_ranks():
    def traffic(communicator):
        for number in range(4):
            summed(communicator, leaves(4, 1000), number)
        return communicator.sent

    sent = in_threads(4, traffic)
    assert max(sent) <= 1.5 * min(sent)


@given(st.integers(2, 64))
def test_the_left_part_is_the_largest_power_of_two(shards):
    split = middle(0, shards)
    assert split in (1, 2, 4, 8, 16, 32)
    assert split < shards <= 2 * split


@given(st.integers(1, 40), st.integers(1, 8))
def test_each_shard_belongs_to_one_rank(shards, size):
    ranges = [shard_range(rank, size, shards) for rank in range(size)]
    assert [shard for part in ranges for shard in range(*part)] == list(range(shards))
    for shard in range(shards):
        first, last = ranges[rank_of(shard, size, shards)]
        assert first <= shard < last


def test_partial_sums_stay_few():
    sums = PartialSums(64, np.add)
    for shard in range(63):
        sums.add(shard, np.ones(1))
        assert len(sums.nodes) <= 6
    sums.add(63, np.ones(1))
    assert sums.nodes == {(0, 64): 64}


def test_one_process_keeps_its_array():
    array = np.ones(3)
    assert tree_sum(Communicator(), array, "a test") is array
