"""Kernels in the memory layout of the algorithm that uses them.

>>> import numpy as np
>>> from minidl.kernels.convolution.prepared import prepare_kernel
>>> from minidl.kernels.geometry import Convolution
>>> w = np.ones((3, 3, 2, 5), "float32")
>>> kernel = prepare_kernel(w, "winograd", Convolution((3, 3)))
>>> kernel.packed.shape[0], kernel.filters
(36, 5)
>>> prepare_kernel(w, "im2col", Convolution((3, 3))) is None
True
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minidl.kernels.convolution.direct import pack_kernel
from minidl.kernels.convolution.winograd import transform_kernel, transformed_shape
from minidl.kernels.geometry import Convolution
from minidl.kernels.runtime import thread_pool

__all__ = ["PreparedKernel", "check_float32", "prepare_kernel"]


@dataclass(frozen=True)
class PreparedKernel:
    """A float32 kernel, packed or transformed for one algorithm.

    Attributes
    ----------
    algorithm : {"direct", "winograd"}
    convolution : Convolution
    filters : int
        Number of output channels K.
    packed : array, shape (groups or taps, panels, depth, PANEL)
        From :func:`~minidl.kernels.convolution.direct.pack_kernel` or
        :func:`~minidl.kernels.convolution.winograd.transform_kernel`.
    """

    algorithm: str
    convolution: Convolution
    filters: int
    packed: np.ndarray


def prepare_kernel(
    w: np.ndarray, algorithm: str, convolution: Convolution, reuse_memory: bool = False
) -> PreparedKernel | None:
    """Return a kernel in the layout that an algorithm reads, None for "im2col".

    Parameters
    ----------
    w : array of float32, shape (KH, KW, C / groups, K)
    algorithm : {"direct", "winograd", "im2col"}
    convolution : Convolution
    reuse_memory : bool
        Whether Winograd's transform, four times as large as the kernel, is written to a buffer of
        the calling thread. It is then valid until that thread prepares the next kernel so.

    Raises
    ------
    TypeError
        If `w` is not float32 and the algorithm is not "im2col".
    """
    if algorithm == "im2col":
        return None
    check_float32("w", w, algorithm)
    if algorithm == "direct":
        packed = pack_kernel(w, convolution.groups)
    else:
        buffer = thread_pool.scratch("u", transformed_shape(w), w.dtype) if reuse_memory else None
        packed = transform_kernel(w, buffer)
    return PreparedKernel(algorithm, convolution, w.shape[3], packed)


def check_float32(name: str, array: np.ndarray, algorithm: str) -> None:
    """Raise TypeError unless an array has the type that the fast algorithms compute in."""
    if array.dtype != np.float32:
        raise TypeError(
            f"convolution: expected {name} of float32 for the algorithm {algorithm!r}, received "
            f"{array.dtype}. Use the algorithm 'im2col', which computes in any precision."
        )
