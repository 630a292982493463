"""minidl as an engine of the benchmarks; see worker.py."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from convolutions import convolution_step, sgemm_step
from workload import Workload, build

import minidl
from minidl import Model, optimizers
from minidl.applications.transfer import transfer_classifier
from minidl.data import ImageFolder

Job = dict[str, Any]


def start(threads: int) -> None:
    """Set the number of threads."""
    minidl.set_num_threads(threads)


def versions() -> dict[str, str]:
    """Return the versions of the measured packages."""
    return {"minidl": minidl.__version__, "numpy": np.__version__, "numba": numba.__version__}


def prepare(job: Job) -> Any:
    """Return the step of a job."""
    return WORK[job["work"]](job)


def _inference(job: Job) -> Any:
    workload = Workload(job["folder"])
    model = _load(workload)
    x, _ = workload.batch(job["batch"])
    return lambda: model.predict_on_batch(x)


def _training(job: Job) -> Any:
    workload = Workload(job["folder"])
    model = _load(workload)
    loss = "binary_crossentropy" if workload.is_binary else "sparse_categorical_crossentropy"
    model.compile(optimizers.SGD(job["learning_rate"], momentum=0.9), loss)
    x, y = workload.batch(job["batch"])
    return lambda: model.train_on_batch(x, y)


def _features(job: Job) -> Any:
    model = _load(Workload(job["folder"]))

    def extract(photos: str) -> np.ndarray:
        return model.predict(_photos(job, photos, shuffle=False))

    return lambda: extract(job["photos"]), lambda: extract(job["few_photos"])


def _transfer(job: Job) -> Any:
    base = _load(Workload(job["folder"]))

    def train(photos: str, epochs: int) -> float:
        # A new model each time, because it has no cached features of these photos.
        model = transfer_classifier(base)
        model.compile(optimizers.Adam(1e-3), "binary_crossentropy", metrics=["accuracy"])
        history = model.fit(_photos(job, photos, shuffle=True), epochs=epochs, verbose=0)
        return history.history["loss"][-1]

    return lambda: train(job["photos"], job["epochs"]), lambda: train(job["few_photos"], 2)


def _load(workload: Workload) -> Model:
    return build(workload.specification, str(workload.folder / "minidl.h5"))


def _photos(job: Job, folder: str, shuffle: bool) -> ImageFolder:
    size = job["size"]
    return ImageFolder(folder, (size, size), batch_size=job["batch"], shuffle=shuffle, seed=0)


WORK = {
    "inference": _inference,
    "training": _training,
    "features": _features,
    "transfer": _transfer,
    "convolution": convolution_step,
    "sgemm": sgemm_step,
}
