"""OpenVINO as an engine of the benchmarks; see worker.py.

It reads the file that onnx_file.py writes. It computes in float32; by default it would choose
bfloat16 where the processor has instructions for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from workload import Workload

_threads = 1

Job = dict[str, Any]


def start(threads: int) -> None:
    """Set the number of threads."""
    global _threads
    _threads = threads


def versions() -> dict[str, str]:
    """Return the versions of the measured packages."""
    return {"openvino": openvino.__version__}


def prepare(job: Job) -> Any:
    """Return the step of a job."""
    return WORK[job["work"]](job)


def _inference(job: Job) -> Any:
    workload = Workload(job["folder"])
    x = np.ascontiguousarray(workload.batch(job["batch"])[0].transpose(0, 3, 1, 2))  # -> NCHW
    core = openvino.Core()
    model = core.read_model(str(workload.folder / "model.onnx"))
    model.reshape(x.shape)
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": _threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def step() -> np.ndarray:
        (y,) = request.infer({0: x}, share_inputs=True, share_outputs=True).values()
        return y if y.ndim == 2 else y.transpose(0, 2, 3, 1)  # a view

    return step


WORK = {"inference": _inference}
