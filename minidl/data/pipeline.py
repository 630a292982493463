"""Batches for training: from arrays, from any Python iterable, and prepared ahead of time.

A :class:`Dataset` hands out one epoch of batches at a time. The order of epoch e depends
on the seed and on e only, so a resumed run sees what an uninterrupted one would have seen.

>>> import numpy as np
>>> from minidl.data import ArrayDataset
>>> data = ArrayDataset(np.arange(6.0).reshape(3, 2), [0, 1, 0], batch_size=2)
>>> [(x.shape, y.tolist()) for x, y in data.batches(epoch=0)]
[((2, 2), [0, 1]), ((1, 2), [0])]
"""

from __future__ import annotations

import hashlib
import math
import os
import queue
import threading
from collections.abc import Iterable, Iterator

import numpy as np

from minidl.common.argument_checks import check_fraction, check_integer
from minidl.common.errors import DataError
from minidl.data.array_checks import (
    as_arrays,
    as_batch,
    as_floats,
    common_length,
    fixed_seed,
    holds_batches,
    shown,
    take,
)

__all__ = [
    "ArrayDataset",
    "Dataset",
    "IterableDataset",
    "as_dataset",
    "epoch_order",
    "prefetch",
    "split_arrays",
]

_END = object()


class Dataset:
    """Base class: a source of batches ``(x, y)`` or ``(x, y, sample_weight)``.

    A data set of one's own writes ``batches`` and, where the number of batches is known,
    ``__len__``; where its samples have a fixed order, also ``in_order`` and ``fingerprint``, so
    that features of a frozen base can be kept. `x` and `y` are arrays, or lists of arrays for
    models with several inputs or outputs; `y` is None where there are no labels.
    """

    batch_size, shuffle, seed = 32, False, 0  # how features of its samples are handed out

    def batches(self, epoch: int = 0) -> Iterator[tuple]:
        """Return an iterator over the batches of one epoch."""
        raise NotImplementedError(f"{type(self).__name__}.batches")

    def in_order(self) -> Dataset | None:
        """Return the same samples in an order that never changes, or None if there is none."""
        return None

    def fingerprint(self) -> str | None:
        """Return a text that differs where the samples or labels differ; None: not known."""
        return None

    def __len__(self) -> int:
        """Return the number of batches of an epoch; TypeError where it is not known."""
        raise TypeError(f"{type(self).__name__}: the number of batches is not known")

    def __iter__(self) -> Iterator[tuple]:
        """Return an iterator over one epoch; each further call gives the next epoch."""
        epoch = self.__dict__.get("_next_epoch", 0)
        self._next_epoch = epoch + 1
        return iter(self.batches(epoch))


