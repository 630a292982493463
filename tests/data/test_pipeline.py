"""Datasets from arrays and iterables, orders of epochs, splits, and prefetching."""

import gc
import itertools
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minidl.common.seeding
from minidl.common.errors import DataError
from minidl.data import (
    ArrayDataset,
    Dataset,
    IterableDataset,
    as_dataset,
    prefetch,
    split_arrays,
)


def labels_of(dataset, epoch):
    return [int(label) for batch in dataset.batches(epoch) for label in batch[1]]


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "minidl-prefetch"]


def wait_until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# Arrays


@given(n=st.integers(1, 40), size=st.integers(1, 50), shuffle=st.booleans())
def test_each_epoch_holds_every_sample_once_with_its_own_label(n, size, shuffle):
    x = np.arange(n, dtype=np.float32)[:, None]
    data = ArrayDataset(x, np.arange(n), 2 * np.arange(n), size, shuffle=shuffle, seed=1)
    batches = list(data.batches(epoch=3))
    assert len(batches) == len(data)
    assert {len(y) for _, y, _ in batches[:-1]} <= {size}
    for x, y, weight in batches:
        np.testing.assert_array_equal(x[:, 0], y)
        np.testing.assert_array_equal(weight, 2 * y)
    assert sorted(labels_of(data, 3)) == list(range(n))


def test_the_order_of_an_epoch_depends_on_the_seed_and_the_epoch_only():
    x, y = np.zeros((50, 1)), np.arange(50)
    data = ArrayDataset(x, y, shuffle=True, seed=4)
    epochs = [labels_of(data, epoch) for epoch in range(3)]
    resumed = ArrayDataset(x, y, shuffle=True, seed=4)
    assert labels_of(resumed, 2) == epochs[2]
    assert epochs[0] != epochs[1]
    assert labels_of(ArrayDataset(x, y, shuffle=True, seed=5), 0) != epochs[0]


def test_without_a_seed_the_global_generator_determines_the_order():
    x, y = np.zeros((50, 1)), np.arange(50)

    def order():
        minidl.common.seeding.set_random_seed(9)
        return labels_of(ArrayDataset(x, y, shuffle=True), 0)

    assert order() == order()


def test_each_for_loop_yields_the_next_epoch():
    data = ArrayDataset(np.zeros((30, 1)), np.arange(30), shuffle=True, seed=0)
    for epoch in range(2):
        assert [int(label) for _, y in data for label in y] == labels_of(data, epoch)


def test_integers_become_float32_and_floats_stay():
    for dtype in ("uint8", "bool", "float16", "float32", "float64"):
        (x, y), *_ = ArrayDataset(np.ones((2, 3), dtype), np.array([0, 1])).batches()
        assert x.dtype == ("float64" if dtype == "float64" else "float32")
        assert y.dtype.kind == "i"


def test_several_inputs_and_outputs_are_lists_of_arrays():
    data = ArrayDataset(
        [np.zeros((5, 2)), np.ones((5, 3))], (np.zeros(5), np.arange(5)), batch_size=4
    )
    x, y = next(data.batches())
    assert [part.shape for part in x] == [(4, 2), (4, 3)]
    assert [part.shape for part in y] == [(4,), (4,)]


def test_lists_of_numbers_are_arrays():
    (x, y), *_ = ArrayDataset([[1, 2], [3, 4]], [0, 1]).batches()
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert y.tolist() == [0, 1]


def test_without_labels_y_is_none():
    ((x, y),) = ArrayDataset(np.zeros((3, 1))).batches()
    assert x.shape == (3, 1)
    assert y is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, "x has 3, y has 4"),
        ({"x": np.zeros(3), "y": np.zeros(3), "sample_weight": np.ones(2)}, "sample_weight has 2"),
        ({"x": [np.zeros((8, 8)), np.zeros((8, 8))], "y": [0]}, "np.stack"),
        ({"x": np.zeros((0, 2))}, "at least one sample"),
        ({"x": np.float32(3)}, "array of samples"),
        ({"x": np.array(["a", "b"])}, "expected numbers"),
        ({"x": [[1, 2], [3]]}, "x: cannot be converted to an array"),
        ({"x": np.zeros(3), "y": ["cat", "dog", "cat"]}, "y: expected numbers"),
        ({"x": np.zeros(3), "sample_weight": np.ones(3)}, "needs labels"),
        ({"x": np.zeros(3), "batch_size": 0}, "batch_size"),
        ({"x": np.zeros(3), "batch_size": 2.0}, "batch_size"),
        ({"x": np.zeros(3), "seed": -1}, "seed"),
    ],
)
def test_wrong_arrays_raise_value_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataset(**arguments)


