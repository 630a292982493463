"""Winograd's algorithm: convolutions at stride 1 with a quarter to a third of the multiplications.

The output is cut into tiles. For a 3x3 kernel they have 4x4 pixels, and each reads 6x6 input
pixels d: F(4x4, 3x3). With fixed small matrices A, B and G (see
:mod:`minidl.kernels.convolution.winograd_matrices`), ' for transposed and * element by element,
kernel g gives

    y = A' [ (G g G') * (B' d B) ] A

The sum over the input channels moves inside the brackets (Lavin and Gray, 2015,
https://arxiv.org/abs/1509.09308). There it turns each of the 36 elements ("taps") into a matrix
product (tiles, C) @ (C, K). Tiles are processed in blocks, so that a block's V = B' d B and M = V U
are still in cache when they are read.

A kernel of one row or one column uses lines of 1x4 pixels that read 1x10: F(4, 7) takes 10
multiplications instead of 28.

The price is rounding: float32 results differ by about 1e-5 of the largest output, some twenty
times as much as with im2col. This module transforms kernels and divides a convolution into jobs;
its loops are in :mod:`minidl.kernels.compiled.winograd_loops`.

>>> import numpy as np
>>> from minidl.kernels.convolution.winograd import transform_kernel
>>> transform_kernel(np.ones((3, 3, 1, 1), "float32"))[:3, 0, 0, 0].round(4)
array([ 0.0625, -0.125 , -0.0417], dtype=float32)
"""

from __future__ import annotations

import functools
import math

import numpy as np

from minidl.kernels.convolution.step_tables import make_jobs
from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba
from minidl.kernels.runtime.memory import CACHE_LINE, aligned

__all__ = [
    "SPARE",
    "WINOGRAD_KERNELS",
    "divide_winograd",
    "tile_grid",
    "tile_scratch",
    "tile_shapes",
    "transform_kernel",
    "transformed_shape",
    "winograd_is_faster",
]

WINOGRAD_KERNELS = ((3, 3), (1, 7), (7, 1))

# Smaller blocks read U more often, larger ones do not fit into the cache. For 256 to 768 channels,
# input and output together, both effects balance at half of this.
TILES_PER_BLOCK = 112  # eight register tiles; of 36 taps
SPARE = 3 * CACHE_LINE // 4  # float32 numbers between the rows of V and of M
KERNEL_CHUNK = 2**14  # (C, K) pairs per task of the kernel's transform: 2.25 MiB of U

# Cost of the transforms in multiplications of the matrix products, measured with AVX-512.
PER_NUMBER = 36  # of V and M, and of U beyond the kernel's own
PER_KERNEL_NUMBER = 70  # of U, where it is computed for the call
PER_CALL = 8_000_000


