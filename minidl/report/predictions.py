"""Asks a model about every sample of a test set, and fetches the photos that are to be shown.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.report.predictions import TestSet, ask
>>> model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
>>> test = TestSet((np.zeros((3, 2)), np.array([0, 1, 1])))
>>> answers = ask(model, test)
>>> answers.labels.tolist(), answers.loss_name
([0, 1, 1], 'cross-entropy')
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import losses
from minidl.common.errors import DataError
from minidl.data import Dataset, ImageFolder, as_dataset, load_image
from minidl.data.pipeline import IterableDataset
from minidl.evaluation.classifier import class_names, predicted_classes, probabilities
from minidl.metrics.accuracy import Mean
from minidl.report.statistics import Answers
from minidl.training.batches import sample_count, unpack

__all__ = ["TestSet", "as_classes", "ask"]


class TestSet:
    """Test samples in an order that stays, with the class names and the files they bring.

    Parameters
    ----------
    data : Dataset or (x, y)
        An ``ImageFolder``, arrays, or a data set that hands out the same epoch again.

    Raises
    ------
    DataError
        For what can be read only once.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    def __init__(self, data: Dataset | tuple):
        data = as_dataset(*data) if isinstance(data, tuple) else as_dataset(data)
        if isinstance(data, IterableDataset):
            raise DataError(
                "report: expected test data that can be read twice, an ImageFolder or arrays "
                "(x, y); received an iterable of batches"
            )
        ordered = data.in_order()
        self.files_are_known = ordered is not None and hasattr(ordered, "files")
        self.data: Dataset = ordered or data

    @property
    def class_names(self) -> list[str] | None:
        names = getattr(self.data, "class_names", None)
        return None if names is None else list(names)

    def names(self, count: int) -> list[str]:
        """Return what each of `count` samples is called; after a pass, when files are settled."""
        if self.files_are_known and len(self.data.files) == count:
            return [str(file) for file in self.data.files]
        return [f"sample {i}" for i in range(count)]

    def inputs(self, rows: list[int]) -> np.ndarray:
        """Return the samples of some rows as the model takes them."""
        if self._reads_files:
            size, mode = self.data.image_shape[:2], self.data.color_mode
            images = [load_image(self.data.files[i], size, mode) for i in rows]
            return np.stack(images).astype(np.float32)
        found, start = {}, 0
        for batch in self.data.batches(0):
            x = unpack(batch)[0]
            found.update({i: x[i - start] for i in rows if start <= i < start + len(x)})
            start += len(x)
        return np.stack([found[i] for i in rows])

    def photo(self, row: int, image: np.ndarray) -> np.ndarray:
        """Return a photo to look at, uint8 (H, W, 3): the file's own shape where there is one.

        Parameters
        ----------
        row : int
        image : (h, w, C)
            As the model takes it.
        """
        if self._reads_files:
            photo = load_image(self.data.files[row], color_mode=self.data.color_mode)
        else:
            scale = 255 if image.min() >= 0 and image.max() <= 1 else 1
            photo = np.rint(np.clip(image * scale, 0, 255)).astype(np.uint8)
        return np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo

    @property
    def _reads_files(self) -> bool:
        return self.files_are_known and type(self.data) is ImageFolder


def ask(model, test: TestSet) -> Answers:
    """Return the model's answers to all samples of a test set, in their order.

    Raises
    ------
    ValueError
        If the model is no classifier, or gives neither probabilities nor logits.
    DataError
        If labels are missing or do not fit the model's classes.
    """
    names = _class_names(model, test)
    loss = _loss(model)
    mean, labels, outputs = Mean(), [], []
    for batch in test.data.batches(0):
        x, y, weight = unpack(batch)
        if y is None:
            raise DataError("report: expected test data with labels, received none")
        batch_outputs = model.predict_on_batch(x)
        labels.append(as_classes(y, len(names)))
        outputs.append(batch_outputs)
        mean.update_state(loss(y, batch_outputs, weight), sample_weight=sample_count(x))
    if not labels:
        raise DataError("report: the test data has no samples")
    outputs = np.concatenate(outputs)
    penalty = model.trainer.penalty() if model.trainer else 0.0
    return Answers(
        labels=np.concatenate(labels),
        probabilities=probabilities(model, outputs),
        decided=predicted_classes(model, outputs),
        class_names=names,
        loss=mean.result() + penalty,
        loss_name="cross-entropy" if model.trainer is None else loss.name.replace("_", " "),
        names=test.names(len(outputs)),
    )


def _class_names(model, test: TestSet) -> list[str]:
    names = class_names(model)
    if test.class_names is None:
        return names
    if "class_names" not in model.metadata and len(test.class_names) == len(names):
        return test.class_names
    if test.class_names != names:
        raise DataError(
            f"report: {model.label} knows the classes {names}, the test data has "
            f"{test.class_names}; ImageFolder(class_names=...) sets their order"
        )
    return names


def _loss(model) -> Any:
    """Return the model's loss; the cross-entropy for one that was not compiled."""
    if model.trainer is not None:
        return model.loss
    if model.output_shape[-1] == 1:
        return losses.BinaryCrossentropy()
    return losses.SparseCategoricalCrossentropy()


def as_classes(y: np.ndarray, count: int) -> np.ndarray:
    """Return labels of any kind, numbers, 0 and 1 or one-hot, as class numbers (N,)."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == count and count > 1:
        return y.argmax(axis=1)
    classes = y.reshape(-1).astype(np.int64)
    if y.size != len(y) or (classes != y.reshape(-1)).any():
        raise DataError(
            f"report: expected one class for each sample, received labels of shape {y.shape}"
        )
    if classes.size and not 0 <= classes.min() <= classes.max() < count:
        raise DataError(
            f"report: expected labels 0 ... {count - 1}, received "
            f"{classes.min()} ... {classes.max()}"
        )
    return classes
