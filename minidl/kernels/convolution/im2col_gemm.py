"""Convolution as a matrix product: im2col and GEMM, forward and backward, in any precision.

The output pixels of the batch are processed in blocks. For each block a task gathers the patches
that the pixels see (im2col) and multiplies them by the kernel, a matrix of KH * KW * C rows and K
columns. A 1x1 convolution needs no gathering. Backward, the gradient of the kernel is ``cols' dy``;
the gradient of the input is ``dy w'``, added to the pixels that the patches came from (col2im).

>>> import numpy as np
>>> from minidl.kernels.convolution.im2col_gemm import convolve_im2col
>>> from minidl.kernels.geometry import Convolution
>>> x, w = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 5))
>>> convolve_im2col(x, w, None, Convolution((3, 3), padding="same"))[0, :, :, 0]
array([[ 8., 12., 12.,  8.],
       [12., 18., 18., 12.],
       [12., 18., 18., 12.],
       [ 8., 12., 12.,  8.]])
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl.kernels.activations import mask_relu
from minidl.kernels.convolution.im2col import col2im, im2col
from minidl.kernels.geometry import Convolution
from minidl.kernels.normalization import InputGradient
from minidl.kernels.runtime import thread_pool

__all__ = ["convolve_im2col", "convolve_im2col_backward"]

# A block of the im2col matrix fits into a core's second-level cache. It has at least MINIMUM_ROWS
# rows, because BLAS is slow on fewer: with 512 channels the block then takes 4.5 MiB.
BLOCK_BYTES = 2**21
MINIMUM_ROWS = 256
SUM_BYTES = 2**26  # of the gradients of the kernel that are summed separately


def convolve_im2col(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, convolution: Convolution
) -> np.ndarray:
    """Return ``x * w + bias``, * being the convolution.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    w : array, shape (KH, KW, C / groups, K)
    bias : array, shape (K,), or None
    convolution : Convolution

    Returns
    -------
    y : array, shape (N, OH, OW, K)
    """
    x = np.ascontiguousarray(x)
    y = np.empty((len(x), *convolution.output_size(*x.shape[1:3]), w.shape[-1]), x.dtype)
    rows = y.reshape(-1, w.shape[-1])  # (N*OH*OW, K)
    blocks = thread_pool.chunks(len(rows), _rows_per_block(w))

    def task(i: int) -> None:
        block = rows[slice(*blocks[i])]
        for group in range(convolution.groups):
            kernel, filters = _kernel_matrix(w, convolution, group)
            cols = _patches(x, w, convolution, group, blocks[i])
            np.matmul(cols, kernel, out=block[:, filters])
        if bias is not None:
            block += bias

    thread_pool.run(task, len(blocks))
    return y


def convolve_im2col_backward(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray | InputGradient,
    convolution: Convolution,
    relu_output: np.ndarray | None = None,
    need_dx: bool = True,
    need_dw: bool = True,
    with_bias: bool = True,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return the gradients ``(dx, dw, dbias)`` of a convolution, None for those not needed.

    The patches are gathered again, not kept from the forward pass. This costs a tenth of the time
    and saves KH * KW times the memory of `x`.

    Parameters
    ----------
    x, w, convolution
        As for :func:`convolve_im2col`. Without `need_dw` only shape and dtype of `x` are read.
    dy : array, shape (N, OH, OW, K), or InputGradient
        Gradient of the output; computed for each block if it is that of a normalization.
    relu_output : array, shape (N, OH, OW, K), optional
        The output after a fused ReLU. The gradient of the ReLU is then applied to `dy` first.
    need_dx, need_dw : bool
    with_bias : bool
        Whether the convolution has a bias; dbias is None otherwise.
    """
    oh, ow = convolution.output_size(*x.shape[1:3])
    output_gradient = _output_gradient(dy, relu_output, w.shape[-1])
    allocate = np.empty if convolution.is_pointwise else np.zeros  # for sums of several patches
    dx = allocate(x.shape if need_dx else 0, x.dtype)
    # Each shard has images of its own, so that no two tasks write to one pixel, and sums of its
    # own, so that the result depends neither on the order in which the tasks end nor on the number
    # of threads.
    shards = _image_spans(len(x), oh * ow, w)
    dw_of = np.zeros((len(shards), *w.shape), w.dtype)
    dbias_of = np.zeros((len(shards), w.shape[-1]), w.dtype)

    def task(shard: int) -> None:
        first_row, last_row = (image * oh * ow for image in shards[shard])
        for begin, end in thread_pool.chunks(last_row - first_row, _rows_per_block(w)):
            block = first_row + begin, first_row + end
            dz = output_gradient(*block)
            if need_dw and with_bias:
                dbias_of[shard] += np.ones(len(dz), dz.dtype) @ dz
            for group in range(convolution.groups):
                kernel, filters = _kernel_matrix(w, convolution, group)
                if need_dw:
                    dw, _ = _kernel_matrix(dw_of[shard], convolution, group)
                    cols = _patches(x, w, convolution, group, block)
                    product = thread_pool.scratch("dw", dw.shape, dw.dtype)
                    dw += np.matmul(cols.T, dz[:, filters], out=product)
                if need_dx:
                    _add_input_gradient(kernel, dz[:, filters], convolution, group, block, dx)

    thread_pool.run(task, len(shards))
    return (
        dx if need_dx else None,
        dw_of.sum(axis=0) if need_dw else None,
        dbias_of.sum(axis=0) if need_dw and with_bias else None,
    )


