"""Predictions for a test set, and the photos that a report shows.

>>> import numpy as np
>>> from minidl import Input, Sequential, layers
>>> from minidl.report.predictions import TestSet, predict_all
>>> model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
>>> test = TestSet((np.zeros((3, 2)), np.array([0, 1, 1])))
>>> predictions = predict_all(model, test)
>>> predictions.labels.tolist(), predictions.loss_name
([0, 1, 1], 'cross-entropy')
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl import losses
from minidl.common.errors import DataError
from minidl.data import Dataset, ImageFolder, as_dataset, load_image
from minidl.data.pipeline import IterableDataset
from minidl.evaluation.classifier import class_names, predicted_classes, probabilities
from minidl.losses import Loss
from minidl.losses.labels import sparse_labels
from minidl.metrics import Mean
from minidl.models.model import Model
from minidl.report.statistics import Predictions
from minidl.training.batches import sample_count, unpack

__all__ = ["TestSet", "as_classes", "predict_all"]


class TestSet:
    """Test samples in a fixed order, with their class names and files.

    Parameters
    ----------
    data : Dataset or (x, y)
        An ``ImageFolder``, arrays, or a data set that yields the same epoch repeatedly.

    Raises
    ------
    DataError
        If the data can be read only once.
    """

    __test__ = False  # keeps pytest from collecting the class

    def __init__(self, data: Dataset | tuple) -> None:
        data = as_dataset(*data) if isinstance(data, tuple) else as_dataset(data)
        if isinstance(data, IterableDataset):
            raise DataError(
                "report: expected test data that can be read twice, an ImageFolder or arrays "
                "(x, y), received an iterable of batches"
            )
        ordered = data.in_order()
        self.is_ordered = ordered is not None
        self.data: Dataset = ordered or data
        self.folder = ordered if type(ordered) is ImageFolder else None

    @property
    def class_names(self) -> list[str] | None:
        """The class names of the data, if it has any."""
        names = getattr(self.data, "class_names", None)
        return None if names is None else list(names)

    def names(self, count: int) -> list[str]:
        """Return the names of `count` samples.

        Files are known after a pass over the data, which drops unreadable ones.
        """
        files = getattr(self.data, "files", ()) if self.is_ordered else ()
        if len(files) == count:
            return [str(file) for file in files]
        return [f"sample {i}" for i in range(count)]

    def inputs(self, rows: list[int]) -> np.ndarray:
        """Return some samples as the model accepts them."""
        if self.folder is not None:
            size, mode = self.folder.image_shape[:2], self.folder.color_mode
            images = [load_image(self.folder.files[i], size, mode) for i in rows]
            return np.stack(images).astype(np.float32)
        found, start = {}, 0
        for batch in self.data.batches(0):
            x = unpack(batch)[0]
            found.update({i: x[i - start] for i in rows if start <= i < start + len(x)})
            start += len(x)
        return np.stack([found[i] for i in rows])

    def photo(self, row: int, image: np.ndarray) -> np.ndarray:
        """Return a sample as a photo, from its file where there is one.

        Parameters
        ----------
        row : int
            Index of the sample.
        image : ndarray, shape (h, w, C)
            The sample as the model accepts it.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3)
        """
        if self.folder is not None:
            photo = load_image(self.folder.files[row], color_mode=self.folder.color_mode)
        else:
            scale = 255 if image.min() >= 0 and image.max() <= 1 else 1
            photo = np.rint(np.clip(image * scale, 0, 255)).astype(np.uint8)
        return np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo


def predict_all(model: Model, test: TestSet) -> Predictions:
    """Predict all samples of a test set, in order.

    Raises
    ------
    ValueError
        If the model is not a classifier, or outputs neither probabilities nor logits.
    DataError
        If labels are missing or do not match the model's classes.
    """
    names = _class_names(model, test)
    loss = _loss(model)
    mean, labels, parts = Mean(), [], []
    for batch in test.data.batches(0):
        x, y, weight = unpack(batch)
        if y is None:
            raise DataError("report: expected test data with labels, received none")
        labels.append(as_classes(y, len(names)))
        parts.append(model.predict_on_batch(x))
        mean.update_state(loss(y, parts[-1], weight), sample_weight=sample_count(x))
    if not labels:
        raise DataError("report: expected test data with samples, received none")
    outputs = np.concatenate(parts)
    return Predictions(
        labels=np.concatenate(labels),
        probabilities=probabilities(model, outputs),
        predicted=predicted_classes(model, outputs),
        class_names=names,
        loss=mean.result() + (model.trainer.penalty() if model.trainer else 0.0),
        loss_name="cross-entropy" if model.trainer is None else loss.name.replace("_", " "),
        names=test.names(len(outputs)),
    )


def _class_names(model: Model, test: TestSet) -> list[str]:
    names = class_names(model)
    if test.class_names is None:
        return names
    if "class_names" not in model.metadata and len(test.class_names) == len(names):
        return test.class_names
    if test.class_names != names:
        raise DataError(
            f"report: expected test data of the classes {names} of {model.label}, received "
            f"{test.class_names}. ImageFolder(class_names=...) sets their order."
        )
    return names


def _loss(model: Model) -> Loss:
    """Return the model's loss; the cross-entropy if it is not compiled."""
    if model.trainer is not None:
        return model.loss
    if model.output_shape[-1] == 1:
        return losses.BinaryCrossentropy()
    return losses.SparseCategoricalCrossentropy()


def as_classes(y: ArrayLike, count: int) -> np.ndarray:
    """Return labels as class indices.

    Parameters
    ----------
    y : array, shape (N,), (N, 1) or (N, count)
        Class indices of any type, or one-hot rows.
    count : int
        Number of classes.

    Returns
    -------
    ndarray of int64, shape (N,)

    Raises
    ------
    ShapeError, DataError
        If the labels have another form or are out of range.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == count:
        return labels.argmax(axis=1)
    return sparse_labels("report", labels, np.empty((len(labels), count)))
