"""Convolution of any kind without im2col: register tiles that read the image where it lies.

A tile computes some output pixels (rows) and channels (columns) at once. All that it needs to know
of the geometry is a table of offsets: where, for each of its pixels and each tap of the window, the
input pixel begins; outside the image that is a row of zeros. So strides, dilation, padding and any
window cost no copy of the image (Dukhan, "The Indirect Convolution Algorithm", 2019), and bias,
addition and ReLU happen while the tile is still in registers.

The kernel is laid out once in panels, in the order in which tiles read it.

>>> import numpy as np
>>> from minidl.kernels.convolution.direct import convolve_direct, pack_kernel
>>> from minidl.kernels.geometry import Convolution
>>> x, w = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 5), "float32")
>>> convolution = Convolution((3, 3), padding="same")
>>> convolve_direct(x, pack_kernel(w), None, convolution, channels=5)[0, :, :, 0]
array([[ 8., 12., 12.,  8.],
       [12., 18., 18., 12.],
       [12., 18., 18., 12.],
       [ 8., 12., 12.,  8.]], dtype=float32)
"""

from __future__ import annotations

import functools
import math

import numpy as np

from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba
from minidl.kernels.runtime.memory import aligned

__all__ = ["convolve_direct", "layout", "pack_kernel", "padded_bias"]

BLOCK_BYTES = 3 * 2**17  # of the image, per job: a part of a core's second-level cache
JOB_SIZE = 2**23  # multiplications that are worth a job of their own: some 50 microseconds
JOBS_PER_THREAD = 4


