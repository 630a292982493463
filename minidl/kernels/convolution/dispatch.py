"""Convolution, forward and backward, by the algorithm that suits the shapes.

===========  ====================================================================================
"winograd"   3x3, 1x7 and 7x1 at stride 1: a quarter to a third of the multiplications
"direct"     everything else, forward: register tiles that read the images in place
"im2col"     any convolution by BLAS: patches become rows of a matrix, one product
===========  ====================================================================================

In float32 outputs are computed by the first two, gradients by the first and the last: there BLAS is
as fast as register tiles. Float64 serves to check gradients and always uses im2col.

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
from numpy.typing import DTypeLike

from minidl.kernels.convolution.depthwise_rows import NO_BOUNDS
from minidl.kernels.convolution.im2col_gemm import convolve_im2col, convolve_im2col_backward
from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
from minidl.kernels.convolution.prepared import PreparedKernel, check_float32, prepare_kernel
from minidl.kernels.convolution.winograd import WINOGRAD_KERNELS, winograd_is_faster
from minidl.kernels.convolution.winograd_backward import convolve_winograd_backward
from minidl.kernels.geometry import Convolution
from minidl.kernels.normalization import InputGradient
from minidl.kernels.runtime import thread_pool

__all__ = [
    "ALGORITHMS",
    "choose_algorithm",
    "convolve",
    "convolve_backward",
    "prepare_kernel",
    "supports_winograd",
]

ALGORITHMS = ("direct", "winograd", "im2col")


def choose_algorithm(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    convolution: Convolution,
    dtype: DTypeLike,
    backward: bool = False,
    transform_cached: bool = False,
) -> str:
    """Return the name of the fastest algorithm for an input and a kernel.

    Parameters
    ----------
    x_shape : tuple of int
        (N, H, W, C).
    w_shape : tuple of int
        (KH, KW, C / groups, K).
    convolution : Convolution
    dtype : numpy.dtype
    backward : bool
        Whether the gradients are computed.
    transform_cached : bool
        Whether the result of :func:`prepare_kernel` is available from an earlier call.
    """
    if dtype != np.float32:
        return "im2col"
    n, height, width, c = x_shape
    oh, ow = convolution.output_size(height, width)
    if supports_winograd(convolution, backward) and winograd_is_faster(
        n, oh, ow, c, w_shape[3], convolution.kernel_size, backward, transform_cached
    ):
        return "winograd"
    return "im2col" if backward else "direct"


def supports_winograd(convolution: Convolution, backward: bool = False) -> bool:
    """Return whether Winograd's algorithm can compute a convolution, or its gradients."""
    return (
        convolution.kernel_size in (WINOGRAD_KERNELS[:1] if backward else WINOGRAD_KERNELS)
        and convolution.strides == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
    )


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    convolution: Convolution,
    relu: bool = False,
    residual: np.ndarray | None = None,
    out: np.ndarray | None = None,
    channel: int = 0,
    algorithm: str | None = None,
    prepared: PreparedKernel | None = None,
    relu_limit: float = np.inf,
) -> np.ndarray:
    """Return ``relu(x * w + bias + residual)``, * being the convolution.

    Parameters
    ----------
    x : array, shape (N, H, W, C)
    w : array, shape (KH, KW, C / groups, K)
    bias : array, shape (K,), or None
    convolution : Convolution
    relu : bool
        Whether to replace negative outputs by zero.
    residual : array, C-contiguous, shape (N, OH, OW, K), optional
        Added before the ReLU. It may be `out` itself, if that has K channels.
    out : array, C-contiguous, shape (N, OH, OW, at least K), optional
        Receives the result in its channels ``channel : channel + K``.
    channel : int
    algorithm : str, optional
        One of ``ALGORITHMS``; default: :func:`choose_algorithm`'s choice.
    prepared : PreparedKernel, optional
        From :func:`prepare_kernel` for `w`; it determines the algorithm.
    relu_limit : float
        Upper limit of the ReLU; 6 gives ReLU6.

    Returns
    -------
    y : array, shape (N, OH, OW, K)
        Or `out`, if given.

    Raises
    ------
    TypeError
        If "direct" or "winograd" is to compute another type than float32.
    """
    if prepared is None:
        algorithm = algorithm or choose_algorithm(x.shape, w.shape, convolution, x.dtype)
        prepared = prepare_kernel(w, algorithm, convolution)
    if prepared is None:
        y = convolve_im2col(x, w, bias, convolution)
        if residual is not None:
            y += residual
        if relu:
            np.clip(y, 0, relu_limit, out=y)
        if out is None:
            return y
        out[..., channel : channel + w.shape[3]] = y
        return out
    check_float32("x", x, prepared.algorithm)
    if out is None:
        out = np.empty((len(x), *convolution.output_size(*x.shape[1:3]), w.shape[3]), np.float32)
    memories = [np.ascontiguousarray(x), out]
    if residual is not None:
        memories.append(np.ascontiguousarray(residual))
    source, target, *rest = (TensorLocation(i, 0, a.shape) for i, a in enumerate(memories))
    pipeline = Pipeline(thread_pool.get_num_threads())
    bounds = (0, relu_limit) if relu else NO_BOUNDS
    pipeline.convolve(source, prepared, bias, target, bounds, rest[0] if rest else None, channel)
    pipeline.run(memories)
    return out


def convolve_backward(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray | InputGradient,
    convolution: Convolution,
    relu_output: np.ndarray | None = None,
    need_dx: bool = True,
    need_dw: bool = True,
    with_bias: bool = True,
    algorithm: str | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return the gradients ``(dx, dw, dbias)`` of a convolution, None for those not needed.

    Parameters
    ----------
    x, w, convolution
        As for :func:`convolve`. Without `need_dw` only shape and dtype of `x` are read.
    dy : array, C-contiguous, shape (N, OH, OW, K), or InputGradient
        Gradient of the output. That of a normalization is computed row by row where possible.
    relu_output : array, C-contiguous, shape (N, OH, OW, K), optional
        The output after a fused ReLU. The gradient of the ReLU is then applied to `dy` first.
    need_dx, need_dw : bool
    with_bias : bool
        Whether the convolution has a bias; dbias is None otherwise.
    algorithm : {"winograd", "im2col"}, optional
        Default: :func:`choose_algorithm`'s choice.
    """
    if algorithm is None:
        algorithm = choose_algorithm(x.shape, w.shape, convolution, x.dtype, backward=True)
    needs = need_dx, need_dw, with_bias
    if algorithm != "winograd":
        return convolve_im2col_backward(x, w, dy, convolution, relu_output, *needs)
    if isinstance(dy, InputGradient):
        dy = dy.array().reshape(len(x), *convolution.output_size(*x.shape[1:3]), w.shape[3])
    return convolve_winograd_backward(x, w, dy, convolution, relu_output, *needs)
