"""The feature cache: outputs of a frozen base, computed once per sample.

While a base is frozen, its outputs are the same in every epoch. ``fit`` computes them in one pass,
stores them with the labels, and trains the head on them. A later ``fit`` on the same data with the
same frozen weights reuses them, even for another model.

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
from typing import Any

import numpy as np

from minidl.callbacks.progress import Progress
from minidl.common.argument_checks import check_choice
from minidl.data.pipeline import Dataset, epoch_order
from minidl.distributed.communicator import current
from minidl.formats.architecture import describe
from minidl.graph.inference.weight_versions import WeightVersions
from minidl.graph.input_checks import check_finite
from minidl.graph.network import Network
from minidl.graph.training.split import Split, split_frozen, trainable_flags
from minidl.training.batches import limit, unpack
from minidl.training.feature_cache.store import (
    FeatureSet,
    FeatureWriter,
    open_features,
    remove_stored,
)
from minidl.training.shared_inference import shared_outputs
from minidl.version import __version__

__all__ = ["FeatureCache", "FeatureDataset", "batches", "choose_cache", "clear_features"]

MEMORY_LIMIT = 2**30  # bytes of features in memory; larger sets go to a file
MAX_SETS = 8  # sets of features in memory, for different data or weights

_sets: dict[str, FeatureSet] = {}  # of all models by fingerprint, the newest last
_lock = threading.Lock()


class FeatureCache:
    """The features of one network's frozen part, and the head that is trained on them.

    Parameters
    ----------
    network : Network
    passes : int
        0: the features of each sample as it is. k: the features of k randomly augmented versions;
        epoch e trains on version ``e % k``.
    progress : bool
        Whether to show a bar while features are computed.
    seed : int
        Seed of the augmentation.
    """

    def __init__(
        self, network: Network, passes: int = 0, progress: bool = False, seed: int = 0
    ) -> None:
        self.network, self.passes, self.progress, self.seed = network, passes, progress, seed
        self.refresh()

    def refresh(self) -> None:
        """Split the network again, after layers were frozen or unfrozen or weights changed."""
        self.split: Split | None = split_frozen(self.network, random_input=self.passes > 0)
        self._versions = WeightVersions([] if self.split is None else self.split.features.weights)
        # By the id of the data and `augmented`. The data are stored so that their id stays unique.
        self._datasets: dict[tuple[int, bool], tuple[Dataset, FeatureDataset]] = {}

    @property
    def is_current(self) -> bool:
        """Whether the same layers are frozen as when the network was split."""
        return self.split is not None and self.split.flags == trainable_flags(self.network)

    def obstacle(self, data: Dataset) -> str | None:
        """Return why the features of `data` cannot be cached; None if they can."""
        if self.split is None and split_frozen(self.network, random_input=True):
            return (
                "the frozen layers read the output of random layers, which differs in each epoch; "
                "augmented_passes=k caches the features of k versions of each sample"
            )
        if self.split is None:
            return "no layer with weights is frozen below the first trainable one"
        if type(data).fingerprint is Dataset.fingerprint or data.in_order() is None:
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
            Whether to compute `passes` augmented versions, as for training data.
        """
        if self._versions.have_changed():
            self.refresh()
        if self.split is None:
            raise ValueError(f"{self.network.label}: {self.obstacle(data)}")
        key = (id(data), augmented)
        if key not in self._datasets:
            passes = max(1, self.passes) if augmented and self.split.is_random else 0
            features = self._find(self.split.features, data, passes)
            self._datasets[key] = data, FeatureDataset(features, data)
        return self._datasets[key][1]

    def _find(self, base: Network, data: Dataset, passes: int) -> FeatureSet:
        """Return features from memory or a file, or compute them."""
        key = self._fingerprint(base, data, passes)
        reusable = not _custom_layers(base)  # the code of custom layers may change
        with _lock:
            features = _sets.pop(key, None)
        if features is None and reusable:
            features = open_features(key)
        # Ranks share the computation, so it is left out only if all of them have the features.
        if not all(current().all_gather(features is not None, "the search for cached features")):
            features = None
        if features is None:
            limit = MEMORY_LIMIT if reusable else math.inf
            features = self._compute(base, data.in_order(), passes, key, limit)
        with _lock:
            _sets[key] = features
            while len(_sets) > MAX_SETS or (len(_sets) > 1 and _memory() > MEMORY_LIMIT):
                _sets.pop(next(iter(_sets)))
        return features

    def _compute(
        self, base: Network, ordered: Any, passes: int, key: str, limit: float
    ) -> FeatureSet:
        """Compute the features of all batches."""
        versions = range(max(1, passes))
        total = len(ordered) * len(versions)
        bar = Progress("Features", total, verbose=1 if self.progress else 0, leave=False)
        with FeatureWriter(key, total, limit) as writer, bar:
            for version in versions:

                def compute(item: tuple[int, Any], version: int = version) -> list[np.ndarray]:
                    number, (x, *_) = item[0], unpack(item[1])
                    check_finite(x)
                    if passes:
                        rng = np.random.default_rng([self.seed, 1, version, number])
                        features, _ = base.forward(x, training=True, rng=rng, need_dx=False)
                    else:
                        features = base.infer(x)
                    return [features] if base.single_output else features

                source = enumerate(ordered.batches(0))
                for (_, batch), features in shared_outputs(source, compute):
                    _, y, weight = unpack(batch)
                    writer.append(version, features, y, weight)
                    bar.update()
            return writer.finish(getattr(ordered, "files", None))

    def _fingerprint(self, base: Network, data: Dataset, passes: int) -> str:
        """Return a hash of everything that the features depend on."""
        facts = [
            __version__,
            describe(base),
            [self.seed, passes, data.batch_size] if passes else None,
            (f"{type(data).__module__}.{type(data).__qualname__}", data.fingerprint()),
            [id(cls) for cls in _custom_layers(base)],
        ]
        digest = hashlib.blake2b(digest_size=20)
        digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
        for parameter in base.weights:
            digest.update(parameter.array.reshape(-1).data)
        return digest.hexdigest()


