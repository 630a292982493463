"""Winograd's F(4x4, 3x3): 3x3 convolutions at stride 1 with a quarter of the multiplications.

The output is cut into tiles of 4x4 pixels; each sees 6x6 input pixels d. With fixed small
matrices A, B and G (Lavin and Gray, 2015), ' for transposed and * element by element, kernel
g makes of it

    y = A' [ (G g G') * (B' d B) ] A

and the sum over the input channels goes inside the brackets. There it makes each of the 36
elements ("taps") a matrix product (tiles, C) @ (C, K), which BLAS computes. Tiles go through
in blocks, so that a block's V = B' d B and M = V U are still in cache when they are needed.

The price is rounding: float32 results are off by about 1e-5 of the largest output, some twenty
times as much as with im2col.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> from minidl.kernels.winograd import convolve_winograd, transform_kernel
>>> x, w = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 5))
>>> y = convolve_winograd(x, transform_kernel(w), None, Window((3, 3), padding="same"), 5)
>>> y[0, :, :, 0].round(9)
array([[ 8., 12., 12.,  8.],
       [12., 18., 18., 12.],
       [12., 18., 18., 12.],
       [ 8., 12., 12.,  8.]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels import parallel
from minidl.kernels.geometry import Window
from minidl.kernels.jit import importing_numba, jit
from minidl.kernels.memory import LINE, aligned

__all__ = [
    "convolve_winograd", "multiply", "taps_first", "tile_grid", "tile_scratch", "transform_kernel",
    "transformed_shape", "winograd_pays",
]  # fmt: skip

# Fewer read U too often, more leave the cache. Both weigh the same for 256 to 768 channels in and
# out together: there it is half as many.
TILES_PER_BLOCK = 112  # eight register tiles
KERNEL_SPAN = 2**14  # (C, K) pairs per task of the kernel's transform: 2.25 MiB of U


def winograd_pays(n: int, oh: int, ow: int, c: int, k: int, backward: bool = False) -> bool:
    """Say whether Winograd beats im2col for n images, oh x ow outputs, C and K channels.

    It does nearly always, by up to three times. It does not where tiles hang over the edge so
    much that half of the saving is gone (5x5 outputs take the 8x8 pixels of four tiles), where
    few tiles share the cost of U, four times the size of the kernel (7x7 outputs of fewer than four
    images, or of ten where U leaves the cache; `backward`, where the alternative is slower, of
    four), and where there are too few channels to fill a vector register.

    >>> winograd_pays(1, 56, 56, 64, 64), winograd_pays(1, 7, 7, 512, 512)
    (True, False)
    """
    tiles = n * -(-oh // 4) * -(-ow // 4)
    enough = 40 if c * k > 2**17 and not backward else 16
    return tiles >= enough and n * oh * ow >= 8 * tiles and c >= 16 and k >= 16


def transform_kernel(
    w: np.ndarray, out: np.ndarray | None = None, transposed: bool = False
) -> np.ndarray:
    """Return ``U = G w G'`` of a kernel (3, 3, C, K) as (36, panels, C, width).

    It is computed in float64, and laid out as :func:`~minidl.kernels.direct.pack_kernel` lays
    out each tap; in float64 there is one panel, of all K columns. `transposed` exchanges C and K.

    >>> transform_kernel(np.ones((3, 3, 1, 1)))[:6, 0, 0, 0].round(4)
    array([ 0.0625, -0.125 , -0.0417,  0.0729,  0.0312,  0.25  ])
    """
    u = aligned(transformed_shape(w, transposed), w.dtype) if out is None else out
    _, panels, rows, width = u.shape
    taps = np.ascontiguousarray(w).reshape(9, *w.shape[2:])
    spans = parallel.spans(rows, -(-KERNEL_SPAN // (panels * width)))
    parallel.run(lambda i: _transform_kernel(taps, u, *spans[i], transposed), len(spans))
    return u


def transformed_shape(w: np.ndarray, transposed: bool = False) -> tuple[int, int, int, int]:
    """Return the shape of :func:`transform_kernel`'s result."""
    rows, columns = w.shape[:1:-1] if transposed else w.shape[2:]
    width = columns
    if w.dtype == np.float32:
        with importing_numba:
            from minidl.kernels.tiles import PANEL

        width = PANEL
    return 36, -(-columns // width), rows, width


def convolve_winograd(
    x: np.ndarray, u: np.ndarray, bias: np.ndarray | None, window: Window, channels: int,
    relu: bool = False, residual: np.ndarray | None = None, out: np.ndarray | None = None,
    offset: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return ``relu(x * w + bias + residual)`` for a 3x3 kernel w at stride 1.

    Parameters
    ----------
    x : (N, H, W, C), contiguous
    u : (36, panels, C, width)
        The kernel as :func:`transform_kernel` returns it.
    bias : (K,) or None
    window : Window
        3x3, stride and dilation 1, padding "same" or "valid".
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
        from minidl.kernels.transformed import transform_input, transform_output

    c, width = u.shape[2:]
    oh, ow = window.output_size(*x.shape[1:3])
    if out is None:
        out = np.empty((len(x), oh, ow, channels), x.dtype)
    bias = np.zeros(channels, x.dtype) if bias is None else bias
    has_residual = residual is not None
    residual = residual if has_residual else out  # a kernel argument must be some array
    grid = tile_grid(x, window)
    blocks, parts = _tasks(len(x) * grid[0] * grid[1], c, u.shape[1], width)

    def task(i: int) -> None:
        first, last = blocks[i // len(parts)]
        begin, end = parts[i % len(parts)]
        tiles = last - first
        v = tile_scratch("v", tiles, c, x.dtype)
        m = tile_scratch("m", tiles, (end - begin) * width, x.dtype)
        transform_input(x, v, 0, c, first, last, *grid)
        multiply(v, u, m, tiles, begin, end)
        transform_output(
            m, (end - begin) * width, out, bias, residual, offset, begin * width,
            min(end * width, channels), first, last, *grid[:2], relu, has_residual,
        )  # fmt: skip

    parallel.run(task, len(blocks) * len(parts))
    return out


def tile_grid(x: np.ndarray, window: Window) -> tuple[int, int, int, int]:
    """Return how many tiles an image has (down, across) and its padding (top, left)."""
    oh, ow = window.output_size(*x.shape[1:3])
    top, _, left, _ = window.pads(*x.shape[1:3])
    return -(-oh // 4), -(-ow // 4), top, left


def tile_scratch(key: str, tiles: int, channels: int, dtype) -> np.ndarray:
    """Return this thread's buffer for a block's taps: (at least tiles, at least 36 * channels).

    All taps of a tile lie together, as they are written together: few pages at a time. There is
    room for whole register tiles, and three cache lines more for each tile: to read beyond, and
    to keep tiles from lying a power of two apart, where they would evict one another from the
    first-level cache.
    """
    if dtype == np.float32:
        with importing_numba:
            from minidl.kernels.tiles import TALL

        tiles = -(-tiles // TALL) * TALL
    spare = 3 * LINE // np.dtype(dtype).itemsize
    return parallel.scratch(f"winograd {key}", (tiles, 36 * channels + spare), dtype)


def taps_first(tiles_of: np.ndarray, tiles: int, channels: int) -> np.ndarray:
    """Return what lies in a buffer of :func:`tile_scratch` as (36, tiles, channels)."""
    return tiles_of[:tiles, : 36 * channels].reshape(tiles, 36, channels).transpose(1, 0, 2)


def multiply(v: np.ndarray, u: np.ndarray, m: np.ndarray, tiles: int, begin: int, end: int) -> None:
    """Write ``M = V U`` for `tiles` tiles and U's panels begin ... end - 1."""
    c, width = u.shape[2:]
    if u.dtype == np.float32:
        with importing_numba:
            from minidl.kernels.tiled import multiply_taps

        multiply_taps(v, u, m, tiles, begin, end)
        return
    taps_first(m, tiles, width)[...] = taps_first(v, tiles, c) @ u[:, 0]


def _tasks(tiles: int, c: int, panels: int, width: int) -> tuple[list, list]:
    """Return blocks of tiles and parts of the panels: each pair is a task.

    Where there are fewer blocks than threads, the threads share out the panels: each reads
    its part of U, and reading U is what takes the time then.
    """
    threads = parallel.get_num_threads()
    at_most = TILES_PER_BLOCK // 2 if 256 <= c + panels * width <= 768 else TILES_PER_BLOCK
    blocks = max(1, -(-tiles // at_most))
    if blocks < threads:
        return parallel.spans(tiles, at_most), parallel.spans(
            panels, -(-panels * blocks // threads)
        )
    blocks = -(-blocks // threads) * threads  # none idle at the end
    return parallel.spans(tiles, -(-tiles // blocks)), [(0, panels)]


# What lets LLVM vectorise the innermost loops, over channels:
# - Indices of channels are unsigned. A signed one might be negative, and count from the end.
# - Constants have the arrays' dtype. An integer times a float32 would be a float64.
# - Channels go through in runs of 128: a tile's scratch `d`, with its constant strides, stays in
#   first-level cache, and needs no check that it overlaps nothing.
# - The last pass runs over columns j. LLVM checks for overlap what the whole loop over j writes
#   from each of the six statements: taps j of row 0, of row 1, ... With i and j swapped those
#   would interleave, and the scalar loop be taken.


@jit
def _transform_kernel(w, u, begin, end, transposed):
    """U = G w G' in rows begin ... end - 1 of each panel; w is (9, C, K)."""
    g, d = np.empty((9, 128)), np.empty((18, 128))
    _, panels, rows, width = u.shape
    columns = w.shape[1] if transposed else w.shape[2]
    runs = u.reshape(36, panels, rows * width)
    for panel in range(np.uint64(panels)):
        for at in range(np.uint64(begin * width), np.uint64(end * width), np.uint64(128)):
            n = min(np.uint64(128), np.uint64(end * width) - at)
            row, within = at // np.uint64(width), at % np.uint64(width)
            for i in range(n):
                column = panel * np.uint64(width) + within
                for tap in range(9):
                    if column >= np.uint64(columns):  # beyond the last column
                        g[tap, i] = 0
                    elif transposed:
                        g[tap, i] = w[tap, column, row]
                    else:
                        g[tap, i] = w[tap, row, column]
                within += np.uint64(1)
                if within == np.uint64(width):
                    row, within = row + np.uint64(1), np.uint64(0)
            for i in range(3):
                for k in range(n):
                    a0, a1, a2 = g[3 * i, k], g[3 * i + 1, k], g[3 * i + 2, k]
                    s, p = (a0 + a2) * (1 / 6), a0 * (1 / 24) + a2 * (1 / 6)
                    d[6 * i, k] = a0 / 4
                    d[6 * i + 1, k] = -s - a1 * (1 / 6)
                    d[6 * i + 2, k] = -s + a1 * (1 / 6)
                    d[6 * i + 3, k] = p + a1 * (1 / 12)
                    d[6 * i + 4, k] = p - a1 * (1 / 12)
                    d[6 * i + 5, k] = a2
            for j in range(6):
                for k in range(n):
                    a0, a1, a2 = d[j, k], d[j + 6, k], d[j + 12, k]
                    s, p = (a0 + a2) * (1 / 6), a0 * (1 / 24) + a2 * (1 / 6)
                    runs[j, panel, at + k] = a0 / 4
                    runs[j + 6, panel, at + k] = -s - a1 * (1 / 6)
                    runs[j + 12, panel, at + k] = -s + a1 * (1 / 6)
                    runs[j + 18, panel, at + k] = p + a1 * (1 / 12)
                    runs[j + 24, panel, at + k] = p - a1 * (1 / 12)
                    runs[j + 30, panel, at + k] = a2
