"""Datasets: batches from arrays or any Python iterable, prepared ahead of time.

A :class:`Dataset` yields the batches of one epoch at a time. The order of an epoch depends only on
the seed and the number of the epoch, so a resumed run repeats an uninterrupted one.

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
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from typing import Any, TypeVar

import numpy as np

from minidl.common.argument_checks import check_fraction, check_integer
from minidl.common.errors import DataError
from minidl.data.array_checks import (
    Batch,
    as_batch,
    as_floats,
    as_parts,
    describe_value,
    holds_batches,
    resolve_seed,
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

T = TypeVar("T")

_END = object()


class Dataset:
    """Base class: a source of batches ``(x, y)`` or ``(x, y, sample_weight)``.

    A subclass defines ``batches`` and, if the number of batches is known, ``__len__``. If its
    samples have a fixed order, it also defines ``in_order`` and ``fingerprint``, so that the
    features of a frozen base can be cached. `x` and `y` are arrays, or lists of arrays for
    models with several inputs or outputs; `y` is None if there are no labels.

    Examples
    --------
    >>> class Ones(Dataset):
    ...     def batches(self, epoch=0):
    ...         yield np.ones((4, 2)), np.ones(4)
    >>> [x.shape for x, y in Ones()]
    [(4, 2)]
    """

    batch_size, shuffle, seed = 32, False, 0  # how cached features of the samples are batched
    _next_epoch = 0  # of __iter__

    def batches(self, epoch: int = 0) -> Iterator[Batch]:
        """Return an iterator over the batches of one epoch."""
        raise NotImplementedError(f"{type(self).__name__}.batches")

    def in_order(self) -> Dataset | None:
        """Return the same samples in a constant order, or None if there is none."""
        return None

    def fingerprint(self) -> str | None:
        """Return a hash of the samples and labels, or None if it is not known."""
        return None

    def __len__(self) -> int:
        """Return the number of batches of an epoch; raise TypeError if it is not known."""
        raise TypeError(f"{type(self).__name__}: the number of batches is not known")

    def __iter__(self) -> Iterator[Batch]:
        """Return an iterator over one epoch; each further call gives the next epoch."""
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        return iter(self.batches(epoch))


class ArrayDataset(Dataset):
    """Batches of arrays in memory.

    Parameters
    ----------
    x : array-like, or list of arrays, shape (N, ...)
        The samples, along the first axis; a list or tuple of arrays for several inputs.
        Integers and float16 are converted to float32.
    y : array-like, or list of arrays, shape (N, ...), optional
        The labels.
    sample_weight : array-like, shape (N,), optional
        Factor of each sample's loss.
    batch_size : int
        Samples per batch; the last batch may be smaller.
    shuffle : bool
        Whether each epoch has its own random order.
    seed : int, numpy.random.Generator or None
        Determines the orders. None draws a seed from minidl's global generator.

    Raises
    ------
    DataError
        If the arrays differ in length, are empty, or do not contain numbers.
    ValueError
        For a wrong `batch_size` or `seed`.

    Examples
    --------
    >>> import numpy as np
    >>> data = ArrayDataset(np.zeros((5, 2)), np.arange(5), batch_size=3, shuffle=True, seed=0)
    >>> len(data), sorted(int(label) for _, y in data.batches(epoch=7) for label in y)
    (2, [0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        parts, self.count = as_parts((x, y, sample_weight))
        self.x, self.y, self.sample_weight = parts
        self.batch_size = check_integer("ArrayDataset", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.seed = resolve_seed("ArrayDataset", seed)
        if sample_weight is not None and y is None:
            raise DataError("sample_weight: needs labels y to weigh, received y=None")

    def batches(self, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        order = epoch_order(self.count, self.seed, epoch) if self.shuffle else None
        for start in range(0, self.count, self.batch_size):
            part = slice(start, start + self.batch_size)
            rows = part if order is None else order[part]
            batch = (as_floats(take(self.x, rows)), take(self.y, rows))
            yield batch if self.sample_weight is None else (*batch, take(self.sample_weight, rows))

    def in_order(self) -> Dataset | None:
        """Return the same samples without shuffling."""
        if type(self) is not ArrayDataset:
            return super().in_order()  # a user's subclass may change the batches
        return ArrayDataset(self.x, self.y, self.sample_weight, self.batch_size)

    def fingerprint(self) -> str:
        """Return a hash of the arrays."""
        digest = hashlib.blake2b()
        for part in (self.x, self.y, self.sample_weight):
            for array in part if isinstance(part, list) else [part]:
                array = np.asarray([] if array is None else array)
                digest.update(f"{array.shape} {array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch_size)


class IterableDataset(Dataset):
    """Batches of any Python iterable: a list, a generator, a loader, a function.

    Each item is ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Parameters
    ----------
    iterable : iterable or callable
        A list, or another object that supports repeated iteration, gives one epoch per
        iteration. A function is called for each epoch and returns an iterator. A generator runs
        only once: an endless one continues where the last epoch stopped, others give one epoch.

    Raises
    ------
    DataError
        If `iterable` is not iterable; while iterating: for an exhausted generator, an epoch
        without batches, or an item of another form.

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

    def __init__(self, iterable: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        if not callable(iterable) and not isinstance(iterable, Iterable):
            kind = type(iterable).__name__
            raise DataError(f"data: expected an iterable of batches, received {kind}")
        self.iterable = iterable

    def batches(self, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        source, name = self.iterable, type(self.iterable).__name__
        if not isinstance(source, Iterable):
            source = source()
            if not isinstance(source, Iterable):
                received = describe_value(source)
                raise DataError(f"{name}: expected an iterable of batches, received {received}")
        number = 0
        for number, item in enumerate(source, start=1):
            yield as_batch(item, f"batch {number} of the {name}")
        if number == 0:
            raise DataError(
                f"{name}: expected at least one batch, received none. A generator runs only once: "
                "for several epochs pass a list, or a function that returns a new generator."
            )

    def __len__(self) -> int:
        return len(self.iterable) if isinstance(self.iterable, Sized) else super().__len__()


def as_dataset(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int | np.random.Generator | None = None,
) -> Dataset:
    """Return the data that `fit`, `evaluate` or `predict` received as a Dataset.

    Parameters
    ----------
    x : Dataset, array-like, list of arrays, iterable of batches, or callable
        A Dataset is returned unchanged. A list of ``(x, y)`` tuples is a list of batches; a
        list of arrays is several inputs.
    y, sample_weight, batch_size, shuffle, seed
        See :class:`ArrayDataset`; batch_size None means 32. `y`, `sample_weight` and
        `batch_size` are only allowed with arrays; other sources contain their own.

    Raises
    ------
    DataError
        If `x` is not a source of data, such as a path, a dict or None; for arguments that are
        only allowed with arrays.

    Examples
    --------
    >>> len(as_dataset([[1.0], [2.0], [3.0]], [0, 1, 0], batch_size=2))
    2
    """
    if x is None or isinstance(x, (str, bytes, os.PathLike, dict, int, float)):
        hint = ". For a folder of images use minidl.data.ImageFolder."
        raise DataError(
            "x: expected arrays, a Dataset or an iterable of batches, received "
            f"{describe_value(x)}{hint if isinstance(x, (str, os.PathLike)) else ''}"
        )
    if not isinstance(x, Dataset) and not holds_batches(x):
        size = 32 if batch_size is None else batch_size
        return ArrayDataset(x, y, sample_weight, batch_size=size, shuffle=shuffle, seed=seed)
    for name, value in (("y", y), ("sample_weight", sample_weight), ("batch_size", batch_size)):
        if value is not None:
            kind = type(x).__name__
            received = describe_value(value)
            raise DataError(f"{name}: expected None with data of type {kind}, received {received}")
    return x if isinstance(x, Dataset) else IterableDataset(x)


def split_arrays(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[Batch, Batch]:
    """Split off the last `fraction` of the samples for validation, as Keras does.

    Parameters
    ----------
    x, y, sample_weight
        See :class:`ArrayDataset`.
    fraction : float
        The share of the validation samples, between 0 and 1.

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
    parts, count = as_parts((x, y, sample_weight))
    first = math.floor(count * (1 - fraction))  # of the validation samples
    if not 0 < first < count:
        raise DataError(
            f"validation_split: {fraction} of {count} samples leaves no samples for training or "
            "none for validation"
        )
    train = tuple(take(part, slice(first)) for part in parts)
    return train, tuple(take(part, slice(first, None)) for part in parts)


def prefetch(iterable: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield the items of `iterable`, prepared up to `depth` ahead by a background thread.

    An exception of the iterable is raised after the items before it. If the consumer stops early
    (``break``, ``close()``, Ctrl-C), the thread ends after its current item.

    Parameters
    ----------
    iterable : iterable
        The source. It runs in the background thread.
    depth : int
        Number of items to prepare ahead.

    Examples
    --------
    >>> list(prefetch(range(3)))
    [0, 1, 2]
    """
    free = threading.Semaphore(max(1, depth))
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    stopped = threading.Event()

    def run_ahead() -> None:
        """Fill the queue `ready`, one item per permit of `free`, until `stopped`."""
        iterator: Any = None
        try:
            iterator = iter(iterable)
            item = None
            while item is not _END:
                free.acquire()
                if stopped.is_set():
                    return
                item = next(iterator, _END)
                ready.put((item, None))
        except BaseException as error:
            ready.put((_END, error))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()  # in this thread, where the cleanup of a generator belongs

    thread = threading.Thread(target=run_ahead, name="minidl-prefetch", daemon=True)
    try:
        thread.start()  # within the try, because Ctrl-C may come before start() returns
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
        # The garbage collector may close this generator in any thread, even in that one. The
        # consumer does not wait forever for a source that hangs: the thread is a daemon.
        if thread.is_alive() and thread is not threading.current_thread():
            thread.join(timeout=10)


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the random order of `count` samples, a function of `seed` and `epoch`."""
    return np.random.default_rng([seed, epoch]).permutation(count)