def tile_shapes(kernel_size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the pixels that a tile reads and those that it writes, each (height, width).

    >>> tile_shapes((3, 3)), tile_shapes((1, 7))
    (((6, 6), (4, 4)), ((1, 10), (1, 4)))
    """
    (kh, kw), (down, across) = kernel_size, (4 if size > 1 else 1 for size in kernel_size)
    return (down + kh - 1, across + kw - 1), (down, across)


def winograd_is_faster(
    n: int,
    oh: int,
    ow: int,
    c: int,
    k: int,
    kernel_size: tuple[int, int] = (3, 3),
    backward: bool = False,
    transform_cached: bool = True,
) -> bool:
    """Estimate whether Winograd's algorithm beats the alternative, by up to two and a half times.

    It does where it saves more multiplications than its transforms cost. It does not where tiles
    extend over the edge, where there are few channels, or where few tiles share the cost of reading
    U, which is several times as large as the kernel. The alternative is slower backward.

    Parameters
    ----------
    n, oh, ow, c, k : int
        Number of images, output height and width, input and output channels.
    kernel_size : tuple of int
        One of `WINOGRAD_KERNELS`.
    backward : bool
        Whether the gradients are computed.
    transform_cached : bool
        Whether the kernel's transform is available from an earlier call.

    Examples
    --------
    >>> winograd_is_faster(1, 56, 56, 64, 64), winograd_is_faster(1, 7, 7, 512, 512)
    (True, False)
    """
    inputs, outputs = tile_shapes(kernel_size)
    tiles = n * -(-oh // outputs[0]) * -(-ow // outputs[1])
    if backward:
        return tiles >= 16 and n * oh * ow >= 8 * tiles and c >= 16 and k >= 16
    weights, taps = math.prod(kernel_size), math.prod(inputs)
    computed = -(-tiles // 7) * 7  # seven are a short register tile
    saved = (weights * n * oh * ow - taps * computed) * c * k
    cost = PER_CALL + PER_NUMBER * (taps * tiles * (c + k) + (taps - weights) * c * k)
    if not transform_cached:
        cost += PER_KERNEL_NUMBER * taps * c * k
    return saved > cost


def transform_kernel(
    w: np.ndarray, out: np.ndarray | None = None, transposed: bool = False
) -> np.ndarray:
    """Return ``U = G w G'`` of a kernel as (taps, panels, C, PANEL), computed in float64.

    Parameters
    ----------
    w : array of float32, shape (KH, KW, C, K)
    out : array, optional
        Receives the result; its shape is :func:`transformed_shape`'s.
    transposed : bool
        Whether to exchange C and K.

    Returns
    -------
    u : array of float32
        Each tap is laid out as :func:`~minidl.kernels.convolution.direct.pack_kernel` does it.
    """
    with importing_numba:
        from minidl.kernels.compiled.winograd_loops import transform_kernel as transform_rows

    u = aligned(transformed_shape(w, transposed), w.dtype) if out is None else out
    _, panels, rows, width = u.shape
    weights = np.ascontiguousarray(w).reshape(-1, *w.shape[2:])
    chunks = thread_pool.chunks(rows, -(-KERNEL_CHUNK // (panels * width)))
    thread_pool.run(lambda i: transform_rows(weights, u, chunks[i], transposed), len(chunks))
    return u


def transformed_shape(w: np.ndarray, transposed: bool = False) -> tuple[int, int, int, int]:
    """Return the shape (taps, panels, C, PANEL) of :func:`transform_kernel`'s result."""
    with importing_numba:
        from minidl.kernels.compiled.gemm_tile import PANEL

    rows, columns = w.shape[:1:-1] if transposed else w.shape[2:]
    inputs, _ = tile_shapes(w.shape[:2])
    return math.prod(inputs), -(-columns // PANEL), rows, PANEL


def tile_grid(x_shape: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Return (tiles down, tiles across, top, left, KH, KW) of an image.

    The first tile begins `top` pixels above and `left` pixels to the left of the image.
    """
    oh, ow = window.output_size(*x_shape[1:3])
    top, _, left, _ = window.pads(*x_shape[1:3])
    _, (down, across) = tile_shapes(window.kernel_size)
    return -(-oh // down), -(-ow // across), top, left, *window.kernel_size


@functools.lru_cache(maxsize=1024)
def divide_winograd(
    x_shape: tuple[int, ...], packed_shape: tuple[int, ...], window: Window, threads: int
) -> tuple[np.ndarray, int, int]:
    """Divide a Winograd convolution into jobs, each a block of tiles and some panels.

    With fewer blocks than threads, the threads share the panels: then each thread reads only its
    part of U, and reading U takes most of the time.

    Returns
    -------
    jobs : JOB array
        Do not write to it: it is cached.
    v_size, m_size : int
        Numbers of V and M of the largest job.
    """
    taps, panels, c, width = packed_shape
    down, across, *_ = tile_grid(x_shape, window)
    tiles = x_shape[0] * down * across
    longest = TILES_PER_BLOCK * 36 // taps
    if 256 <= c + panels * width <= 768:
        longest //= 2
    count, panels_each = max(1, -(-tiles // longest)), panels
    if count < threads:
        panels_each = -(-panels * count // threads)
    else:
        longest = -(-tiles // (-(-count // threads) * threads))  # no thread idles at the end
    blocks = thread_pool.chunks(tiles, longest)
    panel_chunks = thread_pool.chunks(panels, panels_each)
    most_tiles = max(last - first for first, last in blocks)
    most_columns = width * max(end - begin for begin, end in panel_chunks)
    v_size, m_size = (
        math.prod(_scratch_shape(most_tiles, taps * channels)) for channels in (c, most_columns)
    )
    return make_jobs(blocks, panel_chunks), v_size, m_size


def tile_scratch(key: str, tiles: int, size: int) -> np.ndarray:
    """Return this thread's buffer for the taps of a block, `size` numbers for each tile."""
    return thread_pool.scratch(f"winograd {key}", _scratch_shape(tiles, size), np.float32)


def _scratch_shape(tiles: int, size: int) -> tuple[int, int]:
    """Return (at least tiles, at least size).

    All taps of a tile are adjacent, because they are written together: this touches few pages at a
    time. Rows are added up to whole register tiles. SPARE numbers follow each row: kernels may read
    them, and they keep tiles from lying a power of two apart, where they would evict one another
    from the first-level cache.
    """
    with importing_numba:
        from minidl.kernels.compiled.gemm_tile import TALL

    return -(-tiles // TALL) * TALL, size + SPARE
