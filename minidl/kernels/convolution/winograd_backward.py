"""Gradients of a Winograd convolution: the exact adjoint of its forward pass.

With V = B' d B, M = V U and y = A' M A (see :mod:`minidl.kernels.convolution.winograd`), the
gradients pass back through the same three steps at the same cost:

    dM = A dy A'        dU = V' dM   (per tap)        dV = dM U'   (per tap)
    dw = G' dU G        dd = B dV B', added where the 6x6 patches of two tiles overlap

One pass over the tiles computes both.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> x, w, dy = (np.ones(shape, "float32") for shape in ((1, 3, 3, 1), (3, 3, 1, 1), (1, 3, 3, 1)))
>>> dx, dw, dbias = convolve_winograd_backward(x, w, dy, Window((3, 3), padding="same"))
>>> dx[0, :, :, 0].round(4)
array([[4., 6., 4.],
       [6., 9., 6.],
       [4., 6., 4.]], dtype=float32)
>>> dw[:, :, 0, 0].round(4)
array([[4., 6., 4.],
       [6., 9., 6.],
       [4., 6., 4.]], dtype=float32)
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.convolution.winograd import (
    KERNEL_CHUNK,
    tile_grid,
    tile_scratch,
    transform_kernel,
    transformed_shape,
)
from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba

__all__ = ["convolve_winograd_backward"]

TILES_PER_BLOCK = 224  # twice as many as forward, because each block costs a pass over dU
TAPS = 36
SUM_BYTES = 2**24  # of the sums of dU


def convolve_winograd_backward(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray,
    window: Window,
    relu_output: np.ndarray | None = None,
    need_dx: bool = True,
    need_dw: bool = True,
    with_bias: bool = True,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return the gradients ``(dx, dw, dbias)``, None for those not needed.

    Parameters
    ----------
    x : array of float32, C-contiguous, shape (N, H, W, C)
        Without `need_dw` only its shape is read.
    w : array of float32, shape (3, 3, C, K)
    dy : array of float32, C-contiguous, shape (N, OH, OW, K)
        Gradient of the output.
    window : Window
        3x3, stride and dilation 1.
    relu_output : array of float32, C-contiguous, shape (N, OH, OW, K), optional
        The output after a fused ReLU. The gradient of the ReLU is then applied to `dy` first.
    need_dx, need_dw : bool
    with_bias : bool
        Whether the convolution has a bias; dbias is None otherwise.
    """
    with importing_numba:
        from minidl.kernels.compiled.gemm_loops import correlate_taps, multiply_taps
        from minidl.kernels.compiled.winograd_loops import (
            add_input_gradient,
            transform_gradient,
            transform_input,
        )

    c, k = w.shape[2:]
    grid = tile_grid(x.shape, window)
    tiles_per_image = grid[0] * grid[1]
    masked = relu_output is not None
    y = dy if relu_output is None else relu_output  # not read without a ReLU
    dx = np.empty(x.shape, x.dtype) if need_dx else None
    shape = transformed_shape(w, transposed=True)  # (36, panels of C, K, PANEL)
    width = shape[3]
    u = None
    if need_dx:
        u = transform_kernel(w, thread_pool.scratch("u", shape, w.dtype), transposed=True)
    shards = _image_spans(len(x), tiles_per_image, c, k)
    parts = _panel_parts(-(-c // width), len(shards))
    tasks = len(shards) * len(parts) if len(x) else 0
    sums = len(shards) if need_dw and tasks else 0
    du_of = thread_pool.scratch("winograd du", (sums, TAPS, c, k), x.dtype)
    dbias_of = np.zeros((len(shards), k), x.dtype)

    def task(i: int) -> None:
        shard, panels = i // len(parts), parts[i % len(parts)]
        channels = panels[0] * width, min(panels[1] * width, c)
        first, last = (image * tiles_per_image for image in shards[shard])
        for begin, end in thread_pool.chunks(last - first, TILES_PER_BLOCK):
            count, tiles = end - begin, (first + begin, first + end)
            dm = tile_scratch("m", count, TAPS * k)
            transform_gradient(dy, y, dm, masked, tiles, grid)
            if need_dw:
                v = tile_scratch("v", count, TAPS * (channels[1] - channels[0]))
                transform_input(x, v, channels, tiles, grid)
                correlate_taps(v, dm, du_of[shard], count, channels, begin > 0)
                if with_bias and panels[0] == 0:  # tap (1, 1) of A dy A' is the sum of the tile
                    dbias_of[shard] += dm[:count, 7 * k : 8 * k].sum(axis=0)
            if need_dx:
                dv = tile_scratch("v", count, TAPS * (panels[1] - panels[0]) * width)
                multiply_taps(dm, u, dv, count, panels)
                add_input_gradient(dv, dx, panels, tiles, grid)

    thread_pool.run(task, tasks)
    if not need_dw:
        return dx, None, None
    return dx, _kernel_gradient(du_of), dbias_of.sum(axis=0) if with_bias else None


def _image_spans(images: int, tiles: int, c: int, k: int) -> list[tuple[int, int]]:
    """Return the shards of images, `tiles` in each image, that have a sum dU of their own.

    A dU costs a pass over it for each block of tiles, which takes long for few tiles.
    """
    if images * tiles <= c:
        return [(0, images)]
    smallest = -(-2 * TILES_PER_BLOCK // max(1, tiles))
    return thread_pool.spans(images, smallest, SUM_BYTES // (4 * TAPS * c * k))


def _panel_parts(panels: int, shards: int) -> list[tuple[int, int]]:
    """Return parts of the input channels' panels; each shard and part together are a task.

    Two tasks share neither pixels of dx nor sums of dU, so the parts may depend on the number of
    threads. The tasks of one shard all compute the same dM. Therefore the panels are divided only
    if there are more threads than shards.
    """
    parts = -(-thread_pool.get_num_threads() // shards)
    return thread_pool.chunks(panels, -(-panels // parts))


def _kernel_gradient(du_of: np.ndarray) -> np.ndarray:
    """Return ``dw = G' dU G`` (3, 3, C, K), dU being the sum over the shards."""
    with importing_numba:
        from minidl.kernels.compiled.winograd_loops import add_kernel_gradient

    _, _, c, k = du_of.shape
    dw = np.zeros((9, c * k), du_of.dtype)
    chunks = thread_pool.chunks(c * k, KERNEL_CHUNK)

    def task(i: int) -> None:
        for du in du_of:
            add_kernel_gradient(du.reshape(TAPS, -1), dw, *chunks[i])

    thread_pool.run(task, len(chunks))
    return dw.reshape(3, 3, c, k)
