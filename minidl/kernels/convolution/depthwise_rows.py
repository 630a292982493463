"""Depthwise convolution by rows: packed kernels, and the division into jobs.

The loops, which compute in float32, are in :mod:`minidl.kernels.compiled.depthwise_loops`. They can
compute a 1x1 convolution of each row on the way in (`expand`) and on the way out (`project`).

>>> import numpy as np
>>> from minidl.kernels.convolution.depthwise_rows import pack_depthwise
>>> from minidl.kernels.geometry import Window
>>> kernel = pack_depthwise(np.ones((3, 3, 5, 1), "float32"), Window((3, 3)))
>>> kernel.channels, kernel.packed.shape[1]
(5, 9)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from minidl.kernels.convolution.prepared import PreparedKernel
from minidl.kernels.convolution.step_tables import make_jobs
from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba
from minidl.kernels.runtime.memory import aligned

__all__ = [
    "NO_BOUNDS",
    "DepthwiseKernel",
    "Pointwise",
    "buffer_size",
    "divide_depthwise",
    "pack_depthwise",
    "pack_vectors",
]

NO_BOUNDS = (-np.inf, np.inf)
JOB_SIZE = 2**19  # multiplications of the smallest useful job: about 20 microseconds
JOBS_PER_THREAD = 4
OVERLAP = 7  # least input rows of a job for each one that two neighboring jobs both compute


@dataclass(frozen=True)
class DepthwiseKernel:
    """A float32 kernel with one filter per channel, in the order in which register tiles read it.

    Attributes
    ----------
    window : Window
    channels : int
    packed : array, shape (vectors, KH * KW, LANES)
        Filled up with zeros.
    """

    window: Window
    channels: int
    packed: np.ndarray


@dataclass(frozen=True)
class Pointwise:
    """A 1x1 convolution that is computed together with a depthwise convolution.

    Attributes
    ----------
    kernel : PreparedKernel
        For the algorithm "direct", in one group.
    bias : array of float32, shape (K,), or None
    bounds : (float, float)
        Smallest and largest output.
    """

    kernel: PreparedKernel
    bias: np.ndarray | None
    bounds: tuple[float, float] = NO_BOUNDS


def pack_depthwise(w: np.ndarray, window: Window) -> DepthwiseKernel:
    """Return a kernel for :meth:`~minidl.kernels.convolution.pipeline.Pipeline.depthwise`.

    Parameters
    ----------
    w : array of float32, shape (KH, KW, C, 1)
    window : Window
    """
    channels = w.shape[2]
    vectors = pack_vectors(w.reshape(-1, channels))  # (KH * KW, vectors, LANES)
    packed = aligned((vectors.shape[1], len(vectors), vectors.shape[2]), np.float32)
    packed[...] = vectors.transpose(1, 0, 2)
    return DepthwiseKernel(window, channels, packed)


def pack_vectors(rows: np.ndarray) -> np.ndarray:
    """Return rows of C numbers as whole vectors: (rows, vectors, LANES)."""
    with importing_numba:
        from minidl.kernels.compiled.simd import LANES

    vectors = -(-rows.shape[1] // LANES)
    padded = np.zeros((len(rows), vectors * LANES), np.float32)
    padded[:, : rows.shape[1]] = rows
    return padded.reshape(len(rows), vectors, LANES)


def buffer_size(x_shape: tuple[int, ...], ow: int, channels: int, window: Window) -> int:
    """Return how many float32 a thread needs: the ring of input rows, and one output row."""
    _, left, width = window.kernel_size[0], window.pads(*x_shape[1:3])[2], x_shape[2]
    extent = window.extent
    pitch = max(left + width, (ow - 1) * window.strides[1] + extent[1])
    return ((extent[0] + 1) * pitch + ow) * channels


@functools.lru_cache(maxsize=1024)
def divide_depthwise(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, int, int],
    packed_shape: tuple[int, ...],
    window: Window,
    multiplications: int,
    threads: int,
) -> np.ndarray:
    """Divide a depthwise convolution into jobs, each some rows of some channels.

    Parameters
    ----------
    x_shape : tuple of int
        (N, H, W, C).
    y_shape : tuple of int
        (N, OH, OW).
    packed_shape : tuple of int
        Of the kernel.
    window : Window
    multiplications : int
        Of the whole step; of 1x1 convolutions as well. With those, the jobs compute all channels.
    threads : int

    Returns
    -------
    jobs : JOB array
        Do not write to it: it is cached.
    """
    n, oh, ow = y_shape
    vectors, taps, lanes = packed_shape
    if n * oh * ow == 0:
        return make_jobs([])
    alone = multiplications == n * oh * ow * vectors * taps * lanes
    wanted = min(JOBS_PER_THREAD * threads, max(threads, multiplications // JOB_SIZE))
    # Neighboring jobs both fill the rows of the ring that they share.
    shared = max(0, window.extent[0] - window.strides[0])
    least = max(1, OVERLAP * shared // window.strides[0])
    bands = max(1, min(-(-wanted // n), oh // least))  # of an image
    rows = [
        (image * oh + begin, image * oh + end)
        for image in range(n)
        for begin, end in thread_pool.chunks(oh, oh // bands)
    ]
    parts = min(vectors, -(-wanted // len(rows))) if alone else 1
    return make_jobs(rows, thread_pool.chunks(vectors, vectors // parts))
