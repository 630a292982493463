"""Winograd's algorithm: convolutions at stride 1 with a quarter to a third of the multiplications.

The output is cut into tiles. For a 3x3 kernel they are of 4x4 pixels, and each sees 6x6 input
pixels d: F(4x4, 3x3). With fixed small matrices A, B and G (made in
:mod:`minidl.kernels.convolution.winograd_matrices`), ' for transposed and * element by element,
kernel g gives

    y = A' [ (G g G') * (B' d B) ] A

and the sum over the input channels goes inside the brackets (Lavin and Gray, 2015). There it makes
each of the 36 elements ("taps") a matrix product (tiles, C) @ (C, K). Tiles go through in blocks,
so that a block's V = B' d B and M = V U are still in cache when they are needed.

A kernel of one row or one column is a line of 1x4 pixels that sees 1x10: F(4, 7) takes 10
multiplications instead of 28.

The price is rounding: float32 results are off by about 1e-5 of the largest output, some twenty
times as much as with im2col.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> from minidl.kernels.convolution.winograd import convolve_winograd, transform_kernel
>>> x, w = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 5))
>>> y = convolve_winograd(x, transform_kernel(w), None, Window((3, 3), padding="same"), 5)
>>> y[0, :, :, 0].round(9)
array([[ 8., 12., 12.,  8.],
       [12., 18., 18., 12.],
       [12., 18., 18., 12.],
       [ 8., 12., 12.,  8.]])
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba
from minidl.kernels.runtime.memory import CACHE_LINE, aligned

__all__ = [
    "SPARE_BYTES", "TILES", "Tiles", "convolve_winograd", "multiply", "taps_first", "tasks",
    "tile_grid", "tile_scratch", "tile_scratch_shape", "transform_kernel", "transformed_shape",
    "winograd_is_faster",
]  # fmt: skip


class Tiles(NamedTuple):
    """The pixels that a tile reads and those that it writes, each (down, across)."""

    taps: tuple[int, int]
    outputs: tuple[int, int]


TILES = {  # by kernel size
    (3, 3): Tiles((6, 6), (4, 4)),
    (1, 7): Tiles((1, 10), (1, 4)),
    (7, 1): Tiles((10, 1), (4, 1)),
}

# Fewer read U too often, more leave the cache. Both weigh the same for 256 to 768 channels in and
# out together: there it is half as many.
TILES_PER_BLOCK = 112  # eight register tiles; of 36 taps
SPARE_BYTES = 3 * CACHE_LINE  # of each tile
KERNEL_SPAN = 2**14  # (C, K) pairs per task of the kernel's transform: 2.25 MiB of U

# What transforms cost, in multiplications of the product: measured with AVX-512.
PER_NUMBER = 36  # of V and M, and of U beyond the kernel's own
PER_KERNEL_NUMBER = 70  # of U, where it is made for the call
PER_CALL = 8_000_000


def winograd_is_faster(
    n: int, oh: int, ow: int, c: int, k: int, kernel_size=(3, 3), backward: bool = False,
    kept: bool = True,
) -> bool:  # fmt: skip
    """Say whether Winograd beats the alternative for n images, oh x ow outputs, C and K channels.

    It does, by up to two times and a half, where it saves more multiplications than its transforms
    cost: not where tiles hang over the edge, where there are few channels, and where few tiles
    share the cost of U, several times as large as the kernel, above all if U is not `kept` from an
    earlier call. `backward` the alternative is slower.

    >>> winograd_is_faster(1, 56, 56, 64, 64), winograd_is_faster(1, 7, 7, 512, 512)
    (True, False)
    """
    taps, outputs = TILES[kernel_size]
    tiles = n * -(-oh // outputs[0]) * -(-ow // outputs[1])
    if backward:
        return tiles >= 16 and n * oh * ow >= 8 * tiles and c >= 16 and k >= 16
    weights, count = math.prod(kernel_size), math.prod(taps)
    computed = -(-tiles // 7) * 7  # seven are a short register tile
    saved = (weights * n * oh * ow - count * computed) * c * k
    cost = PER_CALL + PER_NUMBER * (count * tiles * (c + k) + (count - weights) * c * k)
    if not kept:
        cost += PER_KERNEL_NUMBER * count * c * k
    return saved > cost


def transform_kernel(
    w: np.ndarray, out: np.ndarray | None = None, transposed: bool = False
) -> np.ndarray:
    """Return ``U = G w G'`` of a kernel (KH, KW, C, K) as (taps, panels, C, width).

    It is computed in float64, and laid out as
    :func:`~minidl.kernels.convolution.direct.pack_kernel` lays out each tap; in float64 there is
    one panel, of all K columns. `transposed` exchanges C and K.

    >>> transform_kernel(np.ones((3, 3, 1, 1)))[:6, 0, 0, 0].round(4)
    array([ 0.0625, -0.125 , -0.0417,  0.0729,  0.0312,  0.25  ])
    """
    with importing_numba:
        from minidl.kernels.compiled import winograd_loops as transformed

    u = aligned(transformed_shape(w, transposed), w.dtype) if out is None else out
    _, panels, rows, width = u.shape
    weights = np.ascontiguousarray(w).reshape(-1, *w.shape[2:])
    spans = thread_pool.chunks(rows, -(-KERNEL_SPAN // (panels * width)))
    thread_pool.run(
        lambda i: transformed.transform_kernel(weights, u, *spans[i], transposed), len(spans)
    )
    return u


def transformed_shape(w: np.ndarray, transposed: bool = False) -> tuple[int, int, int, int]:
    """Return the shape of :func:`transform_kernel`'s result."""
    rows, columns = w.shape[:1:-1] if transposed else w.shape[2:]
    width = columns
    if w.dtype == np.float32:
        with importing_numba:
            from minidl.kernels.compiled.gemm_tile import PANEL

        width = PANEL
    return math.prod(TILES[w.shape[:2]].taps), -(-columns // width), rows, width


def convolve_winograd(
    x: np.ndarray, u: np.ndarray, bias: np.ndarray | None, window: Window, channels: int,
    relu: bool = False, residual: np.ndarray | None = None, out: np.ndarray | None = None,
    offset: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return ``relu(x * w + bias + residual)`` for one of the kernel sizes in `TILES`.

    Parameters
    ----------
    x : (N, H, W, C), contiguous
    u : (taps, panels, C, width)
        The kernel as :func:`transform_kernel` returns it.
    bias : (K,) or None
    window : Window
        Stride and dilation 1.
    channels : int
        K.
    relu : bool
        Cut negative outputs off in the same pass.
    residual : (N, OH, OW, K), contiguous, optional
        Added before the ReLU. It may be `out` itself, if that has K channels.
    out : (N, OH, OW, at least K), contiguous, optional
        Where to write: its channels ``offset : offset + K``. The others stay as they are.

    Returns
    -------
    `out`, or a new array (N, OH, OW, K)
    """
    with importing_numba:
        from minidl.kernels.compiled.winograd_loops import transform_input, transform_output

    count, panels, c, width = u.shape
    taps, outputs = TILES[window.kernel_size]
    oh, ow = window.output_size(*x.shape[1:3])
    if out is None:
        out = np.empty((len(x), oh, ow, channels), x.dtype)
    bias = np.zeros(channels, x.dtype) if bias is None else bias
    has_residual = residual is not None
    residual = residual if has_residual else out  # a kernel argument must be some array
    grid = tile_grid(x.shape, window, outputs)
    blocks, parts = tasks(
        len(x) * grid[0] * grid[1], count, c, panels, width, thread_pool.get_num_threads()
    )

    def task(i: int) -> None:
        first, last = blocks[i // len(parts)]
        begin, end = parts[i % len(parts)]
        tiles, stride = last - first, (end - begin) * width
        v = tile_scratch("v", tiles, count * c, x.dtype)
        m = tile_scratch("m", tiles, count * stride, x.dtype)
        transform_input(x, v, 0, c, first, last, grid, taps, outputs)
        multiply(v, u, m, tiles, begin, end)
        transform_output(
            m, stride, out, bias, residual, offset, begin * width, min(end * width, channels),
            first, last, grid, outputs, relu, has_residual,
        )  # fmt: skip

    thread_pool.run(task, len(blocks) * len(parts))
    return out


def tile_grid(x_shape, window: Window, outputs) -> tuple[int, int, int, int]:
    """Return how many tiles an image has (down, across) and its padding (top, left)."""
    oh, ow = window.output_size(*x_shape[1:3])
    top, _, left, _ = window.pads(*x_shape[1:3])
    return -(-oh // outputs[0]), -(-ow // outputs[1]), top, left


def tile_scratch(key: str, tiles: int, size: int, dtype) -> np.ndarray:
    """Return this thread's buffer for the taps of a block, `size` numbers for each tile."""
    return thread_pool.scratch(f"winograd {key}", tile_scratch_shape(tiles, size, dtype), dtype)


def tile_scratch_shape(tiles: int, size: int, dtype) -> tuple[int, int]:
    """Return (at least tiles, at least size).

    All taps of a tile lie together, as they are written together: few pages at a time. There is
    room for whole register tiles, and three cache lines more for each tile: to read beyond, and
    to keep tiles from lying a power of two apart, where they would evict one another from the
    first-level cache.
    """
    if dtype == np.float32:
        with importing_numba:
            from minidl.kernels.compiled.gemm_tile import TALL

        tiles = -(-tiles // TALL) * TALL
    return tiles, size + SPARE_BYTES // np.dtype(dtype).itemsize


def taps_first(tiles_of: np.ndarray, tiles: int, taps: int, channels: int) -> np.ndarray:
    """Return what lies in a buffer of :func:`tile_scratch` as (taps, tiles, channels)."""
    return tiles_of[:tiles, : taps * channels].reshape(tiles, taps, channels).transpose(1, 0, 2)


def multiply(v: np.ndarray, u: np.ndarray, m: np.ndarray, tiles: int, begin: int, end: int) -> None:
    """Write ``M = V U`` for `tiles` tiles and U's panels begin ... end - 1."""
    count, _, c, width = u.shape
    if u.dtype == np.float32:
        with importing_numba:
            from minidl.kernels.compiled.gemm_loops import multiply_taps

        multiply_taps(v, u, m, tiles, begin, end)
        return
    taps_first(m, tiles, count, width)[...] = taps_first(v, tiles, count, c) @ u[:, 0]


def tasks(
    tiles: int, taps: int, c: int, panels: int, width: int, threads: int
) -> tuple[list, list]:
    """Return blocks of tiles and parts of the panels: each pair is a task.

    Where there are fewer blocks than threads, the threads share out the panels: each reads
    its part of U, and reading U is what takes the time then.
    """
    at_most = TILES_PER_BLOCK * 36 // taps
    if 256 <= c + panels * width <= 768:
        at_most //= 2
    blocks = max(1, -(-tiles // at_most))
    if blocks < threads:
        return thread_pool.chunks(tiles, at_most), thread_pool.chunks(
            panels, -(-panels * blocks // threads)
        )
    blocks = -(-blocks // threads) * threads  # none idle at the end
    return thread_pool.chunks(tiles, -(-tiles // blocks)), [(0, panels)]