def pack_kernel(w: np.ndarray, groups: int = 1) -> np.ndarray:
    """Return a kernel as (groups, panels, KH * KW * C / groups, PANEL); see :mod:`.tiles`.

    Parameters
    ----------
    w : (KH, KW, C / groups, K), float32
    """
    _check_float32(w)
    with importing_numba:
        from minidl.kernels.compiled.gemm_loops import pack_rows
        from minidl.kernels.compiled.gemm_tile import PANEL

    rows = np.ascontiguousarray(w).reshape(-1, w.shape[-1])
    columns = rows.shape[1] // groups
    packed = aligned((groups, -(-columns // PANEL), len(rows), PANEL), np.float32)
    jobs = [
        (group, *span)
        for group in range(groups)
        for span in thread_pool.chunks(packed.shape[1], -(-(2**16) // len(rows)))
    ]

    def task(i: int) -> None:
        group, begin, end = jobs[i]
        pack_rows(rows, packed[group], group * columns, columns, begin, end)

    thread_pool.run(task, len(jobs))
    return packed


def convolve_direct(
    x: np.ndarray, packed: np.ndarray, bias: np.ndarray | None, convolution: Convolution,
    channels: int, relu: bool = False, residual: np.ndarray | None = None,
    out: np.ndarray | None = None, channel: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return ``relu(x * w + bias + residual)`` in float32.

    Parameters
    ----------
    x : (N, H, W, C)
    packed : array
        The kernel as :func:`pack_kernel` returns it.
    bias : (K,) or None
    channels : int
        K.
    relu : bool
        Cut negative outputs off.
    residual : (N, OH, OW, K), contiguous, optional
        Added before the ReLU. It may be `out` itself, if that has K channels.
    out : (N, OH, OW, at least K), contiguous, optional
        Where to write: into its channels ``channel : channel + K``.

    Returns
    -------
    (N, OH, OW, K), or `out`

    Raises
    ------
    TypeError
        For numbers other than float32: register tiles hold nothing else.
    """
    _check_float32(x, packed)
    with importing_numba:
        from minidl.kernels.compiled.gemm_loops import convolve

    x = np.ascontiguousarray(x)
    threads = thread_pool.get_num_threads()
    (oh, ow), geometry, jobs = layout(x.shape, packed.shape, convolution, threads)
    if out is None:
        out = np.empty((len(x), oh, ow, channels), np.float32)
    groups, panels, _, width = packed.shape
    bias = padded_bias(bias, groups, channels, panels * width)
    has_residual = residual is not None
    added = (residual if has_residual else out).reshape(-1, channels if has_residual else 1)
    rows = out.reshape(-1, out.shape[-1])  # (N*OH*OW, K or more)
    zeros = np.zeros(convolution.kernel_size[1] * x.shape[3] // groups, np.float32)
    next_job = np.zeros(1, np.int64)

    def task(i: int) -> None:
        convolve(
            x, zeros, packed, bias, added, rows, geometry, jobs, next_job, channels // groups,
            channel, relu, has_residual,
        )  # fmt: skip

    # Threads take jobs inside the kernel, as taking them in Python needs the GIL each time.
    thread_pool.run(task, min(threads, len(jobs)))
    return out


def _check_float32(*arrays: np.ndarray) -> None:
    for array in arrays:
        if array.dtype != np.float32:
            raise TypeError(
                f"direct convolution: expected float32, received {array.dtype}; "
                "the algorithm 'im2col' computes in any precision"
            )


def padded_bias(bias, groups: int, channels: int, width: int) -> np.ndarray:
    """Return a bias, or zeros, as (groups, width): as wide as a group's panels."""
    padded = np.zeros((groups, width), np.float32)
    if bias is not None:
        padded[:, : channels // groups] = bias.reshape(groups, -1)
    return padded


@functools.lru_cache(maxsize=1024)
def layout(x_shape, packed_shape, convolution: Convolution, threads: int):
    """Return the output's size, what the kernels need to know of the window, and the jobs.

    Both are arrays of integers. A job is (group, first, last, begin, end): some output pixels of
    some panels.
    """
    size = convolution.output_size(*x_shape[1:3])
    top, _, left, _ = convolution.pads(*x_shape[1:3])
    geometry = np.array(
        [
            *size, *convolution.kernel_size, *convolution.strides, *convolution.dilation,
            top, left, x_shape[3] // convolution.groups,
        ]
    )  # fmt: skip
    blocks, parts = _blocks(x_shape[0] * size[0] * size[1], x_shape, packed_shape, threads)
    groups = range(packed_shape[0])
    jobs = [(group, *block, *part) for group in groups for block in blocks for part in parts]
    return size, geometry, np.array(jobs, np.int64).reshape(-1, 5)


def _blocks(rows: int, x_shape, packed_shape, threads: int) -> tuple[list, list]:
    """Return blocks of output pixels and parts of the panels: each pair is a job.

    The threads share out whichever is larger, the image or the kernel, so that each reads less.
    """
    with importing_numba:
        from minidl.kernels.compiled.gemm_tile import TALL

    if rows == 0:
        return [], []
    groups, panels, depth, width = packed_shape
    size = rows * depth * panels * width
    wanted = min(JOBS_PER_THREAD * threads, max(threads, size // JOB_SIZE))
    image = 4 * math.prod(x_shape)
    at_most = max(2 * TALL, BLOCK_BYTES // max(1, image // rows // groups))
    if 4 * math.prod(packed_shape) > image and panels >= wanted:
        return _multiples(rows, at_most, TALL), thread_pool.chunks(panels, -(-panels // wanted))
    blocks = _multiples(rows, min(at_most, -(-rows // wanted)), TALL)
    missing = max(1, min(panels, -(-threads // (len(blocks) * groups))))
    return blocks, thread_pool.chunks(panels, -(-panels // missing))


def _multiples(length: int, at_most: int, unit: int) -> list[tuple[int, int]]:
    """Cut a range into spans of whole units, all but the last, that are about `at_most` long."""
    units = -(-length // unit)
    spans = thread_pool.chunks(units, max(1, round(at_most / unit)))
    return [(unit * a, min(unit * b, length)) for a, b in spans]