def _output_gradient(
    dy: np.ndarray | InputGradient, relu_output: np.ndarray | None, filters: int
) -> Callable[[int, int], np.ndarray]:
    """Return a function that returns some rows of the gradient before the ReLU, (rows, K)."""
    if isinstance(dy, InputGradient):
        gradient = dy
        return lambda first, last: gradient.rows(
            first, last, thread_pool.scratch("dz", (last - first, filters), gradient.x.dtype)
        )
    dy_rows = dy.reshape(-1, filters)  # (N*OH*OW, K)
    if relu_output is None:
        return lambda first, last: dy_rows[first:last]
    y_rows = relu_output.reshape(dy_rows.shape)

    def masked(first: int, last: int) -> np.ndarray:
        dz = dy_rows[first:last]
        buffer = thread_pool.scratch("dz", dz.shape, dz.dtype)
        return mask_relu(dz, y_rows[first:last], buffer)

    return masked


def _image_spans(images: int, pixels: int, w: np.ndarray) -> list[tuple[int, int]]:
    """Return the shards of images whose kernel gradients are summed separately.

    Each sum costs a pass over the kernel. With MINIMUM_ROWS rows this takes a twentieth of the time
    of the products. Much smaller blocks than the usual ones would spend the time in Python.
    """
    rows = max(MINIMUM_ROWS, _rows_per_block(w) // 2)
    return thread_pool.spans(images, -(-rows // max(1, pixels)), SUM_BYTES // max(1, w.nbytes))


def _add_input_gradient(
    kernel: np.ndarray,
    dz: np.ndarray,
    convolution: Convolution,
    group: int,
    block: tuple[int, int],
    dx: np.ndarray,
) -> None:
    """Add ``dz w'`` of one block and group to the pixels of `dx`."""
    if convolution.is_pointwise:
        np.matmul(dz, kernel.T, out=dx.reshape(-1, dx.shape[-1])[slice(*block)])
        return
    dcols = thread_pool.scratch("dcols", (len(dz), len(kernel)), dz.dtype)
    np.matmul(dz, kernel.T, out=dcols)
    depth = dx.shape[-1] // convolution.groups
    col2im(dcols, dx, block[0], convolution, group * depth, depth)


def _patches(
    x: np.ndarray, w: np.ndarray, convolution: Convolution, group: int, block: tuple[int, int]
) -> np.ndarray:
    """Return the patches of one block of output pixels: (rows, KH * KW * C / groups)."""
    first, last = block
    if convolution.is_pointwise:
        return x.reshape(-1, x.shape[-1])[first:last]
    kh, kw, depth, _ = w.shape
    cols = thread_pool.scratch("cols", (last - first, kh * kw * depth), x.dtype)
    im2col(x, cols, first, convolution, group * depth, depth)
    return cols


def _kernel_matrix(w: np.ndarray, convolution: Convolution, group: int) -> tuple[np.ndarray, slice]:
    """Return a view of one group's kernel (KH * KW * C / groups, K / groups), and its filters."""
    size = w.shape[-1] // convolution.groups
    filters = slice(group * size, (group + 1) * size)
    return w.reshape(-1, w.shape[-1])[:, filters], filters


def _rows_per_block(w: np.ndarray) -> int:
    """Return the number of output pixels in a block."""
    kh, kw, depth, filters = w.shape
    widest = max(kh * kw * depth, filters)  # columns of the patches and of the output
    return max(MINIMUM_ROWS, BLOCK_BYTES // (widest * w.itemsize))