def test_in_order_ignores_shuffling():
    data = ArrayDataset(np.zeros((9, 1)), np.arange(9), batch_size=4, shuffle=True, seed=0)
    assert labels_of(data.in_order(), 5) == list(range(9))
    assert data.in_order().batch_size == 4


def test_fingerprints_differ_with_values_types_and_shapes():
    x, y = np.zeros((4, 2)), np.zeros(4)
    variants = [
        (x, y),
        (x + 1, y),
        (x.astype(np.float32), y),
        (x.reshape(4, 2, 1), y),
        (x, None),
        (x, y + 1),
        ([x, x], y),
        (np.asfortranarray(np.arange(8.0).reshape(4, 2)), y),
    ]
    prints = [ArrayDataset(*arrays).fingerprint() for arrays in variants]
    assert len(set(prints)) == len(prints)
    ordered = np.arange(8.0).reshape(4, 2)
    assert ArrayDataset(ordered, y, shuffle=True).fingerprint() == prints[-1]


# Iterables


BATCH = (np.zeros((4, 2), np.float32), np.arange(4))


def test_a_list_and_a_function_give_one_epoch_per_iteration():
    for source in ([BATCH, BATCH], lambda: iter([BATCH, BATCH])):
        data = IterableDataset(source)
        assert [len(list(data.batches(epoch))) for epoch in range(3)] == [2, 2, 2]
    assert len(IterableDataset([BATCH, BATCH])) == 2
    with pytest.raises(TypeError, match="not known"):
        len(IterableDataset(lambda: iter([BATCH])))


def test_the_second_epoch_of_an_exhausted_generator_raises_data_error():
    data = IterableDataset(BATCH for _ in range(3))
    assert len(list(data.batches(0))) == 3
    with pytest.raises(
        DataError, match=r"generator: expected at least one batch.*several epochs.*function"
    ):
        list(data.batches(1))


def test_an_endless_generator_continues_where_the_last_epoch_stopped():
    data = IterableDataset((np.full((1, 1), i), [0]) for i in itertools.count())
    seen = []
    for epoch in range(2):
        batches = data.batches(epoch)
        seen += [int(x[0, 0]) for x, _ in itertools.islice(batches, 3)]
        batches.close()
    assert seen == [0, 1, 2, 3, 4, 5]


def test_batches_of_an_iterable_are_converted():
    x = np.zeros((4, 2), np.uint8)
    data = IterableDataset([x, (x,), [x, [0, 1, 0, 1]], (x, None), (x, np.zeros(4), np.ones(4))])
    batches = list(data.batches())
    assert [len(batch) for batch in batches] == [2, 2, 2, 2, 3]
    assert [batch[1] is None for batch in batches] == [True, True, False, True, False]
    assert all(batch[0].dtype == np.float32 for batch in batches)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([], "expected at least one batch, received none"),
        (["ab"], "batch 1 of the list: x"),
        ([BATCH, {"x": 1}], "batch 2 of the list"),
        ([(1, 2, 3, 4)], "received tuple"),
        ([(np.zeros((4, 2)), np.zeros(3))], "batch 1.*x has 4, y has 3"),
        ([(np.zeros((0, 2)), np.zeros(0))], "at least one sample"),
        (lambda: None, "expected an iterable of batches, received NoneType None"),
    ],
)
def test_wrong_batches_raise_data_error(source, message):
    with pytest.raises(DataError, match=message):
        list(IterableDataset(source).batches())


# as_dataset


