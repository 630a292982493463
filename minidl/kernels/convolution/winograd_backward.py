"""Both gradients of a Winograd convolution: the exact adjoint of its forward pass.

With V = B' d B, M = V U and y = A' M A (see :mod:`minidl.kernels.convolution.winograd`), the
gradients go back through the same three steps at the same cost:

    dM = A dy A'        dU = V' dM   (per tap)        dV = dM U'   (per tap)
    dw = G' dU G        dd = B dV B', added where the 6x6 patches of two tiles overlap

One pass over the tiles computes both.

>>> import numpy as np
>>> from minidl.kernels.geometry import Window
>>> x, w, dy = np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 1)), np.ones((1, 3, 3, 1))
>>> window = Window((3, 3), padding="same")
>>> dx, dw, dbias = convolve_winograd_backward(x, w, dy, window)
>>> dx[0, :, :, 0].round(9)
array([[4., 6., 4.],
       [6., 9., 6.],
       [4., 6., 4.]])
>>> dw[:, :, 0, 0].round(9)
array([[4., 6., 4.],
       [6., 9., 6.],
       [4., 6., 4.]])
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.convolution.winograd import (
    KERNEL_SPAN,
    multiply,
    taps_first,
    tile_grid,
    tile_scratch,
    transform_kernel,
    transformed_shape,
)
from minidl.kernels.geometry import Window
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba, jit

__all__ = ["convolve_winograd_backward"]

TILES_PER_BLOCK = 224  # twice the forward pass': each block costs a pass over dU


def convolve_winograd_backward(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, window: Window,
    relu_output: np.ndarray | None = None, need_dx: bool = True, need_dw: bool = True,
    with_bias: bool = True, out: np.ndarray | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:  # fmt: skip
    """Return the gradients ``(dx, dw, dbias)``, None for what is not needed.

    Parameters
    ----------
    x, window
        As in :func:`~minidl.kernels.convolution.winograd.convolve_winograd`. `x` may be anything
        with the input's shape and dtype where `need_dw` is False.
    w : (3, 3, C, K)
    dy : (N, OH, OW, K), contiguous
        Gradient of the output.
    relu_output : (N, OH, OW, K), contiguous, optional
        The output, where it went through the fused ReLU: its gradient is then taken here.
    need_dx, need_dw : bool
    with_bias : bool
        False where the convolution has no bias: dbias is then None.
    out : (N, H, W, C), contiguous, optional
        Where to write dx.
    """
    with importing_numba:
        from minidl.kernels.compiled.winograd_loops import (
            add_input_gradient,
            transform_gradient,
            transform_input,
        )

    c, k = w.shape[2:]
    grid = tile_grid(x.shape, window, (4, 4))
    per_image = grid[0] * grid[1]
    masked = relu_output is not None
    y = relu_output if masked else dy  # a kernel argument must be some array
    dx = (np.empty(x.shape, x.dtype) if out is None else out) if need_dx else None
    shape = transformed_shape(w, transposed=True)  # (36, panels of C, K, width)
    width = shape[3]
    u = None
    if need_dx:
        u = transform_kernel(w, thread_pool.scratch("u", shape, w.dtype), transposed=True)
    strands, parts = _tasks(len(x), len(x) * per_image, c, width)
    du_of = (
        thread_pool.scratch("winograd du", (len(strands), 36, c, k), x.dtype) if need_dw else None
    )
    dbias_of = np.zeros((len(strands), k), x.dtype)

    def task(i: int) -> None:
        strand, panels = i // len(parts), parts[i % len(parts)]
        begin, end = panels[0] * width, min(panels[1] * width, c)
        first_tile, last_tile = (n * per_image for n in strands[strand])
        for a, b in thread_pool.chunks(last_tile - first_tile, TILES_PER_BLOCK):
            first, last = first_tile + a, first_tile + b
            dm = tile_scratch("m", last - first, 36 * k, x.dtype)
            transform_gradient(dy, y, dm, first, last, grid, masked)
            if need_dw:
                v = tile_scratch("v", last - first, 36 * (end - begin), x.dtype)
                transform_input(x, v, begin, end, first, last, grid, (6, 6), (4, 4))
                _add_products(v, dm, du_of[strand], last - first, begin, end, add=a > 0)
                if with_bias and begin == 0:  # tap (1, 1) of A dy A' is the sum of the tile
                    dbias_of[strand] += taps_first(dm, last - first, 36, k)[7].sum(axis=0)
            if need_dx:
                stride = (panels[1] - panels[0]) * width
                dv = tile_scratch("v", last - first, 36 * stride, x.dtype)
                multiply(dm, u, dv, last - first, *panels)
                add_input_gradient(dv, stride, dx, begin, end, first, last, grid)

    thread_pool.run(task, len(strands) * len(parts))
    if not need_dw:
        return dx, None, None
    return dx, _kernel_gradient(du_of), dbias_of.sum(axis=0) if with_bias else None


def _add_products(v, dm, du, tiles: int, begin: int, end: int, add: bool) -> None:
    """Write ``V' dM`` to dU's input channels begin ... end - 1, or add it."""
    if v.dtype == np.float32:
        with importing_numba:
            from minidl.kernels.compiled.gemm_loops import correlate_taps

        correlate_taps(v, dm, du, tiles, begin, end, add)
        return
    c, k = end - begin, du.shape[2]
    product = taps_first(v, tiles, 36, c).transpose(0, 2, 1) @ taps_first(dm, tiles, 36, k)
    du[:, begin:end] = du[:, begin:end] + product if add else product


def _kernel_gradient(du_of: np.ndarray) -> np.ndarray:
    """Return ``dw = G' dU G``, dU being the sum over the strands, as (3, 3, C, K)."""
    _, _, c, k = du_of.shape
    dw = np.zeros((9, c * k), du_of.dtype)
    spans = thread_pool.chunks(c * k, KERNEL_SPAN)

    def task(i: int) -> None:
        for du in du_of:
            _add_kernel_gradient(du.reshape(36, -1), dw, *spans[i])

    thread_pool.run(task, len(spans))
    return dw.reshape(3, 3, c, k)


