"""Convolution, forward and backward: the algorithm is chosen by the shapes.

===========  =====================================================================================
"winograd"   3x3, 1x7 and 7x1 at stride 1: a quarter to a third of the multiplications
"direct"     everything else, forward: register tiles that read the images in place
"pointwise"  1x1 at stride 1 by BLAS: the images are a matrix already, one product
"im2col"     everything else by BLAS: patches become rows of a matrix, one product
===========  =====================================================================================

In float32 the first two compute outputs, and all but the second gradients: there BLAS is as fast.
Float64 is for checking gradients, and goes through BLAS alone, as plain as it can be, unless
Winograd is asked for by name.

>>> import numpy as np
>>> from minidl.kernels.convolution.dispatch import choose_algorithm, convolve
>>> from minidl.kernels.geometry import Convolution
>>> x, w = np.ones((1, 4, 4, 2), "float32"), np.ones((3, 3, 2, 5), "float32")
>>> convolution = Convolution((3, 3), padding="same")
>>> choose_algorithm(x.shape, w.shape, convolution, x.dtype)
'direct'
>>> convolve(x, w, None, convolution)[0, :, :, 0]
array([[ 8., 12., 12.,  8.],
       [12., 18., 18., 12.],
       [12., 18., 18., 12.],
       [ 8., 12., 12.,  8.]], dtype=float32)
"""

from __future__ import annotations

import numpy as np

from minidl.kernels.convolution.direct import convolve_direct, pack_kernel
from minidl.kernels.convolution.im2col_gemm import convolve_gemm, convolve_gemm_backward
from minidl.kernels.convolution.winograd import (
    TILES,
    convolve_winograd,
    transform_kernel,
    transformed_shape,
    winograd_is_faster,
)
from minidl.kernels.convolution.winograd_backward import convolve_winograd_backward
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

__all__ = ["ALGORITHMS", "choose_algorithm", "convolve", "convolve_backward", "prepare_kernel"]

ALGORITHMS = ("direct", "winograd", "pointwise", "im2col")


def choose_algorithm(
    x_shape, w_shape, convolution: Convolution, dtype, backward: bool = False, kept: bool = False
) -> str:
    """Return the name of the algorithm that is fastest for an input and a kernel.

    Parameters
    ----------
    x_shape : (N, H, W, C)
    w_shape : (KH, KW, C / groups, K)
    convolution : Convolution
    dtype : numpy.dtype
    backward : bool
        Whether for the gradients.
    kept : bool
        Whether what :func:`prepare_kernel` returns is there from an earlier call.
    """
    if dtype == np.float32:
        n, height, width, c = x_shape
        size = convolution.output_size(height, width)
        shape = (n, *size, c, w_shape[3], convolution.kernel_size)
        if fits_winograd(convolution, backward) and winograd_is_faster(*shape, backward, kept):
            return "winograd"
        if not backward:
            return "direct"
    return "pointwise" if convolution.is_pointwise and convolution.groups == 1 else "im2col"


def fits_winograd(convolution: Convolution, backward: bool = False) -> bool:
    """Whether Winograd's algorithm can compute a convolution at all."""
    return (
        convolution.kernel_size in ([(3, 3)] if backward else TILES)
        and convolution.strides == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
    )


def prepare_kernel(
    w: np.ndarray, algorithm: str, groups: int = 1, reuse_memory: bool = False
) -> np.ndarray | None:
    """Return what an algorithm computes of the kernel beforehand, None where there is nothing.

    With `reuse_memory` Winograd's transform, four times as large as the kernel, is valid until
    the calling thread prepares another kernel so.
    """
    if algorithm == "direct":
        return pack_kernel(w, groups)
    if algorithm != "winograd":
        return None
    shape = transformed_shape(w)
    return transform_kernel(w, thread_pool.scratch("u", shape, w.dtype) if reuse_memory else None)


def convolve(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, convolution: Convolution,
    relu: bool = False, residual: np.ndarray | None = None, out: np.ndarray | None = None,
    channel: int = 0, algorithm: str | None = None, prepared: np.ndarray | None = None,
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
    algorithm : str, optional
        One of ``ALGORITHMS``, where the choice is not to be left to :func:`choose_algorithm`.
    prepared : array, optional
        From :func:`prepare_kernel` for this kernel and algorithm.

    Returns
    -------
    (N, OH, OW, K), or `out`
    """
    algorithm = algorithm or choose_algorithm(x.shape, w.shape, convolution, x.dtype)
    epilogue = (relu, residual, out, channel)
    if algorithm in ("pointwise", "im2col"):
        return convolve_gemm(x, w, bias, convolution, *epilogue)
    if prepared is None:
        prepared = prepare_kernel(w, algorithm, convolution.groups)
    compute = convolve_direct if algorithm == "direct" else convolve_winograd
    return compute(x, prepared, bias, convolution, w.shape[3], *epilogue)


def convolve_backward(
    x: np.ndarray, w: np.ndarray, dy: np.ndarray, convolution: Convolution,
    relu_output: np.ndarray | None = None, need_dx: bool = True, need_dw: bool = True,
    with_bias: bool = True, algorithm: str | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:  # fmt: skip
    """Return the gradients ``(dx, dw, dbias)`` of a convolution, None for what is not needed.

    Parameters
    ----------
    x, w
        As in :func:`convolve`. `x` may be anything with the input's shape and dtype where
        `need_dw` is False.
    dy : (N, OH, OW, K)
        Gradient of the output.
    relu_output : (N, OH, OW, K), optional
        The output, where it went through the fused ReLU: its gradient is then taken here.
    need_dx, need_dw : bool
    with_bias : bool
        False where the convolution has no bias: dbias is then None.
    algorithm
        As in :func:`convolve`; "direct" has no gradients of its own.
    """
    if algorithm is None:
        algorithm = choose_algorithm(x.shape, w.shape, convolution, x.dtype, backward=True)
    arguments = (convolution, relu_output, need_dx, need_dw, with_bias)
    if algorithm != "winograd":
        return convolve_gemm_backward(x, w, dy, *arguments)
    return convolve_winograd_backward(x, w, dy, *arguments)
