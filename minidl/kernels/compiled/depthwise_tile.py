"""Register tile of a depthwise convolution, as LLVM vector code.

A tile is PIXELS output pixels of one row, with LANES channels each. Its sums stay in registers. At
each tap of the window the weights are loaded once for all pixels.

``depthwise_tile`` takes addresses and checks nothing. Importing this module imports Numba.

>>> from minidl.kernels.compiled.depthwise_tile import PIXELS, depthwise_tile
>>> PIXELS
7
"""

from __future__ import annotations

from numba.core import cgutils, types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import (
    FLOAT,
    INT,
    LANES,
    VECTOR,
    Memory,
    Vector,
    counted_loop,
    multiply_add,
    pointer_to,
)

__all__ = ["PIXELS", "depthwise_tile"]

PIXELS = 7  # ImageNet's networks have images of 7, 14, 28, 56 and 112 pixels

ADDRESS = types.intp
BOUNDS = types.UniTuple(types.float32, 2)


@intrinsic
def depthwise_tile(typing_context, x, weights, bias, y, bounds, count):
    """Write ``clip(sum of x[tap] * weights[tap] + bias)`` for PIXELS pixels of `count` channels.

    Parameters
    ----------
    x : tuple of int
        Address of int64 addresses, where the input pixels of each tap start; address of an int64,
        the number of taps, at least 1; address of PIXELS int64 offsets from there to the input of
        each output pixel; a number of float32 to add to all of them.
    weights, bias : int
        Addresses of LANES float32 for each tap, and of LANES float32.
    y : (int, int)
        Address of float32, and address of PIXELS int64 offsets from there to each output pixel.
        Pixels may coincide.
    bounds : (float, float)
        Smallest and largest number to write.
    count : int
        LANES at most.
    """
    kinds = types.UniTuple(ADDRESS, 4), ADDRESS, ADDRESS, types.UniTuple(ADDRESS, 2), BOUNDS

    def emit(context, builder, signature, arguments):
        is_whole = builder.icmp_signed("==", arguments[-1], INT(LANES))
        with builder.if_else(is_whole) as (whole, part):
            with whole:
                _emit_tile(builder, Memory(builder), *arguments[:-1])
            with part:
                _emit_tile(builder, Memory(builder, arguments[-1]), *arguments[:-1])
        return context.get_dummy_value()

    return types.void(*kinds, ADDRESS), emit


def _emit_tile(builder, memory: Memory, x, weights, bias, y, bounds) -> None:
    taps, tap_count, pixels, shift = cgutils.unpack_tuple(builder, x)
    taps, pixels = pointer_to(builder, taps, INT), pointer_to(builder, pixels, INT)
    weights, bias = pointer_to(builder, weights, FLOAT), pointer_to(builder, bias, FLOAT)
    offsets = [builder.load(builder.gep(pixels, [INT(i)])) for i in range(PIXELS)]
    whole = Memory(builder)  # weights and bias are padded
    sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(PIXELS)]
    for slot in sums:
        builder.store(whole.load(bias, INT(0)).value, slot)
    with counted_loop(builder, pointer_to(builder, tap_count, INT)) as tap:
        address = builder.load(builder.gep(taps, [tap]))
        pixel = builder.gep(pointer_to(builder, address, FLOAT), [shift])
        weight = whole.load(weights, builder.mul(tap, INT(LANES))).value
        for slot, offset in zip(sums, offsets, strict=True):
            number = memory.load(pixel, offset).value
            builder.store(multiply_add(builder, number, weight, builder.load(slot)), slot)
    low, high = cgutils.unpack_tuple(builder, bounds)
    address, targets = cgutils.unpack_tuple(builder, y)
    target, targets = pointer_to(builder, address, FLOAT), pointer_to(builder, targets, INT)
    for i, slot in enumerate(sums):
        total = Vector(builder, builder.load(slot)).clip(low, high)
        memory.store(total, target, builder.load(builder.gep(targets, [INT(i)])))
