"""Photos in folders, one folder per class, as batches.

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

from minidl.common.argument_checks import check_choice, check_fraction, check_integer
from minidl.common.errors import DataError
from minidl.data.array_checks import fixed_seed
from minidl.data.images import COLOR_CHANNELS, as_image_size, load_image
from minidl.data.listing import LAYOUT_HINT, find_classes, find_images
from minidl.data.pipeline import Dataset, epoch_order, prefetch
from minidl.kernels.runtime.thread_pool import get_num_threads

__all__ = ["ImageFolder"]

CACHE_LIMIT = 2**30  # bytes of decoded images that cache="auto" keeps in memory


class ImageFolder(Dataset):
    """Images of a folder as batches of float32, shape (N, H, W, C), values 0-255.

    Each folder within `directory` is a class; its images may lie in subfolders. Files whose
    names start with a dot are ignored, and so are other extensions than
    ``minidl.data.IMAGE_EXTENSIONS``. Without class folders, the names of files such as
    ``cat.123.jpg`` give the class up to the first dot.

    Images are decoded by a few threads in the background, while the last batch is being
    used. A file that cannot be read is skipped and tried no more; a warning at the end of
    the first epoch names such files.

    Parameters
    ----------
    directory : str or path
        The folder.
    image_size : int or (height, width)
        All images are resized to it (see :func:`minidl.data.load_image`).
    batch_size : int
        The last batch may be smaller, and so may one with an unreadable file.
    shuffle : bool
        Whether each epoch has its own random order, given by (seed, epoch).
    seed : int, numpy.random.Generator or None
        For the orders and for the split. The training and the validation part are two
        objects that must agree on the split, so give both the same seed. None draws one for
        the orders and splits by 0; a Generator is refused beside `validation_split`.
    validation_split : float, optional
        The share of each class that belongs to the validation part.
    subset : {"training", "validation"}, optional
        Which part this is; goes with `validation_split`.
    color_mode : {"rgb", "grayscale"}
        Three channels or one.
    label_mode : {"int", "binary", "categorical", None}
        Labels as int64 (N,); as float32 (N, 1) of 0 and 1; one-hot as float32 (N, K); or
        none: batches are ``(x, None)`` of all images in the folder and below it.
    class_names : sequence of str, optional
        The class folders in the order of their labels; sorted by default.
    cache : {"auto", True, False}
        Whether decoded images stay in memory (uint8), so that only the first epoch decodes;
        "auto": if all of them fit in 1 GiB.

    Attributes
    ----------
    class_names : list of str
        Label k belongs to ``class_names[k]``.
    seed : int
        What the orders of the epochs derive from.

    Raises
    ------
    DataError
        If the folder is missing, has no images, an empty class, or fewer than two classes;
        while reading: if none of the files can be read.
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
        directory: str | os.PathLike,
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
    ):
        check_choice("ImageFolder", "color_mode", color_mode, (*COLOR_CHANNELS,))
        check_choice(
            "ImageFolder", "label_mode", label_mode, ("int", "binary", "categorical", None)
        )
        check_choice("ImageFolder", "cache", cache, ("auto", True, False))
        _check_split(validation_split, subset, seed)
        size = as_image_size(image_size)
        if size is None:
            raise ValueError("image_size: images of different sizes make no batch, received None")
        self.directory = os.fspath(directory)
        self.image_shape = (*size, COLOR_CHANNELS[color_mode])
        self.batch_size = check_integer("ImageFolder", "batch_size", batch_size, 1)
        self.shuffle = bool(shuffle)
        self.color_mode, self.label_mode = color_mode, label_mode
        self.seed = fixed_seed(seed)
        self.class_names, pairs = _find_labelled(self.directory, class_names, label_mode)
        if validation_split is not None:
            split_seed = 0 if seed is None else self.seed
            pairs = _split(pairs, validation_split, subset, split_seed, self.directory)
        self._files = [file for file, _ in pairs]
        self._labels = np.array([k for _, k in pairs], np.int64)
        self._unreadable: dict[int, str] = {}  # position in _files -> reason
        self._reported = False
        size_in_memory = len(pairs) * math.prod(self.image_shape)
        keep = cache is True or (cache == "auto" and size_in_memory <= CACHE_LIMIT)
        self._memory: list[np.ndarray | None] | None = [None] * len(pairs) if keep else None

    @property
    def files(self) -> list[str]:
        """The files, in the order of `labels`; without those found unreadable so far.

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
        """The files found unreadable so far, each with the reason."""
        return [(self._files[i], reason) for i, reason in sorted(self._unreadable.items())]

    def __len__(self) -> int:
        return math.ceil(len(self._files) / self.batch_size)

    def __repr__(self) -> str:
        return f"<ImageFolder {self.directory}: {len(self._files)} files of {self.class_names}>"

    def batches(self, epoch: int = 0) -> Iterator[tuple]:
        """Yield ``(x, y)`` for one epoch, prepared ahead in the background."""
        count = len(self._files)
        order = epoch_order(count, self.seed, epoch) if self.shuffle else np.arange(count)
        with contextlib.closing(prefetch(self._read_batches(order))) as ready:
            for images, rows in ready:
                yield images, self._encode(self._labels[rows])
        self._report()

    def in_order(self) -> Dataset | None:
        """Return the same photos in the order of ``files``; what is decoded stays shared."""
        if type(self) is not ImageFolder:
            return super().in_order()  # a class of the user's own may change what comes out
        ordered = copy.copy(self)
        ordered.shuffle = False
        return ordered

    def fingerprint(self) -> str:
        """Return a text that differs where files, their sizes or times, or settings differ."""
        digest = hashlib.blake2b()
        settings = self.image_shape, self.color_mode, self.label_mode, self.class_names
        digest.update(repr(settings).encode())
        for file, label in zip(self._files, self._labels, strict=True):
            with contextlib.suppress(OSError):  # a file that has gone counts by its name
                status = os.stat(file)
                digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
            digest.update(f"{os.path.abspath(file)} {label}\n".encode())
        return digest.hexdigest()

    def load_arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return all images, uint8 (N, H, W, C), and labels as in `labels`, for small sets.

        With ``label_mode=None`` the labels are None.
        """
        parts = list(self._read_batches(np.arange(len(self._files)), np.uint8))
        self._report()
        x = np.concatenate([images for images, _ in parts])
        return x, self.labels

    def _read_batches(self, order, dtype=np.float32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (images, their positions in _files), reading with several threads."""
        with ThreadPoolExecutor(get_num_threads(), "minidl-decode") as pool:
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                images = list(pool.map(self._read, rows))
                good = [i for i, image in enumerate(images) if image is not None]
                if good:
                    yield np.stack([images[i] for i in good], dtype=dtype), rows[good]

    def _read(self, i: int) -> np.ndarray | None:
        """Return image i, from memory if it is there, or None if it cannot be read."""
        if i in self._unreadable:
            return None
        if self._memory is not None and self._memory[i] is not None:
            return self._memory[i]
        file = self._files[i]
        try:
            image = load_image(file, self.image_shape[:2], self.color_mode)
        except DataError as error:
            self._unreadable[int(i)] = str(error).removeprefix(f"{file}: ")
            return None
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

    def _report(self) -> None:
        """Say once, after a whole pass, which files were skipped."""
        skipped, total = self.skipped, len(self._files)
        if len(skipped) == total:
            file, reason = skipped[0]
            raise DataError(
                f"{self.directory}: none of the {total} files can be read; {file}: {reason}"
            )
        if skipped and not self._reported:
            self._reported = True
            named = [f"{file}: {reason}" for file, reason in skipped[:5]]
            if len(skipped) > 5:
                named.append(f"and {len(skipped) - 5} more (see .skipped)")
            warnings.warn(
                f"{len(skipped)} of {total} files could not be read and were skipped: "
                + "; ".join(named),
                stacklevel=3,
            )


def _find_labelled(directory, class_names, label_mode) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the class names in the order of their labels, and (file, label) pairs."""
    if label_mode is None:
        if class_names is not None:
            raise ValueError(
                "ImageFolder: label_mode=None has no classes, but class_names is given"
            )
        return [], [(file, 0) for file in find_images(directory)]
    found = find_classes(directory)
    names = list(found) if class_names is None else list(class_names)
    if sorted(names) != sorted(found):
        raise DataError(f"{directory}: expected the classes {names}, found {list(found)}")
    if len(names) < 2:
        raise DataError(
            f"{directory}: a classifier needs two classes or more, found only {names[0]!r}; "
            f"{LAYOUT_HINT} (or use label_mode=None for images without labels)"
        )
    if label_mode == "binary" and len(names) > 2:
        raise DataError(f"{directory}: label_mode 'binary' needs two classes, found {len(names)}")
    return names, [(file, k) for k, name in enumerate(names) for file in found[name]]


def _split(pairs, fraction: float, subset: str, seed: int, directory: str) -> list:
    """Return the part `subset` of the (file, label) pairs: the same share of every class."""
    labels = np.array([k for _, k in pairs])
    chosen = np.zeros(len(pairs), bool)
    for k in np.unique(labels):
        members = np.random.default_rng([seed, k]).permutation(np.flatnonzero(labels == k))
        # Of two images or more, one at least is on each side.
        share = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen[members[:share]] = True
    if not chosen.any():
        raise DataError(f"{directory}: too few images for validation_split={fraction}")
    return [
        pair
        for pair, is_chosen in zip(pairs, chosen, strict=True)
        if is_chosen == (subset == "validation")
    ]


def _check_split(fraction, subset, seed) -> None:
    if (fraction is None) != (subset is None):
        raise ValueError(
            "ImageFolder: validation_split and subset go together, received "
            f"validation_split={fraction!r}, subset={subset!r}"
        )
    if fraction is None:
        return
    check_fraction("ImageFolder", "validation_split", fraction, exclusive="both")
    check_choice("ImageFolder", "subset", subset, ("training", "validation"))
    if isinstance(seed, np.random.Generator):
        raise ValueError(
            "ImageFolder: with validation_split expected an integer seed or None, so that the "
            "training and the validation part agree; received a Generator"
        )
