"""Direct convolution: register tiles that read the images in place, without im2col.

A register tile computes some output pixels (rows) of some channels (columns) at once. It knows the
geometry only by a table of offsets: for each of its pixels and each tap of the window, the position
of the input pixel; pixels outside the image are read from a row of zeros. Strides, dilation,
padding and any window size therefore cost no copy of the image (Dukhan, "The Indirect Convolution
Algorithm", 2019, https://arxiv.org/abs/1907.02129). Bias, residual addition and ReLU are applied
while the tile is in registers.

The kernel is packed once into panels: PANEL columns each, stored in the order in which register
tiles read them. This module packs kernels and divides a convolution into jobs; its loops are in
:mod:`minidl.kernels.compiled.gemm_loops`.

>>> import numpy as np
>>> from minidl.kernels.convolution.direct import pack_kernel
>>> packed = pack_kernel(np.ones((3, 3, 2, 5), "float32"))  # (groups, panels, 3 * 3 * 2, PANEL)
>>> packed.shape[:3], packed[0, 0, 0, :6].tolist()
((1, 1, 18), [1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
"""

from __future__ import annotations

import functools
import math

import numpy as np

from minidl.kernels.convolution.step_tables import make_jobs
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba
from minidl.kernels.runtime.memory import aligned

__all__ = ["divide_direct", "pack_kernel"]

BLOCK_BYTES = 3 * 2**17  # of the image, per job: a part of a core's second-level cache
JOB_SIZE = 2**23  # multiplications of the smallest useful job: about 50 microseconds
JOBS_PER_THREAD = 4
PACKED_NUMBERS = 2**16  # rows times panels that one task packs


def pack_kernel(w: np.ndarray, groups: int = 1) -> np.ndarray:
    """Return a kernel in panels: (groups, panels, KH * KW * C / groups, PANEL).

    Parameters
    ----------
    w : array of float32, shape (KH, KW, C / groups, K)
    groups : int
    """
    with importing_numba:
        from minidl.kernels.compiled.gemm_loops import pack_rows
        from minidl.kernels.compiled.gemm_tile import PANEL

    rows = np.ascontiguousarray(w).reshape(-1, w.shape[-1])
    columns = rows.shape[1] // groups
    packed = aligned((groups, -(-columns // PANEL), len(rows), PANEL), np.float32)
    chunks = thread_pool.chunks(packed.shape[1], -(-PACKED_NUMBERS // len(rows)))

    def task(i: int) -> None:
        group, chunk = divmod(i, len(chunks))
        pack_rows(rows, packed[group], group * columns, columns, *chunks[chunk])

    thread_pool.run(task, groups * len(chunks))
    return packed


@functools.lru_cache(maxsize=1024)
def divide_direct(
    x_shape: tuple[int, ...],
    packed_shape: tuple[int, ...],
    convolution: Convolution,
    threads: int,
) -> np.ndarray:
    """Divide a direct convolution into jobs, each some output pixels of some panels.

    The threads share the image or the kernel, whichever is larger, so that each reads less.

    Returns
    -------
    jobs : JOB array
        Do not write to it: it is cached.
    """
    with importing_numba:
        from minidl.kernels.compiled.gemm_tile import TALL

    oh, ow = convolution.output_size(*x_shape[1:3])
    pixels = x_shape[0] * oh * ow
    if pixels == 0:
        return make_jobs([])
    groups, panels, depth, width = packed_shape
    multiplications = pixels * depth * panels * width
    wanted = min(JOBS_PER_THREAD * threads, max(threads, multiplications // JOB_SIZE))
    image = 4 * math.prod(x_shape)
    longest = max(2 * TALL, BLOCK_BYTES // max(1, image // pixels // groups))
    share_kernel = 4 * math.prod(packed_shape) > image and panels >= wanted
    if not share_kernel:
        longest = min(longest, -(-pixels // wanted))
    blocks = _whole_tiles(pixels, longest, TALL)
    parts = wanted if share_kernel else min(panels, -(-threads // (len(blocks) * groups)))
    return make_jobs(blocks, thread_pool.chunks(panels, -(-panels // parts)), groups)


def _whole_tiles(pixels: int, longest: int, tile: int) -> list[tuple[int, int]]:
    """Cut pixels into blocks of about `longest`, all but the last of whole register tiles."""
    chunks = thread_pool.chunks(-(-pixels // tile), max(1, round(longest / tile)))
    return [(tile * begin, min(tile * end, pixels)) for begin, end in chunks]
