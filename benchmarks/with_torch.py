"""PyTorch as an engine of the benchmarks; see worker.py."""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
import torch
import torch._inductor.config
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch_networks import build
from workload import Workload

Job = dict[str, Any]


def start(threads: int) -> None:
    """Set the number of threads."""
    torch.set_num_threads(threads)


def versions() -> dict[str, str]:
    """Return the versions of the measured packages."""
    return {"torch": torch.__version__}


def prepare(job: Job) -> Any:
    """Return the step of a job."""
    return WORK[job["work"]](job)


def _inference(job: Job) -> Any:
    workload = Workload(job["folder"])
    model, layout = _inference_model(workload, job)
    x = _images(workload.batch(job["batch"])[0], layout)

    @torch.inference_mode()
    def step() -> np.ndarray:
        y = model(x)
        return (y if y.ndim == 2 else y.permute(0, 2, 3, 1)).numpy()  # a view

    return step


def _training(job: Job) -> Any:
    workload = Workload(job["folder"])
    layout = _layout(job)
    model = build(workload, training=True).to(memory_format=layout).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=job["learning_rate"], momentum=0.9, fused=True
    )
    loss_function = nn.BCEWithLogitsLoss() if workload.is_binary else nn.CrossEntropyLoss()
    x, y = workload.batch(job["batch"])
    x, y = _images(x, layout), torch.from_numpy(y)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _features(job: Job) -> Any:
    from photos import batches

    model, layout = _inference_model(Workload(job["folder"]), job)
    ahead = "ahead" in job["variant"]

    @torch.inference_mode()
    def extract(folder: str) -> np.ndarray:
        photos = batches(folder, job["size"], job["batch"], torch.get_num_threads(), ahead)
        return np.concatenate([model(_images(x, layout)).numpy() for x in photos])

    return lambda: extract(job["photos"]), lambda: extract(job["few_photos"])


def _convolution(job: Job) -> Any:
    layout = _layout(job)
    rng = np.random.default_rng(0)

    def random(
        shape: tuple[int, ...],
    ) -> np.ndarray:  # (N, H, W, C) -> (N, C, H, W), or (KH, KW, C, K) -> (K, C, KH, KW)
        return rng.standard_normal(shape, np.float32)

    x = _images(random((job["batch"], *job["input"])), layout)
    w = torch.from_numpy(random(job["kernel"]).transpose(3, 2, 0, 1).copy())
    w = w.contiguous(memory_format=layout)
    top, bottom, left, right = job["pads"]
    padding, strides = (top, left), tuple(job["strides"])
    if (top, left) != (bottom, right):
        raise ValueError(f"expected symmetric padding, received {job['pads']}")
    if job["direction"] == "forward":

        @torch.inference_mode()
        def forward() -> np.ndarray:
            y = nn.functional.conv2d(x, w, None, strides, padding)
            return y.permute(0, 2, 3, 1).numpy()  # a view, for the comparison

        return forward
    dy = torch.empty_like(nn.functional.conv2d(x, w, None, strides, padding)).normal_()

    @torch.inference_mode()
    def backward() -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, w, None, strides, padding, (1, 1), False, (0, 0), 1, (True, True, False)
        )

    return backward


def _inference_model(workload: Workload, job: Job) -> tuple[nn.Module, torch.memory_format]:
    layout = _layout(job)
    model = build(workload).eval().to(memory_format=layout).requires_grad_(False)
    if "compiled" in job["variant"]:
        if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
            raise RuntimeError("torch.compile needs a C++ compiler, and none is installed")
        torch._inductor.config.freezing = True  # weights as constants: it folds and packs them
        return torch.compile(model), layout
    return fuse(model, inplace=True), layout  # folds BatchNorm into the convolutions


def _layout(job: Job) -> torch.memory_format:
    return torch.channels_last if "channels_last" in job["variant"] else torch.contiguous_format


def _images(x: np.ndarray, layout: torch.memory_format) -> torch.Tensor:
    """Return images in a memory layout: (N, H, W, C) -> (N, C, H, W)."""
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)


WORK = {
    "inference": _inference,
    "training": _training,
    "features": _features,
    "convolution": _convolution,
}