def _tasks(images: int, tiles: int, c: int, width: int) -> tuple[list, list]:
    """Return spans of images and parts of the input channels' panels: each pair is a task.

    A task shares neither pixels of dx nor sums of dU with another one. Sharing out the
    channels makes the threads compute the same dM, sharing out the images gives each of them
    a dU of its own to fill: that is worse where there are few tiles.
    """
    threads, panels = thread_pool.get_num_threads(), -(-c // width)
    if images < threads or tiles <= c:
        return [(0, images)], thread_pool.chunks(panels, -(-panels // threads))
    return thread_pool.chunks(images), [(0, panels)]


@jit
def _add_kernel_gradient(du, dw, begin, end):
    """dw += G' dU G, in columns begin ... end - 1; both have a row per tap."""
    quarter, sixth, twelfth = du.dtype.type(1 / 4), du.dtype.type(1 / 6), du.dtype.type(1 / 12)
    d = np.empty((18, 128), du.dtype)
    for at in range(np.uint64(begin), np.uint64(end), np.uint64(128)):
        n = min(np.uint64(128), np.uint64(end) - at)
        for j in range(6):
            for c in range(n):
                a1, a2 = du[j + 6, at + c], du[j + 12, at + c]
                a3, a4 = du[j + 18, at + c], du[j + 24, at + c]
                p, q = sixth * (a1 + a2), sixth * (a3 + a4)
                d[j, c] = quarter * (du[j, at + c] + q) - p
                d[j + 6, c] = sixth * (a2 - a1) + twelfth * (a3 - a4)
                d[j + 12, c] = q - p + du[j + 30, at + c]
        for i in range(3):
            for c in range(n):
                a0, a1, a2 = d[6 * i, c], d[6 * i + 1, c], d[6 * i + 2, c]
                a3, a4, a5 = d[6 * i + 3, c], d[6 * i + 4, c], d[6 * i + 5, c]
                p, q = sixth * (a1 + a2), sixth * (a3 + a4)
                dw[3 * i, at + c] += quarter * (a0 + q) - p
                dw[3 * i + 1, at + c] += sixth * (a2 - a1) + twelfth * (a3 - a4)
                dw[3 * i + 2, at + c] += q - p + a5
