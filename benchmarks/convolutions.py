"""Implementations of one convolution, for conv_kernels.py.

Every implementation takes images x (N, H, W, C), a kernel w (KH, KW, C, K) and, for the gradients,
dy (N, OH, OW, K). There is no bias and no activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minidl.kernels.convolution.dispatch import (
    ALGORITHMS,
    convolve,
    convolve_backward,
    prepare_kernel,
)
from minidl.kernels.geometry import Convolution
from minidl.kernels.matmul import matmul
from minidl.kernels.runtime.jit import jit

__all__ = ["WAYS", "convolution_step", "sgemm_step"]

SGEMM_SIZE = 2048

Step = Callable[[], Any]
Implementation = tuple[Callable[..., Step], Callable[..., Step]]  # forward, gradients


def convolution_step(job: dict[str, Any]) -> Step:
    """Return a function that computes a job's convolution once.

    The job contains "variant" (of WAYS), "direction" ("forward" or "gradients"), "batch", and
    the convolution: "input" (H, W, C), "kernel" (KH, KW, C, K), "strides", "pads".
    """
    convolution = Convolution(
        tuple(job["kernel"][:2]), tuple(job["strides"]), _as_padding(job["pads"])
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((job["batch"], *job["input"]), np.float32)
    w = rng.standard_normal(job["kernel"], np.float32)
    forward, gradients = WAYS[job["variant"]]
    if job["direction"] == "forward":
        return forward(x, w, convolution)
    shape = (job["batch"], *convolution.output_size(*x.shape[1:3]), w.shape[-1])
    return gradients(x, w, rng.standard_normal(shape, np.float32), convolution)


def sgemm_step(job: dict[str, Any]) -> Step:
    """Return a large matrix product: by the threads of BLAS, or by minidl in strips.

    The matrices contain ones, so each element of the product is their size.
    """
    a = np.ones((SGEMM_SIZE, SGEMM_SIZE), np.float32)
    out = np.empty_like(a)
    if job["variant"] == "strips":
        return lambda: matmul(a, a)
    return lambda: np.matmul(a, a, out=out)


def _as_padding(pads: list[int]) -> str | tuple[int, ...]:
    return tuple(pads) if any(pads) else "valid"


# Each implementation is a pair: forward(x, w, convolution) and gradients(x, w, dy, convolution).
# Both return the step to measure; work that does not depend on the images is done before.


def _naive_forward(x: np.ndarray, w: np.ndarray, convolution: Convolution) -> Step:
    y = np.empty((len(x), *convolution.output_size(*x.shape[1:3]), w.shape[-1]), x.dtype)
    top, _, left, _ = convolution.pads(*x.shape[1:3])
    _loops_forward(x[:0], w, y[:0], 1, 1, 0, 0)  # without images: only compiles

    def step() -> np.ndarray:
        _loops_forward(x, w, y, *convolution.strides, top, left)
        return y

    return step


def _naive_gradients(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, convolution: Convolution
) -> Step:
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    top, _, left, _ = convolution.pads(*x.shape[1:3])
    _loops_backward(x[:0], w, dy[:0], dx[:0], dw, 1, 1, 0, 0)  # without images: only compiles

    def step() -> tuple[np.ndarray, np.ndarray]:
        dx.fill(0)
        dw.fill(0)
        _loops_backward(x, w, dy, dx, dw, *convolution.strides, top, left)
        return dx, dw

    return step


@jit
def _loops_forward(x, w, y, sh, sw, top, left):
    _, height, width, channels = x.shape
    for n in range(y.shape[0]):
        for oy in range(y.shape[1]):
            for ox in range(y.shape[2]):
                for k in range(y.shape[3]):
                    total = x.dtype.type(0)
                    for i in range(w.shape[0]):
                        for j in range(w.shape[1]):
                            iy, ix = oy * sh - top + i, ox * sw - left + j
                            if 0 <= iy < height and 0 <= ix < width:
                                for c in range(channels):
                                    total += x[n, iy, ix, c] * w[i, j, c, k]
                    y[n, oy, ox, k] = total


@jit
def _loops_backward(x, w, dy, dx, dw, sh, sw, top, left):
    _, height, width, channels = x.shape
    for n in range(dy.shape[0]):
        for oy in range(dy.shape[1]):
            for ox in range(dy.shape[2]):
                for k in range(dy.shape[3]):
                    d = dy[n, oy, ox, k]
                    for i in range(w.shape[0]):
                        for j in range(w.shape[1]):
                            iy, ix = oy * sh - top + i, ox * sw - left + j
                            if 0 <= iy < height and 0 <= ix < width:
                                for c in range(channels):
                                    dx[n, iy, ix, c] += d * w[i, j, c, k]
                                    dw[i, j, c, k] += d * x[n, iy, ix, c]


def _numpy_forward(x: np.ndarray, w: np.ndarray, convolution: Convolution) -> Step:
    rows = w.reshape(-1, w.shape[-1])
    shape = (len(x), *convolution.output_size(*x.shape[1:3]), w.shape[-1])
    return lambda: (_patches(x, convolution) @ rows).reshape(shape)


def _numpy_gradients(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, convolution: Convolution
) -> Step:
    kh, kw, c, k = w.shape
    (sh, sw), (oh, ow) = convolution.strides, dy.shape[1:3]
    top, _, left, _ = convolution.pads(*x.shape[1:3])

    def step() -> tuple[np.ndarray, np.ndarray]:
        rows = dy.reshape(-1, k)
        dw = (_patches(x, convolution).T @ rows).reshape(w.shape)
        patches = (rows @ w.reshape(-1, k).T).reshape(len(x), oh, ow, kh, kw, c)
        dx = np.zeros_like(_padded(x, convolution))
        for i in range(kh):
            for j in range(kw):
                dx[:, i : i + sh * oh : sh, j : j + sw * ow : sw] += patches[:, :, :, i, j]
        return dx[:, top : top + x.shape[1], left : left + x.shape[2]], dw

    return step


def _patches(x: np.ndarray, convolution: Convolution) -> np.ndarray:
    """Return all patches: (N, H, W, C) -> (N*OH*OW, KH*KW*C)."""
    sh, sw = convolution.strides
    windows = sliding_window_view(_padded(x, convolution), convolution.kernel_size, axis=(1, 2))
    windows = windows[:, ::sh, ::sw]  # (N, OH, OW, C, KH, KW)
    kh, kw = convolution.kernel_size
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kh * kw * x.shape[-1])


def _padded(x: np.ndarray, convolution: Convolution) -> np.ndarray:
    top, bottom, left, right = convolution.pads(*x.shape[1:3])
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def _minidl(algorithm: str) -> Implementation:
    """Return one of minidl's algorithms; preparation of the kernel is not measured."""

    def forward(x: np.ndarray, w: np.ndarray, convolution: Convolution) -> Step:
        prepared = prepare_kernel(w, algorithm, convolution)
        return lambda: convolve(x, w, None, convolution, algorithm=algorithm, prepared=prepared)

    def gradients(x: np.ndarray, w: np.ndarray, dy: np.ndarray, convolution: Convolution) -> Step:
        return lambda: convolve_backward(
            x, w, dy, convolution, with_bias=False, algorithm=algorithm
        )

    return forward, gradients


WAYS = {
    "naive loops": (_naive_forward, _naive_gradients),
    "NumPy im2col": (_numpy_forward, _numpy_gradients),
    **{f"minidl {name}": _minidl(name) for name in ALGORITHMS},
}
