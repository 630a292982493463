"""Batches of images from folders, one folder per class.

>>> import pathlib, tempfile
>>> from PIL import Image
>>> from minidl.data import ImageFolder
>>> with tempfile.TemporaryDirectory() as root:
...     for kind, color in (("cats", "orange"), ("dogs", "brown")):
...         folder = pathlib.Path(root, kind)
...         folder.mkdir()
...         for i in range(3):
...             Image.new("RGB", (20, 10), color).save(folder / f"{i}.png")
...     data = ImageFolder(root, image_size=(8, 8), batch_size=4, shuffle=False)
...     data.class_names, [(x.shape, y.tolist()) for x, y in data.batches(epoch=0)]
(['cats', 'dogs'], [((4, 8, 8, 3), [0, 0, 0, 1]), ((2, 8, 8, 3), [1, 1])])
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from minidl.common.argument_checks import check_choice, check_fraction, check_integer, check_pair
from minidl.common.errors import DataError
from minidl.data.array_checks import Batch, resolve_seed
from minidl.data.images import COLOR_CHANNELS, load_image
from minidl.data.listing import LAYOUT_HINT, find_classes, find_images
from minidl.data.pipeline import Dataset, epoch_order, prefetch
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["ImageFolder"]

CACHE_LIMIT = 2**30  # bytes of decoded images that cache="auto" keeps in memory
LABEL_MODES = ("int", "binary", "categorical", None)

LabeledFiles = list[tuple[str, int]]


class ImageFolder(Dataset):
    """Images of a folder as batches of float32, shape (N, H, W, C), values 0-255.

    Each subfolder of `directory` is a class; its images may be in deeper subfolders. Hidden files
    (with a leading dot) are ignored, and so are files without one of the
    ``minidl.data.IMAGE_EXTENSIONS``. Without class folders, the part of a file's name before the
    first dot is its class, as in ``cat.123.jpg``.

    Several threads decode images in the background while the previous batch is used. An
    unreadable file is skipped and not tried again. A warning at the end of the first epoch names
    such files.

    Parameters
    ----------
    directory : str or path
        The folder.
    image_size : int or (height, width)
        Size in pixels to which all images are resized (see :func:`minidl.data.load_image`).
    batch_size : int
        Images per batch. The last batch, and batches with unreadable files, may be smaller.
    shuffle : bool
        Whether each epoch has its own random order, determined by (seed, epoch).
    seed : int, numpy.random.Generator or None
        Determines the orders and the split. Two objects share a split if both have the same seed.
        None draws a seed for the orders, and splits with seed 0. With `validation_split`, a
        Generator is not allowed.
    validation_split : float, optional
        Fraction of each class in the validation part, between 0 and 1.
    subset : {"training", "validation"}, optional
        The part to read; required with `validation_split`.
    color_mode : {"rgb", "grayscale"}
        Three channels or one.
    label_mode : {"int", "binary", "categorical", None}
        Labels as int64 (N,); as float32 (N, 1) of 0 and 1; one-hot as float32 (N, K); or no
        labels: batches are ``(x, None)`` of all images in the folder and its subfolders.
    class_names : sequence of str, optional
        The class folders in the order of their labels; by default in alphabetical order.
    cache : {"auto", True, False}
        Whether decoded images stay in memory (uint8), so that only the first epoch decodes.
        "auto" caches if all images fit in 1 GiB.

    Attributes
    ----------
    class_names : list of str
        Label k stands for ``class_names[k]``.
    seed : int
        Seed of the orders of the epochs.

    Raises
    ------
    DataError
        If the folder is missing, contains no images, an empty class, or fewer than two classes;
        while reading: if no file is readable.
    ValueError
        For a wrong argument.

    Examples
    --------
    Two parts of one folder::

        train = ImageFolder("photos", validation_split=0.2, subset="training", seed=0)
        validation = ImageFolder("photos", validation_split=0.2, subset="validation", seed=0)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        image_size: int | tuple[int, int] = (256, 256),
        batch_size: int = 32,
        *,
        shuffle: bool = True,
        seed: int | np.random.Generator | None = None,
        validation_split: float | None = None,
        subset: str | None = None,
        color_mode: str = "rgb",
        label_mode: str | None = "int",
        class_names: Sequence[str] | None = None,
        cache: bool | str = "auto",
    ) -> None:
        check_choice("ImageFolder", "color_mode", color_mode, COLOR_CHANNELS)
        check_choice("ImageFolder", "label_mode", label_mode, LABEL_MODES)
        check_choice("ImageFolder", "cache", cache, ("auto", True, False))
        height, width = check_pair("ImageFolder", "image_size", image_size)
        self.directory = os.fspath(directory)
        self.image_shape = (height, width, COLOR_CHANNELS[color_mode])
        self.batch_size = check_integer("ImageFolder", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.color_mode, self.label_mode = color_mode, label_mode
        self.seed = resolve_seed("ImageFolder", seed)
        self.class_names, pairs = _find_labeled_files(self.directory, class_names, label_mode)
        pairs = _split(pairs, validation_split, subset, seed)
        self._files = [file for file, _ in pairs]
        self._labels = np.array([label for _, label in pairs], np.int64)
        self._unreadable: dict[int, str] = {}  # position in _files -> reason
        self._warned = False
        size_in_memory = len(pairs) * math.prod(self.image_shape)
        keep = cache is True or (cache == "auto" and size_in_memory <= CACHE_LIMIT)
        self._memory: list[np.ndarray | None] | None = [None] * len(pairs) if keep else None

    @property
    def files(self) -> list[str]:
        """The files in the order of `labels`, without those known to be unreadable.

        After a pass without shuffling, row i of a prediction belongs to ``files[i]``.
        """
        return [file for i, file in enumerate(self._files) if i not in self._unreadable]

    @property
    def labels(self) -> np.ndarray | None:
        """The labels 0..K-1 of `files`, as int64; None for ``label_mode=None``."""
        if self.label_mode is None:
            return None
        return np.delete(self._labels, list(self._unreadable))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """The files known to be unreadable, each with the reason."""
        return [(self._files[i], reason) for i, reason in sorted(self._unreadable.items())]

    def __len__(self) -> int:
        return math.ceil(len(self._files) / self.batch_size)

    def __repr__(self) -> str:
        return f"<ImageFolder {self.directory}: {len(self._files)} files of {self.class_names}>"

    def batches(self, epoch: int = 0) -> Iterator[Batch]:
        """Yield ``(x, y)`` for one epoch, prepared in the background."""
        count = len(self._files)
        order = epoch_order(count, self.seed, epoch) if self.shuffle else np.arange(count)
        with contextlib.closing(prefetch(self._read_batches(order))) as ready:
            for images, rows in ready:
                yield images, self._encode(self._labels[rows])
        self._warn_of_skipped()

    def in_order(self) -> Dataset | None:
        """Return the same images in the order of ``files``; decoded images are shared."""
        if type(self) is not ImageFolder:
            return super().in_order()  # a user's subclass may change the batches
        ordered = copy.copy(self)
        ordered.shuffle = False
        return ordered

    def fingerprint(self) -> str:
        """Return a hash of the files' names, sizes, times and labels, and of the settings."""
        digest = hashlib.blake2b()
        settings = self.image_shape, self.color_mode, self.label_mode, self.class_names
        digest.update(repr(settings).encode())
        for file, label in zip(self._files, self._labels, strict=True):
            with contextlib.suppress(OSError):  # only the name of a deleted file counts
                status = os.stat(file)
                digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
            digest.update(f"{os.path.abspath(file)} {label}\n".encode())
        return digest.hexdigest()

    def load_arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all images as one array, which is practical for small datasets.

        Returns
        -------
        x : numpy.ndarray of uint8, shape (N, H, W, C)
        y : numpy.ndarray of int64, shape (N,), or None
            As in `labels`.
        """
        parts = list(self._read_batches(np.arange(len(self._files)), np.uint8))
        self._warn_of_skipped()
        return np.concatenate([images for images, _ in parts]), self.labels

    def _read_batches(
        self, order: np.ndarray, dtype: npt.DTypeLike = np.float32
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (images, their positions in _files), read by several threads."""
        with ThreadPoolExecutor(get_num_threads(), "minidl-decode") as pool:
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                images = list(pool.map(self._read, rows))
                readable = [image for image in images if image is not None]
                if readable:
                    kept = np.array([image is not None for image in images])
                    yield np.stack(readable, dtype=dtype), rows[kept]

    def _read(self, i: int) -> np.ndarray | None:
        """Return image i, from memory if it is cached, or None if it is unreadable."""
        if i in self._unreadable:
            return None
        image = None if self._memory is None else self._memory[i]
        if image is None:
            file = self._files[i]
            try:
                image = load_image(file, self.image_shape[:2], self.color_mode)
            except DataError as error:
                self._unreadable[int(i)] = str(error).removeprefix(f"{file}: ")
            if self._memory is not None:
                self._memory[i] = image
        return image

    def _encode(self, labels: np.ndarray) -> np.ndarray | None:
        if self.label_mode is None:
            return None
        if self.label_mode == "binary":
            return labels[:, None].astype(np.float32)
        if self.label_mode == "categorical":
            return np.eye(len(self.class_names), dtype=np.float32)[labels]
        return labels

    def _warn_of_skipped(self) -> None:
        """Warn once, after a complete pass, of skipped files; raise DataError if all were."""
        skipped, total = self.skipped, len(self._files)
        reasons = [f"{file}: {reason}" for file, reason in skipped[:5]]
        if len(skipped) == total:
            raise DataError(
                f"{self.directory}: none of the {total} files can be read; {reasons[0]}"
            )
        if skipped and not self._warned:
            self._warned = True
            if len(skipped) > 5:
                reasons.append(f"and {len(skipped) - 5} more (see .skipped)")
            warnings.warn(
                f"{len(skipped)} of {total} files could not be read and were skipped: "
                + "; ".join(reasons),
                stacklevel=3,
            )


def _find_labeled_files(
    directory: str, class_names: Sequence[str] | None, label_mode: str | None
) -> tuple[list[str], LabeledFiles]:
    """Return the class names in the order of their labels, and (file, label) pairs."""
    if label_mode is None:
        if class_names is not None:
            raise ValueError(
                "ImageFolder: expected class_names to be None with label_mode=None, received "
                f"{class_names!r}"
            )
        return [], [(file, 0) for file in find_images(directory)]
    found = find_classes(directory)
    names = list(found) if class_names is None else list(class_names)
    if sorted(names) != sorted(found):
        raise DataError(f"{directory}: expected the classes {names}, found {list(found)}")
    if len(names) < 2:
        raise DataError(
            f"{directory}: expected two classes or more, found only {names[0]!r}; {LAYOUT_HINT} "
            "(or use label_mode=None for images without labels)"
        )
    if label_mode == "binary" and len(names) > 2:
        raise DataError(f"{directory}: label_mode 'binary' needs two classes, found {len(names)}")
    return names, [(file, k) for k, name in enumerate(names) for file in found[name]]


def _split(
    pairs: LabeledFiles,
    fraction: float | None,
    subset: str | None,
    seed: int | np.random.Generator | None,
) -> LabeledFiles:
    """Return the part `subset` of the (file, label) pairs: a fraction of each class."""
    if fraction is None and subset is None:
        return pairs
    if fraction is None or subset is None:
        raise ValueError(
            "ImageFolder: expected validation_split and subset together, received "
            f"validation_split={fraction!r}, subset={subset!r}"
        )
    check_fraction("ImageFolder", "validation_split", fraction, exclusive="both")
    check_choice("ImageFolder", "subset", subset, ("training", "validation"))
    if isinstance(seed, np.random.Generator):
        raise ValueError(
            "ImageFolder: expected seed to be an integer or None with validation_split, received "
            "a Generator. The training and the validation part must agree."
        )
    labels = np.array([label for _, label in pairs])
    validation = np.zeros(len(pairs), bool)
    for k in np.unique(labels):
        rng = np.random.default_rng([seed or 0, k])
        members = rng.permutation(np.flatnonzero(labels == k))
        # Of two images or more, each part receives at least one.
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        validation[members[:count]] = True
    if not validation.any():
        raise DataError(f"ImageFolder: too few images for validation_split={fraction}")
    return [pairs[i] for i in np.flatnonzero(validation == (subset == "validation"))]
