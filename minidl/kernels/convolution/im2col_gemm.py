"""Convolution of any kind by matrix products: im2col and GEMM in blocks that stay in cache.

The output pixels of the whole batch are cut into blocks of a few hundred. For each block a
task gathers the patches (im2col), multiplies them with the kernel (BLAS), and adds bias and
ReLU while the block is still in cache. A 1x1 convolution needs no gathering at all.

>>> import numpy as np
>>> from minidl.kernels.convolution.im2col_gemm import convolve_gemm
>>> from minidl.kernels.geometry import Convolution
>>> x, w = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 5), "float32")
>>> convolve_gemm(x, w, None, Convolution((3, 3), padding="same"))[0, :, :, 0]
array([[ 8., 12., 12.,  8.],
       [12., 18., 18., 12.],
       [12., 18., 18., 12.],
       [ 8., 12., 12.,  8.]], dtype=float32)
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.activations import apply_epilogue, mask_relu
from minidl.kernels.convolution.im2col import col2im, im2col
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

__all__ = ["convolve_gemm", "convolve_gemm_backward"]

# Size of one block of the im2col matrix: well inside a core's second-level cache. At least
# MINIMUM_ROWS rows, or BLAS starves: for 512 channels the block is then 4.5 MiB.
BLOCK_BYTES = 2**21
MINIMUM_ROWS = 256
FEW_ROWS = 128  # where blocks are made smaller only to have some for each thread


def convolve_gemm(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, convolution: Convolution,
    relu: bool = False, residual: np.ndarray | None = None, out: np.ndarray | None = None,
    channel: int = 0,
) -> np.ndarray:  # fmt: skip
    """Return ``relu(x * w + bias + residual)``.

    Parameters
    ----------
    x : (N, H, W, C)
    w : (KH, KW, C / groups, K)
    bias : (K,) or None
    relu : bool
        Cut negative outputs off in the same pass.
    residual : (N, OH, OW, K), optional
        Added in the same pass.
    out : (N, OH, OW, at least K), optional
        Where to write: into its channels ``channel : channel + K``.

    Returns
    -------
    (N, OH, OW, K), or `out`
    """
    channels = w.shape[-1]
    if out is None:
        out = np.empty((len(x), *convolution.output_size(*x.shape[1:3]), channels), x.dtype)
    rows = out.reshape(-1, out.shape[-1])  # (N*OH*OW, K or more)
    residual_rows = None if residual is None else residual.reshape(-1, channels)
    blocks, parts = _tasks(len(rows), w, convolution)
    direct = out.shape[-1] == channels and len(parts) == 1  # else the block is computed aside
    finishes = bias is not None or relu or residual is not None or not direct

    def task(i: int) -> None:
        first, last = blocks[i // len(parts)]
        begin, end = parts[i % len(parts)]
        target = block = rows[first:last]
        if not direct:
            block = thread_pool.scratch("block", (last - first, end - begin), x.dtype)
        for group in range(convolution.groups):
            cols, kernel, at = _operands(x, w, convolution, group, first, last)
            if convolution.groups == 1:
                np.matmul(cols, kernel[:, begin:end], out=block)
            else:
                block[:, at] = cols @ kernel
        if finishes:
            added = None if residual is None else residual_rows[first:last]
            apply_epilogue(block, bias, relu, added, target, channel, begin)

    thread_pool.run(task, len(blocks) * len(parts))
    return out


def convolve_gemm_backward(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, convolution: Convolution,
    relu_output: np.ndarray | None = None, need_dx: bool = True, need_dw: bool = True,
    with_bias: bool = True,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:  # fmt: skip
    """Return the gradients ``(dx, dw, dbias)`` of a convolution, None for what is not needed.

    The patches are gathered again rather than kept from the forward pass: that costs a
    tenth of the time and saves KH * KW times the memory of `x`. `x` may be anything with the
    input's shape and dtype where `need_dw` is False.

    Parameters
    ----------
    x, w
        As in :func:`convolve_gemm`.
    dy : (N, OH, OW, K)
        Gradient of the output.
    relu_output : (N, OH, OW, K), optional
        The output, where it went through the fused ReLU: its gradient is then taken here.
    need_dx, need_dw : bool
    with_bias : bool
        False where the convolution has no bias: dbias is then None.
    """
    oh, ow = convolution.output_size(*x.shape[1:3])
    dy_rows = dy.reshape(-1, w.shape[-1])  # (N*OH*OW, K)
    y_rows = None if relu_output is None else relu_output.reshape(dy_rows.shape)
    dx = np.zeros(x.shape, x.dtype) if need_dx else None
    # Each thread owns some images, so that scattering never meets another thread's pixels,
    # and sums of its own for dw and dbias, so that they do not depend on who was quicker.
    strands = thread_pool.chunks(len(x))
    dw_of = np.zeros((len(strands), *w.shape), w.dtype)
    dbias_of = np.zeros((len(strands), w.shape[-1]), w.dtype)
    per_block = _rows_per_block(w, convolution)

    def task(strand: int) -> None:
        begin, end = (n * oh * ow for n in strands[strand])
        for a, b in thread_pool.chunks(end - begin, per_block):
            block = slice(begin + a, begin + b)
            dz = dy_rows[block]
            if y_rows is not None:
                dz = mask_relu(dz, y_rows[block], thread_pool.scratch("dz", dz.shape, dz.dtype))
            if need_dw and with_bias:
                dbias_of[strand] += np.ones(len(dz), dz.dtype) @ dz
            for group in range(convolution.groups):
                dz_group = dz[:, _channels(w, convolution, group)]
                if need_dw:
                    _add_kernel_gradient(
                        x, w, dz_group, convolution, group, block.start, dw_of[strand]
                    )
                if need_dx:
                    _add_input_gradient(w, dz_group, convolution, group, block.start, dx)

    thread_pool.run(task, len(strands))
    if not need_dw:
        return dx, None, None
    return dx, dw_of.sum(axis=0), dbias_of.sum(axis=0) if with_bias else None


def _add_kernel_gradient(x, w, dz, convolution, group, first, dw) -> None:
    """Add ``cols' dz`` of one block to `dw`."""
    cols, kernel, at = _operands(x, w, convolution, group, first, first + len(dz))
    product = thread_pool.scratch("dw", kernel.shape, w.dtype)
    np.matmul(cols.T, dz, out=product)
    view = dw.reshape(-1, w.shape[-1])[:, at]
    np.add(view, product, out=view)