def choose_cache(
    network: Network,
    data: Dataset,
    wanted: bool | str,
    passes: int,
    *,
    steps: int | None,
    progress: bool,
    seed: int,
) -> FeatureCache | None:
    """Return the cache for ``fit(cache_features=wanted, augmented_passes=passes)``.

    Parameters
    ----------
    network : Network
    data : Dataset
        Training data.
    wanted : {"auto", True, False}
    passes, progress, seed
        See :class:`FeatureCache`.
    steps : int or None
        Limit on the batches of an epoch; "auto" then does not cache.

    Returns
    -------
    FeatureCache or None

    Raises
    ------
    ValueError
        If the requested features cannot be cached.
    """
    check_choice("fit", "cache_features", wanted, ("auto", True, False))
    if not wanted:
        if passes:
            raise ValueError(
                "fit: expected cache_features=True or 'auto' with augmented_passes, received False"
            )
        return None
    cache = FeatureCache(network, passes, progress, seed)
    obstacle = cache.obstacle(data)
    if obstacle and (wanted is True or passes):
        raise ValueError(f"{network.label}: features cannot be cached: {obstacle}")
    # With steps_per_epoch, training may use only a part of the data.
    return None if obstacle or (wanted == "auto" and steps) else cache


def batches(
    data: Dataset,
    epoch: int,
    steps: int | None = None,
    cache: FeatureCache | None = None,
    augmented: bool = False,
) -> Iterator[tuple[Network | None, Any]]:
    """Yield batches of cached features with the head that reads them, or of samples with None.

    If layers are unfrozen within an epoch, the rest of the epoch consists of samples.

    Parameters
    ----------
    data : Dataset
    epoch : int
    steps : int, optional
        Limit on the number of batches.
    cache : FeatureCache, optional
    augmented : bool
        See :meth:`FeatureCache.dataset`.
    """
    done = 0
    if cache is not None and not cache.is_current:
        cache.refresh()
    if cache is not None and cache.split is not None and cache.obstacle(data) is None:
        features = cache.dataset(data, augmented)
        head = cache.split.head
        for batch in limit(features.batches(epoch), steps):
            if not cache.is_current:
                break
            yield head, batch
            done += 1
        else:
            return
    for batch in itertools.islice(limit(data.batches(epoch), steps), done, None):
        yield None, batch


class FeatureDataset(Dataset):
    """Batches of features in the same orders as the samples of a data set.

    Parameters
    ----------
    features : FeatureSet
    data : Dataset
        The samples; defines batch size, shuffling and seed.
    """

    def __init__(self, features: FeatureSet, data: Dataset) -> None:
        self.features = features
        self.batch_size = data.batch_size
        self.shuffle, self.seed = data.shuffle, data.seed

    @property
    def files(self) -> list[str] | None:
        """The files of the samples, row by row, if they came from files."""
        return self.features.files

    def batches(self, epoch: int = 0) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of one epoch."""
        count = self.features.count
        order = epoch_order(count, self.seed, epoch) if self.shuffle else np.arange(count)
        for start in range(0, count, self.batch_size):
            yield self.features.rows(order[start : start + self.batch_size], epoch)

    def __len__(self) -> int:
        return math.ceil(self.features.count / self.batch_size)


def clear_features() -> None:
    """Delete all cached features: those in memory and the files in the cache folder.

    Examples
    --------
    >>> from minidl.training import clear_features
    >>> clear_features()
    """
    with _lock:
        _sets.clear()
    remove_stored(keep=0)


def _custom_layers(network: Network) -> list[type]:
    """Return the classes of layers that are defined outside minidl."""
    classes = {type(layer): None for layer in network.layers}
    return [cls for cls in classes if not cls.__module__.startswith("minidl.")]


def _memory() -> int:
    """Return the bytes of all features in memory."""
    return sum(features.memory for features in _sets.values())
