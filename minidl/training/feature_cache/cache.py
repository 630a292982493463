"""Cached features: what a frozen base computes of each sample, computed once.

While a base is frozen its outputs are the same in every epoch. ``fit`` computes them in one
pass, keeps them together with the labels, and trains the head on them; the next ``fit`` on the
same data with the same frozen weights, be it of another model, starts at once.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.data import ArrayDataset
>>> from minidl.training.feature_cache.cache import FeatureCache
>>> model = Sequential([Input((4,)), layers.Dense(3, trainable=False), layers.Dense(1)])
>>> cache = FeatureCache(model)
>>> features = cache.dataset(ArrayDataset(np.ones((5, 4)), np.arange(5), batch_size=2))
>>> [(x.shape, y.tolist()) for x, y in features.batches(epoch=0)]
[((2, 3), [0, 1]), ((2, 3), [2, 3]), ((1, 3), [4])]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
from collections.abc import Iterator

import numpy as np

from minidl.callbacks.progress import Progress
from minidl.common.argument_checks import check_choice
from minidl.data.pipeline import Dataset, epoch_order
from minidl.formats.architecture import describe
from minidl.graph.inference.weight_versions import WeightVersions
from minidl.graph.network import Network
from minidl.graph.training.split import Split, split_frozen, trainable_flags
from minidl.training.batches import check_finite, limit, unpack
from minidl.training.feature_cache.store import (
    FeatureSet,
    FeatureWriter,
    open_features,
    remove_files,
)
from minidl.version import __version__

__all__ = ["FeatureCache", "FeatureDataset", "batches", "choose_cache", "clear_features"]

MEMORY_LIMIT = 2**30  # bytes of features that are kept in memory; more go to a file
SETS_KEPT = 8  # of features for different data or weights

_kept: dict[str, FeatureSet] = {}  # by fingerprint, the newest last: for all models
_lock = threading.Lock()


class FeatureCache:
    """The features of one model, and the part of the model that is trained on them.

    Parameters
    ----------
    model : Model
    passes : int
        0: the features of each sample as it is. k: of k randomly augmented versions of it;
        epoch e trains on version ``e % k``.
    progress : bool
        Whether to draw a bar while features are computed.
    seed : int
        Seed of the augmentation.
    """

    def __init__(
        self, model: Network, passes: int = 0, progress: bool = False, seed: int = 0
    ) -> None:
        self.model, self.passes, self.progress, self.seed = model, passes, progress, seed
        self.split: Split | None = None
        # By the id of the data, which therefore is kept, and `augmented`.
        self._made: dict[tuple[int, bool], tuple[Dataset, FeatureDataset]] = {}
        self._versions = WeightVersions([])
        self.refresh()

    def refresh(self) -> None:
        """Find anew where the model can be cut: layers may have been frozen or unfrozen."""
        self.split = split_frozen(self.model, random_input=self.passes > 0)
        self._versions = WeightVersions([] if self.split is None else self.split.features.weights)
        self._made.clear()

    @property
    def head(self) -> Network:
        """The network that reads a batch of features where the model reads one of samples."""
        return self.split.head

    @property
    def is_current(self) -> bool:
        """Whether the same layers are frozen as when the model was cut."""
        return self.split is not None and self.split.flags == trainable_flags(self.model)

    def obstacle(self, data: Dataset) -> str | None:
        """Say why the features of `data` cannot be kept; None if they can."""
        if self.split is None and split_frozen(self.model, random_input=True):
            return (
                "the frozen layers read what random layers make anew in each epoch; "
                "augmented_passes=k keeps the features of k versions of each sample"
            )
        if self.split is None:
            return "no layer with weights is frozen below the first trainable one"
        unknown = type(data).fingerprint is Dataset.fingerprint
        if unknown or data.in_order() is None:
            return f"a {type(data).__name__} cannot be read again in a fixed order"
        if self.passes and not self.split.is_random:
            return "augmented_passes needs random layers below the frozen ones; there are none"
        return None

    def dataset(self, data: Dataset, augmented: bool = False) -> FeatureDataset:
        """Return the features of `data`, in batches like those of `data`.

        Parameters
        ----------
        data : Dataset
        augmented : bool
            Compute `passes` augmented versions: for training, not for validation.
        """
        if self._versions.have_changed():
            self.refresh()
        if (id(data), augmented) not in self._made:
            self._made[id(data), augmented] = data, self._find(data, augmented)
        return self._made[id(data), augmented][1]

    def _find(self, data: Dataset, augmented: bool) -> FeatureDataset:
        """Look for the features where they may be from an earlier fit, else compute them."""
        passes = max(1, self.passes) if augmented and self.split.is_random else 0
        key = self._fingerprint(data, passes)
        with _lock:
            features = _kept.pop(key, None)
        if features is None and self._is_minidls:
            features = open_features(key)
        features = features or self._compute(data.in_order(), key, passes)
        with _lock:
            _kept[key] = features
            while len(_kept) > SETS_KEPT or (len(_kept) > 1 and _memory() > MEMORY_LIMIT):
                _kept.pop(next(iter(_kept)))
        return FeatureDataset(features, data)

    @property
    def _is_minidls(self) -> bool:
        """Whether all frozen layers are minidl's: the code of others may change."""
        return not _foreign(self.split.features)

    def _compute(self, ordered: Dataset, key: str, passes: int) -> FeatureSet:
        """Return the features of all batches, kept in memory or in a file."""
        total = len(ordered) * max(1, passes)
        limit = MEMORY_LIMIT if self._is_minidls else math.inf
        with FeatureWriter(key, total, limit) as writer, self._progress(total) as bar:
            for number in range(max(1, passes)):
                for batch_number, batch in enumerate(ordered.batches(0)):
                    x, y, weight = unpack(batch)
                    check_finite(x)
                    rng = [self.seed, 1, number, batch_number] if passes else None
                    writer.append(number, self._features_of(x, rng), y, weight)
                    bar.update()
            return writer.finish(getattr(ordered, "files", None))

    def _progress(self, total: int) -> Progress:
        return Progress("Features", total, verbose=1 if self.progress else 0, leave=False)

    def _features_of(self, x, rng: list[int] | None) -> list[np.ndarray]:
        """Return the features of one batch; `rng` seeds the random layers, None for none."""
        network = self.split.features
        if rng is None:
            y = network.infer(x)
        else:
            rng = np.random.default_rng(rng)
            y, _ = network.forward(x, training=True, rng=rng, need_dx=False)
        return [y] if network.single_output else y

    def _fingerprint(self, data: Dataset, passes: int) -> str:
        """Return what stands for all that the features depend on."""
        network = self.split.features
        randomness = [self.seed, passes, data.batch_size] if passes else None
        foreign = [id(cls) for cls in _foreign(network)]
        data_facts = f"{type(data).__module__}.{type(data).__qualname__}", data.fingerprint()
        facts = [__version__, describe(network), randomness, data_facts, foreign]
        digest = hashlib.blake2b(digest_size=20)
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        for parameter in network.weights:
            digest.update(np.ascontiguousarray(parameter.value).view(np.uint8).reshape(-1))
        return digest.hexdigest()