def _add_input_gradient(w, dz, convolution, group, first, dx) -> None:
    """Scatter ``dz w'`` of one block onto the pixels of `dx`."""
    kernel = w.reshape(-1, w.shape[-1])[:, _channels(w, convolution, group)]
    if convolution.is_pointwise and convolution.groups == 1:
        np.matmul(dz, kernel.T, out=dx.reshape(-1, dx.shape[-1])[first : first + len(dz)])
        return
    dcols = thread_pool.scratch("dcols", (len(dz), len(kernel)), w.dtype)
    np.matmul(dz, kernel.T, out=dcols)
    depth = w.shape[2]
    col2im(dcols, dx, first, convolution, group * depth, depth)


def _operands(x, w, convolution, group, first, last):
    """Return the patches, the kernel matrix and the output channels of one block and group."""
    at = _channels(w, convolution, group)
    kernel = w.reshape(-1, w.shape[-1])[:, at]  # (KH*KW*C/groups, K/groups)
    if convolution.is_pointwise and convolution.groups == 1:
        return x.reshape(-1, x.shape[-1])[first:last], kernel, at
    cols = thread_pool.scratch("cols", (last - first, len(kernel)), x.dtype)
    depth = w.shape[2]
    im2col(x, cols, first, convolution, group * depth, depth)
    return cols, kernel, at


def _channels(w, convolution, group) -> slice:
    """The output channels of a group."""
    per_group = w.shape[-1] // convolution.groups
    return slice(group * per_group, (group + 1) * per_group)


def _tasks(rows: int, w, convolution) -> tuple[list, list]:
    """Return blocks of output pixels and parts of the output channels: each pair is a task.

    Some small blocks for each thread, so that one that wakes up late finds less to do. Where
    there are too few pixels for that, as in one small image, the threads share out the channels.
    """
    threads, channels = thread_pool.get_num_threads(), w.shape[-1]
    count = max(-(-rows // _rows_per_block(w, convolution)), min(2 * threads, rows // FEW_ROWS), 1)
    if count >= threads or convolution.groups > 1:
        count = -(-count // threads) * threads  # none idle at the end
        return thread_pool.chunks(rows, -(-rows // count)), [(0, channels)]
    parts = -(-threads // count) * (1 if channels < FEW_ROWS else 2)
    return thread_pool.chunks(rows, -(-rows // count)), thread_pool.chunks(
        channels, -(-channels // parts)
    )


def _rows_per_block(w, convolution) -> int:
    """How many output pixels one task takes."""
    kh, kw, depth, channels = w.shape
    widest = max(kh * kw * depth, channels)  # of the patches and of the outputs
    return max(MINIMUM_ROWS, BLOCK_BYTES // (widest * w.itemsize))