class ArrayDataset(Dataset):
    """Batches cut from arrays in memory.

    Parameters
    ----------
    x : array-like, or list of arrays
        The samples, along the first axis; a list or tuple of arrays for several inputs.
        Integers reach the model as float32, floats as they are.
    y : array-like, or list of arrays, optional
        The labels.
    sample_weight : array-like of shape (n,), optional
        How much each sample counts.
    batch_size : int
        The last batch may be smaller.
    shuffle : bool
        Whether each epoch has its own random order.
    seed : int, numpy.random.Generator or None
        Decides the orders. None draws one from minidl's global generator.

    Raises
    ------
    DataError
        If the arrays differ in length, are empty, or hold no numbers.

    Examples
    --------
    >>> import numpy as np
    >>> data = ArrayDataset(np.zeros((5, 2)), np.arange(5), batch_size=3, shuffle=True, seed=0)
    >>> len(data), sorted(int(label) for _, y in data.batches(epoch=7) for label in y)
    (2, [0, 1, 2, 3, 4])
    """

    def __init__(self, x, y=None, sample_weight=None, batch_size=32, shuffle=False, seed=None):
        self.x = as_arrays(x, "x")
        self.y = None if y is None else as_arrays(y, "y")
        self.sample_weight = None
        if sample_weight is not None:
            self.sample_weight = as_arrays(sample_weight, "sample_weight")
        self.batch_size = check_integer("Dataset", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.seed = fixed_seed(seed)
        if sample_weight is not None and y is None:
            raise DataError("sample_weight: needs labels y to weigh, received y=None")
        self.count = common_length(self.x, self.y, self.sample_weight)
        if self.count == 0:
            raise DataError("x: expected at least one sample, received none")

    def batches(self, epoch: int = 0) -> Iterator[tuple]:
        order = epoch_order(self.count, self.seed, epoch) if self.shuffle else None
        for start in range(0, self.count, self.batch_size):
            rows = slice(start, start + self.batch_size)
            rows = rows if order is None else order[rows]
            batch = (as_floats(take(self.x, rows)), take(self.y, rows))
            yield batch if self.sample_weight is None else (*batch, take(self.sample_weight, rows))

    def in_order(self) -> Dataset | None:
        if type(self) is not ArrayDataset:
            return super().in_order()  # a class of the user's own may change what comes out
        return ArrayDataset(self.x, self.y, self.sample_weight, self.batch_size)

    def fingerprint(self) -> str:
        digest = hashlib.blake2b()
        for part in (self.x, self.y, self.sample_weight):
            for array in part if isinstance(part, (list, tuple)) else [part]:
                array = np.asarray([] if array is None else array)
                digest.update(f"{array.shape} {array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1))
        return digest.hexdigest()

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch_size)


class IterableDataset(Dataset):
    """Batches from any Python iterable: a list, a generator, a loader, a function.

    Each item is ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Parameters
    ----------
    iterable : iterable or callable
        A list or another object that can be iterated again gives an epoch each time. A
        function is called for each epoch and returns an iterator. A generator can run only
        once: endless ones go on where the last epoch stopped, others give a single epoch.

    Raises
    ------
    DataError
        If it is not iterable; and while iterating: for an exhausted generator, an epoch
        without batches, or a batch that is none.

    Examples
    --------
    >>> import numpy as np
    >>> def generate():
    ...     for _ in range(2):
    ...         yield np.zeros((4, 3)), np.ones(4)
    >>> data = IterableDataset(generate)
    >>> [x.shape for epoch in range(2) for x, y in data.batches(epoch)]
    [(4, 3), (4, 3), (4, 3), (4, 3)]
    """

    def __init__(self, iterable: Iterable):
        if not callable(iterable) and not isinstance(iterable, Iterable):
            kind = type(iterable).__name__
            raise DataError(f"data: expected an iterable of batches, received {kind}")
        self.iterable = iterable
        self._received = 0

    def batches(self, epoch: int = 0) -> Iterator[tuple]:
        source, name = self.iterable, type(self.iterable).__name__
        if not isinstance(source, Iterable):
            source = source()
            if not isinstance(source, Iterable):
                raise DataError(f"the {name} returned {shown(source)}, expected batches")
        number = 0
        for number, item in enumerate(source, start=1):
            self._received += 1
            yield as_batch(item, f"batch {number} of the {name}")
        if number == 0 and self._received and source is self.iterable:
            raise DataError(
                f"the {name} is exhausted after {self._received} batches; for "
                "several epochs pass a list, or a function that returns a new generator"
            )
        if number == 0:
            raise DataError(f"the {name} gave no batches")

    def __len__(self) -> int:
        if not hasattr(self.iterable, "__len__"):
            return super().__len__()
        return len(self.iterable)


def as_dataset(
    x,
    y=None,
    sample_weight=None,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int | np.random.Generator | None = None,
) -> Dataset:
    """Return a Dataset for whatever `fit`, `evaluate` and `predict` are given.

    Parameters
    ----------
    x : Dataset, array-like, list of arrays, iterable of batches, or callable
        A Dataset is returned as it is. A list of ``(x, y)`` tuples is a list of batches, a
        list of arrays several inputs.
    y, sample_weight, batch_size, shuffle, seed
        See :class:`ArrayDataset`; batch_size None means 32. Only arrays can have `y`,
        `sample_weight` and `batch_size`; other sources bring theirs, in their own order.

    Raises
    ------
    DataError
        For what cannot be a source of data, such as a path, a dict or None, and for
        arguments that only arrays can have.

    Examples
    --------
    >>> len(as_dataset([[1.0], [2.0], [3.0]], [0, 1, 0], batch_size=2))
    2
    """
    if x is None or isinstance(x, (str, bytes, os.PathLike, dict, int, float)):
        hint = "; for a folder of images use minidl.data.ImageFolder"
        hint = hint if isinstance(x, (str, os.PathLike)) else ""
        raise DataError(
            f"x: expected arrays, a Dataset or an iterable of batches, received {shown(x)}{hint}"
        )
    if not isinstance(x, Dataset) and not holds_batches(x):
        size = 32 if batch_size is None else batch_size
        return ArrayDataset(x, y, sample_weight, batch_size=size, shuffle=shuffle, seed=seed)
    only_arrays = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    for name, value in only_arrays.items():
        if value is not None:
            raise DataError(f"{name}: a {type(x).__name__} brings its own, expected None")
    return x if isinstance(x, Dataset) else IterableDataset(x)


def split_arrays(x, y, sample_weight, fraction: float) -> tuple[tuple, tuple]:
    """Cut off the last `fraction` of the samples for validation, as Keras does.

    Returns
    -------
    train, validation : tuple
        ``(x, y, sample_weight)`` each, as views; None stays None.

    Raises
    ------
    ValueError
        If `fraction` is not between 0 and 1.
    DataError
        If the arrays differ in length, or one of the parts would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> train, validation = split_arrays(np.arange(10), None, None, 0.2)
    >>> train[0].size, validation[0].tolist()
    (8, [8, 9])
    """
    check_fraction("fit", "validation_split", fraction, exclusive="both")
    parts = [
        None if value is None else as_arrays(value, name)
        for name, value in (("x", x), ("y", y), ("sample_weight", sample_weight))
    ]
    count = common_length(*parts)
    cut = math.floor(count * (1 - fraction))
    if not 0 < cut < count:
        raise DataError(
            f"validation_split: {fraction} of {count} samples leaves nothing to train on or "
            "to validate with"
        )
    train, validation = (
        tuple(take(part, rows) for part in parts) for rows in (slice(cut), slice(cut, None))
    )
    return train, validation


def prefetch(iterable: Iterable, depth: int = 2) -> Iterator:
    """Yield the items of `iterable`, made up to `depth` ahead by a background thread.

    An exception of the iterable is raised here in its turn. When the consumer stops early
    (``break``, ``close()``, Ctrl-C), the thread ends after the item it is working on.

    Examples
    --------
    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    free = threading.Semaphore(max(1, depth))
    ready: queue.SimpleQueue = queue.SimpleQueue()
    stopped = threading.Event()
    thread = threading.Thread(
        target=_run_ahead,
        args=(iterable, free, ready, stopped),
        name="minidl-prefetch",
        daemon=True,
    )
    try:
        thread.start()  # within the try: Ctrl-C may come before start() returns
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            free.release()
            yield item
    finally:
        stopped.set()
        free.release()
        # The garbage collector may close this generator in any thread, even in that one. A
        # source that hangs must not hold up the consumer for ever: the thread is a daemon.
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout=10)


def _run_ahead(iterable, free, ready, stopped) -> None:
    """Fill the queue `ready`, one item for each permit of `free`, until `stopped`."""
    iterator = None
    try:
        iterator = iter(iterable)
        while True:
            free.acquire()
            if stopped.is_set():
                return
            item = next(iterator, _END)
            ready.put((item, None))
            if item is _END:
                return
    except BaseException as error:
        ready.put((_END, error))
    finally:
        if hasattr(iterator, "close"):
            iterator.close()  # in this thread, where a generator's own clean-up belongs


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the random order of `count` samples in an epoch: a function of (seed, epoch)."""
    return np.random.default_rng([seed, epoch]).permutation(count)
