"""Both gradients of a depthwise convolution of float32, with sums in vector registers.

A sweep along a row of input pixels serves up to three weights of a kernel row and LANES channels.
Each pixel's vector of x is loaded once; each of its outputs' vectors of dy adds to the gradient of
the pixel and to that of the weight between them, which stays in a register until the end of the
row. The caller divides the rows into sweeps, see
:func:`minidl.kernels.convolution.depthwise.row_sweeps`.

Every channel of every image is summed by itself, row by row: no result depends on the number of
threads. Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.compiled.depthwise_gradients import add_gradients
>>> x, dy = np.ones((3, 3, 1), "float32"), np.ones((2, 2, 1), "float32")
>>> w, dx = np.ones((2, 2, 1), "float32"), np.empty((3, 3, 1), "float32")
>>> dw = np.zeros((2, 2, 1), "float32")
>>> sweeps = np.array([(0, 2, 0, 0, 1), (1, 2, 1, 0, 1)])  # two outputs for each weight of a row
>>> add_gradients(x, w, dy, dx, dw, (0, 1), sweeps, (1, 1), (2, 2, 1, 1, 1, 1, 0, 0))
>>> dx[:, :, 0]
array([[1., 2., 1.],
       [2., 4., 2.],
       [1., 2., 1.]], dtype=float32)
>>> dw[:, :, 0]
array([[4., 4.],
       [4., 4.]], dtype=float32)
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import FLOAT, INT, LANES, VECTOR, Memory, Vector, pointer_to
from minidl.kernels.runtime.jit import jit

__all__ = ["NEIGHBORS", "add_gradients"]

NEIGHBORS = 3  # weights of a kernel row in one sweep
ADDRESS = types.intp


def _sweep(taps: int):
    """Return the intrinsic for `taps` neighboring weights of a kernel row."""

    @intrinsic
    def sweep(typing_context, addresses, steps, pixels, count):
        """Add the gradients along a row of input pixels, for `count` channels.

        Parameters
        ----------
        addresses : (int, int, int, int, int)
            Of the first numbers of x, dx, dy, w and dw.
        steps : (int, int, int, int)
            Numbers from one pixel to the next in x (and dx) and in dy, from one weight to the next
            in dy and in w (and dw).
        pixels, count : int
            Input pixels, and channels: LANES at most.
        """

        def generate(context, builder, signature, arguments):
            addresses, steps, pixels, count = arguments
            is_whole = builder.icmp_signed("==", count, INT(LANES))
            with builder.if_else(is_whole) as (then, otherwise):
                with then:
                    _emit_sweep(Memory(builder), taps, addresses, steps, pixels)
                with otherwise:
                    _emit_sweep(Memory(builder, count), taps, addresses, steps, pixels)
            return context.get_dummy_value()

        kinds = types.UniTuple(ADDRESS, 5), types.UniTuple(ADDRESS, 4), ADDRESS, ADDRESS
        return types.void(*kinds), generate

    return sweep


def _emit_sweep(memory: Memory, taps: int, addresses, steps, pixels) -> None:
    builder = memory.builder
    x, dx, dy, w, dw = (
        pointer_to(builder, address, FLOAT) for address in cgutils.unpack_tuple(builder, addresses)
    )
    x_step, dy_step, dy_tap, w_tap = cgutils.unpack_tuple(builder, steps)
    weights = [memory.load(w, builder.mul(INT(k), w_tap)) for k in range(taps)]
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    # Stack slots, which LLVM's first pass turns into registers
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(taps)]
    with cgutils.for_range(builder, pixels) as loop:
        position = builder.mul(loop.index, x_step)
        pixel, gradient = memory.load(x, position), memory.load(dx, position)
        first = builder.mul(loop.index, dy_step)
        for k, (weight, total) in enumerate(zip(weights, sums, strict=True)):
            output = memory.load(dy, builder.add(first, builder.mul(INT(k), dy_tap)))
            gradient += weight * output
            row_sum = Vector(builder, builder.load(total)) + pixel * output
            builder.store(row_sum.value, total)
        memory.store(gradient, dx, position)
    for k, total in enumerate(sums):
        position = builder.mul(INT(k), w_tap)
        row_sum = Vector(builder, builder.load(total))
        memory.store(memory.load(dw, position) + row_sum, dw, position)


_sweep_neighbors, _sweep_one = _sweep(NEIGHBORS), _sweep(1)


@jit
def add_gradients(x, w, dy, dx, dw, channels, sweeps, period, geometry):
    """Write the input gradient of some channels of an image, and add their kernel gradient.

    Parameters
    ----------
    x, dx : array of float32, C-contiguous, shape (H, W, C)
    w : array of float32, C-contiguous, shape (KH, KW, C)
    dy : array of float32, C-contiguous, shape (OH, OW, C)
    dw : array of float32, C-contiguous, shape (KH, KW, C)
    channels : (int, int)
        The first channel, and the one after the last.
    sweeps : array of int64, shape (sweeps, 5)
        First input pixel, pixels, first weight, first output, and weights: 1 or NEIGHBORS.
    period : (int, int)
        From a weight to the next one in a sweep; from its output to that of the next one, to the
        left.
    geometry : tuple of int
        From :meth:`~minidl.kernels.geometry.Window.loop_geometry`.
    """
    kh, kw, stride, x_stride, dilation, _, top, _ = geometry
    height, width, depth = x.shape
    steps = (x_stride * depth, depth, -period[1] * depth, period[0] * depth)
    pixels = dx.reshape(-1)
    for iy in range(height):
        for ix in range(width):
            # Unsigned indices need no wrap-around: LLVM emits a plain memset.
            first = np.uint64((iy * width + ix) * depth + channels[0])
            for c in range(np.uint64(channels[1] - channels[0])):
                pixels[first + c] = 0
        for c in range(channels[0], channels[1], LANES):
            count = min(LANES, channels[1] - c)
            for ky in range(kh):
                oy, rest = divmod(iy + top - ky * dilation, stride)
                if rest != 0 or not 0 <= oy < dy.shape[0]:
                    continue
                for i in range(len(sweeps)):
                    pixel = 4 * ((iy * width + sweeps[i, 0]) * depth + c)
                    weight = 4 * ((ky * kw + sweeps[i, 2]) * depth + c)
                    addresses = (
                        x.ctypes.data + pixel,
                        dx.ctypes.data + pixel,
                        dy.ctypes.data + 4 * ((oy * dy.shape[1] + sweeps[i, 3]) * depth + c),
                        w.ctypes.data + weight,
                        dw.ctypes.data + weight,
                    )
                    if sweeps[i, 4] == NEIGHBORS:
                        _sweep_neighbors(addresses, steps, sweeps[i, 1], count)
                    else:
                        _sweep_one(addresses, steps, sweeps[i, 1], count)