def test_as_dataset_recognizes_its_sources():
    x, y = np.zeros((6, 2)), np.zeros(6)
    data = ArrayDataset(x, y)
    assert as_dataset(data) is data
    assert as_dataset(x, y).batch_size == 32
    assert isinstance(as_dataset([x, x], y), ArrayDataset)
    assert isinstance(as_dataset([[1.0, 2.0], [3.0, 4.0]], [0, 1]), ArrayDataset)
    assert isinstance(as_dataset([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [0, 1]), ArrayDataset)
    assert isinstance(as_dataset([(x, y), (x, y)]), IterableDataset)
    assert isinstance(as_dataset([([x, x], y)]), IterableDataset)
    assert isinstance(as_dataset(iter([(x, y)])), IterableDataset)
    assert isinstance(as_dataset(lambda: iter([(x, y)])), IterableDataset)


@pytest.mark.parametrize("x", [None, 3, 2.5, {"a": [1]}, object(), [], b"bytes"])
def test_as_dataset_rejects_values_without_data(x):
    with pytest.raises(DataError, match="expected"):
        as_dataset(x)


def test_as_dataset_suggests_image_folder_for_a_path():
    with pytest.raises(DataError, match="ImageFolder"):
        as_dataset("photos/train")


def test_as_dataset_rejects_labels_with_a_source_that_contains_its_own():
    with pytest.raises(
        DataError, match="y: expected None with data of type generator, received ndarray"
    ):
        as_dataset((BATCH for _ in range(2)), y=np.zeros(4))
    with pytest.raises(
        DataError, match="sample_weight: expected None with data of type ArrayDataset"
    ):
        as_dataset(ArrayDataset(np.zeros(3)), sample_weight=np.ones(3))


def test_a_subclass_of_dataset_needs_only_batches():
    class Own(Dataset):
        def batches(self, epoch=0):
            yield BATCH

    assert len(list(Own())) == 1
    with pytest.raises(TypeError, match="Own"):
        len(Own())


# split_arrays


def test_validation_split_takes_the_last_samples():
    x, y = np.arange(10.0), np.arange(10)
    (x1, y1, w1), (x2, y2, w2) = split_arrays(x, y, None, 0.25)
    assert x1.tolist() == y1.tolist() == list(range(7))
    assert x2.tolist() == y2.tolist() == [7, 8, 9]
    assert w1 is w2 is None
    (parts, _, _), _ = split_arrays([x, x], None, None, 0.5)
    assert [len(part) for part in parts] == [5, 5]


def test_a_split_without_training_or_validation_samples_raises_value_error():
    for fraction in (0, 1, -0.5, 1.5):
        with pytest.raises(ValueError, match="validation_split"):
            split_arrays(np.zeros(10), None, None, fraction)
    with pytest.raises(DataError, match="1 samples"):
        split_arrays(np.zeros(1), None, None, 0.5)
    with pytest.raises(DataError, match="y has 3"):
        split_arrays(np.zeros(4), np.zeros(3), None, 0.5)


# prefetch


def test_prefetch_keeps_the_order_and_prepares_at_most_depth_items():
    made = []

    def source():
        for i in range(10):
            made.append(i)
            yield i

    items = prefetch(source(), depth=2)
    assert next(items) == 0
    assert wait_until(lambda: len(made) == 3)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert list(items) == list(range(1, 10))
    assert wait_until(lambda: not prefetch_threads())


def test_prefetch_raises_the_exception_of_the_source_after_its_items():
    def source():
        yield 1
        raise DataError("photo.jpg: broken")

    items = prefetch(source())
    assert next(items) == 1
    with pytest.raises(DataError, match=r"photo\.jpg"):
        next(items)
    assert wait_until(lambda: not prefetch_threads())
    with pytest.raises(TypeError):
        list(prefetch(3))


@pytest.mark.parametrize("end", ["break", "close", "drop", "KeyboardInterrupt"])
def test_prefetch_ends_its_thread_and_its_source_when_the_consumer_stops(end):
    closed_in = []

    def source():
        try:
            yield from itertools.count()
        finally:
            closed_in.append(threading.current_thread().name)

    items = prefetch(source(), depth=2)
    assert next(items) == 0
    if end == "break":
        for _ in items:
            break
        items.close()
    elif end == "close":
        items.close()
    elif end == "drop":
        del items
        gc.collect()
    else:
        with pytest.raises(KeyboardInterrupt):
            items.throw(KeyboardInterrupt)
    assert wait_until(lambda: not prefetch_threads())
    assert closed_in == ["minidl-prefetch"]


def test_ctrl_c_while_waiting_for_a_slow_source_ends_the_thread():
    def source():
        yield 0
        time.sleep(0.05)  # until the main thread waits for item 1
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # as Ctrl-C does
        time.sleep(0.1)
        yield 1

    with pytest.raises(KeyboardInterrupt):
        list(prefetch(source()))
    assert wait_until(lambda: not prefetch_threads())


def test_prefetch_starts_its_thread_at_the_first_item():
    items = prefetch(itertools.count())
    assert not prefetch_threads()
    items.close()
