"""ONNX Runtime as an engine of the benchmarks; see worker.py.

onnx_file.py writes the model's file in its own process, so that onnx does not count in the memory
of this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from workload import Workload

_threads = 1

Job = dict[str, Any]


def start(threads: int) -> None:
    """Set the number of threads."""
    global _threads
    _threads = threads


def versions() -> dict[str, str]:
    """Return the versions of the measured packages."""
    return {"onnxruntime": onnxruntime.__version__}


def prepare(job: Job) -> Any:
    """Return the step of a job."""
    return WORK[job["work"]](job)


def _inference(job: Job) -> Any:
    workload = Workload(job["folder"])
    session = _session(workload)
    x = _images(workload.batch(job["batch"])[0])

    def step() -> np.ndarray:
        (y,) = session.run(None, {"x": x})
        return y if y.ndim == 2 else y.transpose(0, 2, 3, 1)  # a view

    return step


def _features(job: Job) -> Any:
    from photos import batches

    session = _session(Workload(job["folder"]))
    ahead = "ahead" in job["variant"]

    def extract(folder: str) -> np.ndarray:
        photos = batches(folder, job["size"], job["batch"], _threads, ahead)
        return np.concatenate([session.run(None, {"x": _images(x)})[0] for x in photos])

    return lambda: extract(job["photos"]), lambda: extract(job["few_photos"])


def _session(workload: Workload) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(workload.folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def _images(x: np.ndarray) -> np.ndarray:
    """Return contiguous images: (N, H, W, C) -> (N, C, H, W)."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


WORK = {"inference": _inference, "features": _features}
