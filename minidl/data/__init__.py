"""Data for training: photos in folders, arrays, iterables of batches.

>>> import numpy as np
>>> from minidl.data import ArrayDataset
>>> len(ArrayDataset(np.zeros((10, 3)), np.zeros(10), batch_size=4))
3
"""

from minidl.data.doctor.doctor import check
from minidl.data.doctor.findings import CheckReport, Finding
from minidl.data.folder import ImageFolder
from minidl.data.images import IMAGE_EXTENSIONS, load_image
from minidl.data.pipeline import (
    ArrayDataset,
    Dataset,
    IterableDataset,
    as_dataset,
    prefetch,
    split_arrays,
)

__all__ = [
    "ArrayDataset",
    "CheckReport",
    "Dataset",
    "Finding",
    "IMAGE_EXTENSIONS",
    "ImageFolder",
    "IterableDataset",
    "as_dataset",
    "check",
    "load_image",
    "prefetch",
    "split_arrays",
]
