"""Steps on several shards: the shards determine the result, not the processes that compute them."""

import json

import numpy as np
import pytest
from support.distributed_training import CODE, random_net, result_of
from support.mpi import output_of_ranks, run_ranks
from support.tiny import assert_same_training, blobs, classifier, refused

import minidl
from minidl import Input, Sequential, layers, optimizers
from minidl.training.sharded_step import merge_statistics

X, Y = blobs()


def ranks(size, *arguments):
    """Return what the ranks of a training print, which must agree."""
    lines = output_of_ranks(size, CODE, *arguments)
    assert len(lines) == size
    assert len(set(lines)) == 1
    return json.loads(lines[0])


# One process


@pytest.mark.parametrize("counts", [(3, 5), (1, 1, 7), (4, 4, 4, 4)])
def test_merged_statistics_are_those_of_all_rows(counts):
    rng = np.random.default_rng(0)
    parts = [rng.normal(100 * i, 1 + i, (n, 3)) for i, n in enumerate(counts)]
    mean, variance = merge_statistics([(len(p), p.mean(axis=0), p.var(axis=0)) for p in parts])
    rows = np.concatenate(parts)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(variance, rows.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [16, 10])
def test_without_random_layers_shards_compute_the_same_step(batch_size):
    def trained(**arguments):
        minidl.set_random_seed(1)
        model = classifier(dtype="float64")
        model.compile(optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
        arguments = {"class_weight": {0: 1, 1: 3}, "sample_weight": np.linspace(0, 2, 40)}
        history = model.fit(X, Y, batch_size=batch_size, epochs=3, verbose=0, **arguments)
        return model.get_weights(), history.history

    weights, history = trained()
    sharded, sharded_history = trained(shards=4)
    for a, b in zip(weights, sharded, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for name, values in history.items():
        np.testing.assert_allclose(sharded_history[name], values, rtol=1e-9)


def test_one_shard_is_the_usual_training():
    first, second = result_of(shards=1), result_of(shards=None)
    assert first == second
    assert result_of(shards=2) != first


def test_each_shard_has_its_own_batch_statistics_and_the_moving_ones_are_of_all():
    x = np.random.default_rng(0).normal(3, 2, (8, 5)).astype(np.float32)
    seen = []

    class Look(layers.Layer):
        def forward(self, x, training=False, rng=None):
            seen.extend([x] if training else [])
            return x, None

        def backward(self, dy, cache, need_dx=True):
            return dy, []

    norm = layers.BatchNormalization(momentum=0.0, epsilon=0.0)
    model = Sequential([Input((5,)), norm, Look(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, np.zeros(8), batch_size=8, shards=2, shuffle=False, verbose=0)
    for normalized, part in zip(seen, (x[:4], x[4:]), strict=True):
        expected = (part - part.mean(axis=0)) / part.std(axis=0)
        np.testing.assert_allclose(normalized, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(norm.moving_mean.value, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance.value, x.var(axis=0), rtol=1e-5)


def test_each_shard_draws_its_own_randomness():
    dropped = []

    class Look(layers.Layer):
        def forward(self, x, training=False, rng=None):
            dropped.extend([tuple((x == 0).ravel())] if training else [])
            return x, None

        def backward(self, dy, cache, need_dx=True):
            return dy, []

    model = Sequential([Input((32,)), layers.Dropout(0.5), Look(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((16, 32)), np.zeros(16), batch_size=8, shards=4, epochs=2, verbose=0)
    assert len(dropped) == len(set(dropped)) == 16  # four shards in each of four steps


def test_a_parameter_that_no_gradient_reaches_and_batches_smaller_than_the_shards():
    a, b = Input((4,)), Input((4,))
    model = minidl.Model([a, b], [layers.Dense(1)(a), layers.Dense(1)(b)])
    model.compile("sgd", ["mse", "mse"], loss_weights=[1.0, 0.0])
    history = model.fit([X[:3], X[:3]], [Y[:3], Y[:3]], shards=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_the_number_of_shards_is_remembered(tmp_path):
    def model():
        minidl.set_random_seed(3)
        new = random_net()
        new.compile("adam", "sparse_categorical_crossentropy")
        return new

    x, y = np.random.default_rng(0).uniform(size=(24, 12, 12, 3)), np.arange(24) % 3
    whole, half = model(), model()
    whole.fit(x, y, epochs=2, shards=4, batch_size=12, verbose=0)
    half.fit(x, y, epochs=1, shards=4, batch_size=12, verbose=0)
    half.save(tmp_path / "half.h5")
    resumed = minidl.load_model(tmp_path / "half.h5")
    with refused(ValueError, "expected shards=4", "received 8"):
        resumed.fit(x, y, epochs=2, shards=8, batch_size=12, resume=True, verbose=0)
    resumed.fit(x, y, epochs=2, batch_size=12, resume=True, verbose=0)
    assert_same_training(whole, resumed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shards": 0}, ["shards", "0"]),
        ({"shards": 2.5}, ["shards", "2.5"]),
        ({"gradient_dtype": "int8"}, ["gradient_dtype", "int8"]),
    ],
)
def test_wrong_arguments(arguments, words):
    with refused(ValueError, "fit", *words):
        classifier().fit(X, Y, verbose=0, **arguments)


# Several ranks


def test_ranks_and_threads_do_not_change_a_bit():
    expected = result_of()
    for size, threads in ((1, 2), (2, 1), (2, 2), (4, 1), (8, 1)):
        assert ranks(size, "--threads", threads) == expected, (size, threads)


def test_a_head_on_a_frozen_base_does_not_depend_on_the_ranks():
    expected = result_of(frozen=True)
    for size in (2, 4):
        assert ranks(size, "--frozen") == expected


def test_a_killed_training_continues_with_another_number_of_ranks(tmp_path):
    expected = result_of(epochs=4, model_file=tmp_path / "whole.h5")
    file = tmp_path / "model.h5"
    done = run_ranks(4, CODE, "--epochs", 4, "--model-file", file, "--kill", 2, 2)
    assert done.returncode != 0
    # Rank 0 may still have been writing the file of the second epoch.
    assert minidl.load_model(file).training_state["epoch"] in (1, 2)
    continued = ranks(2, "--epochs", 4, "--model-file", file, "--resume")
    assert continued == expected


def test_ranks_that_do_not_divide_the_shards_are_refused():
    done = run_ranks(3, CODE)
    assert done.returncode != 0
    assert "expected shards to be a multiple of the 3 ranks, received 8" in done.stderr


def test_different_initial_weights_are_made_equal_and_later_differences_are_named():
    code = """
import sys, numpy as np, minidl
from minidl import distributed, callbacks
from support.distributed_training import hash_of
from support.tiny import blobs, classifier
minidl.set_random_seed(distributed.rank())  # the ranks start with other weights and orders
model, (x, y) = classifier(), blobs()
model.fit(x, y, epochs=2, batch_size=8, verbose=0)
sys.stdout.write(f"{len(set(distributed.all_gather(hash_of(model.get_weights()))))}\\n")

def change(epoch, logs):
    if distributed.rank() == 1 and epoch == 1:
        with model.get_layer("dense_1").kernel.editing() as kernel:
            kernel += 1
look = callbacks.LambdaCallback(on_epoch_begin=change)
model.fit(x, y, epochs=2, callbacks=[look], verbose=0)
"""
    done = run_ranks(2, code)
    assert done.stdout.split() == ["1", "1"]
    assert done.returncode != 0
    assert "the weights of rank 1 differ from those of rank 0, first in 'dense_1/kernel'" in (
        done.stderr
    )


def test_only_rank_0_prints_and_each_rank_can_train_alone():
    code = """
import sys
from minidl import distributed
from support.tiny import blobs, classifier
model, (x, y) = classifier(), blobs()
model.fit(x, y, epochs=2, verbose=2)
model.evaluate(x, y, verbose=2)
if distributed.rank() == 0:  # would wait for the other rank otherwise
    model.fit(x, y, verbose=0, distributed=False)
    model.evaluate(x, y, distributed=False)
    model.predict(x, distributed=False)
"""
    lines = output_of_ranks(2, code)
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2", "Evaluation"]