def choose_cache(
    model: Network, data: Dataset, wanted: bool | str, passes: int, steps: int | None,
    progress: bool, seed: int,
) -> FeatureCache | None:  # fmt: skip
    """Return the cache that ``fit(cache_features=wanted, augmented_passes=passes)`` works with.

    Raises
    ------
    ValueError
        If features are asked for that cannot be kept.
    """
    check_choice("fit", "cache_features", wanted, ("auto", True, False))
    if not wanted:
        if passes:
            raise ValueError("fit: augmented_passes are cached features: leave one of both out")
        return None
    cache = FeatureCache(model, passes, progress, seed)
    obstacle = cache.obstacle(data)
    if obstacle and (wanted is True or passes):
        raise ValueError(f"{model.label}: features cannot be cached: {obstacle}")
    # With steps_per_epoch, a part of the data may be all that is ever looked at.
    return None if obstacle or (wanted == "auto" and steps) else cache


def batches(
    data: Dataset, epoch: int, steps: int | None = None,
    cache: FeatureCache | None = None, augmented: bool = False,
) -> Iterator[tuple[Network | None, tuple]]:  # fmt: skip
    """Yield batches of samples with None, or of cached features with the head that reads them.

    Where layers are unfrozen in the middle of an epoch, the rest of it are samples.

    Parameters
    ----------
    data : Dataset
    epoch : int
    steps : int, optional
        At most so many batches.
    cache : FeatureCache, optional
    augmented : bool
        See :meth:`FeatureCache.dataset`.
    """
    done = 0
    if cache is not None and not cache.is_current:
        cache.refresh()
    if cache is not None and cache.obstacle(data) is None:
        head = cache.head
        for batch in limit(cache.dataset(data, augmented).batches(epoch), steps):
            if not cache.is_current:
                break
            yield head, batch
            done += 1
        else:
            return
    for batch in itertools.islice(limit(data.batches(epoch), steps), done, None):
        yield None, batch


class FeatureDataset(Dataset):
    """Batches of features in the orders in which the data set itself gives its samples.

    Parameters
    ----------
    features : FeatureSet
    data : Dataset
        Whose features they are; says batch size, shuffling and seed.
    """

    def __init__(self, features: FeatureSet, data: Dataset):
        self.features = features
        self.batch_size = data.batch_size
        self.shuffle, self.seed = data.shuffle, data.seed

    @property
    def files(self) -> list[str] | None:
        """The files of the samples, row by row, where they came from files."""
        return self.features.files

    def batches(self, epoch: int = 0) -> Iterator[tuple]:
        count = self.features.count
        order = epoch_order(count, self.seed, epoch) if self.shuffle else np.arange(count)
        for start in range(0, count, self.batch_size):
            yield self.features.rows(order[start : start + self.batch_size], epoch)

    def __len__(self) -> int:
        return math.ceil(self.features.count / self.batch_size)


def clear_features() -> None:
    """Forget all features: those in memory, and the files in the cache folder.

    >>> from minidl.training import clear_features
    >>> clear_features()
    """
    with _lock:
        _kept.clear()
    remove_files(keep=0)


def _foreign(network: Network) -> list[type]:
    """Return the classes of layers that are not minidl's."""
    classes = {type(layer): None for layer in network.layers}
    return [cls for cls in classes if not cls.__module__.startswith("minidl.")]


def _memory() -> int:
    return sum(features.memory for features in _kept.values())
