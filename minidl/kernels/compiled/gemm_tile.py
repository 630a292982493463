"""Register tiles: the innermost loops of all matrix products, as LLVM vector code.

A product is fastest when a small tile of the result stays in the processor's vector registers
during the summation: each number that is loaded then takes part in many multiplications. Compilers
do not find this by themselves, so the two loops are written as LLVM instructions (see
:mod:`minidl.kernels.compiled.simd`). A tile takes 28 vectors of 16 numbers with AVX-512, 12 of 8
with AVX2.

``multiply_tall`` and ``multiply_short`` compute a tile of ``clip(x w + bias + residual)``. A table
of offsets gives the position of each row of x, which makes the product a convolution (see
:mod:`minidl.kernels.convolution.direct`). ``correlate`` computes a tile of a kernel's gradient
``x' dy``. They take addresses and check nothing. Importing this module imports Numba.

>>> from minidl.kernels.compiled.gemm_tile import PANEL, TALL
>>> PANEL % 8, TALL > 4
(0, True)
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import (
    FLOAT,
    INT,
    LANES,
    REGISTERS,
    VECTOR,
    Memory,
    Vector,
    broadcast,
    counted_loop,
    is_true,
    multiply_add,
    pointer_to,
)

__all__ = ["PANEL", "SHORT", "TALL", "correlate", "multiply_short", "multiply_tall"]

PANEL = 2 * LANES  # columns of a tile
TALL = REGISTERS // 2  # rows of a tile
SHORT = TALL // 2

ADDRESS = types.intp
MATRIX = types.UniTuple(ADDRESS, 2)  # address, and numbers from one row to the next
BOUNDS = types.UniTuple(types.float32, 2)


def _multiply(height: int):
    """Return the intrinsic for tiles of `height` rows."""

    @intrinsic
    def multiply(typing_context, x, panel, bias, residual, y, bounds, columns):
        """Write a tile of ``clip(x w + bias + residual)``.

        Parameters
        ----------
        x : tuple of int
            Address of float32; address of int64 offsets, row r of tap t starting at
            ``x + offsets[t * stride + r]``; this stride; address of two int64: the number of taps,
            and of the numbers that each row has for a tap.
        panel, bias : int
            Addresses of float32.
        residual, y : (int, int)
            Address of float32, and row stride. Address 0 stands for no residual.
        bounds : (float, float)
            Smallest and largest number to write.
        columns : int
            Columns of residual and y, PANEL at most; x w and bias have PANEL columns.
        """
        kinds = types.UniTuple(ADDRESS, 4), ADDRESS, ADDRESS, MATRIX, MATRIX, BOUNDS, ADDRESS
        return _define(functools.partial(_emit_multiply, height), *kinds)

    return multiply


multiply_tall, multiply_short = _multiply(TALL), _multiply(SHORT)


@intrinsic
def correlate(typing_context, x, dy, dw, add):
    """Write the sum over rows r of ``x[r]' dy[r]`` to TALL rows and PANEL columns of dw, or add it.

    Adding it as a whole rounds less: many short sums are more accurate than a long one.

    Parameters
    ----------
    x : tuple of int
        Address of float32; address of the int64 offsets at which its rows start, of which TALL
        numbers are read; address of an int64, the number of rows.
    dy, dw : (int, int)
        Address of float32, and row stride.
    add : bool
    """
    kinds = types.UniTuple(ADDRESS, 3), MATRIX, MATRIX, types.boolean
    return _define(_emit_correlate, *kinds)


def _define(emit: Callable[..., None], *kinds):
    """Return signature and code of an intrinsic that returns nothing."""

    def generate(context, builder, signature, arguments):
        emit(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*kinds), generate


def _emit_multiply(height: int, builder, x, panel, bias, residual, y, bounds, columns) -> None:
    address, offsets, stride, shape = cgutils.unpack_tuple(builder, x)
    x, bias = pointer_to(builder, address, FLOAT), pointer_to(builder, bias, FLOAT)
    offsets, shape = pointer_to(builder, offsets, INT), pointer_to(builder, shape, INT)
    memory = Memory(builder)
    sums = _Tile(builder, height, lambda r, j: memory.load(bias, INT(j * LANES)))
    column = cgutils.alloca_once_value(builder, pointer_to(builder, panel, FLOAT))
    with cgutils.for_range(builder, builder.load(shape)) as tap:
        first = builder.mul(tap.index, stride)
        positions = [builder.gep(offsets, [builder.add(first, INT(r))]) for r in range(height)]
        rows = [builder.gep(x, [builder.load(position)]) for position in positions]
        with counted_loop(builder, builder.gep(shape, [INT(1)])) as c:
            sums.add_products([builder.load(builder.gep(row, [c])) for row in rows], column)
            builder.store(builder.gep(builder.load(column), [INT(PANEL)]), column)
    is_whole = builder.icmp_signed("==", columns, INT(PANEL))
    with builder.if_else(is_whole) as (whole, part):
        with whole:
            _emit_epilogue(builder, sums, residual, y, bounds, [memory, memory])
        with part:
            rest = builder.sub(columns, INT(LANES))
            memories = [Memory(builder, columns), Memory(builder, rest)]
            _emit_epilogue(builder, sums, residual, y, bounds, memories)


def _emit_epilogue(builder, sums: _Tile, residual, y, bounds, memories: list[Memory]) -> None:
    """Add the residual, if there is one, and write the sums within the bounds."""
    address, stride = cgutils.unpack_tuple(builder, residual)
    with builder.if_then(builder.icmp_unsigned("!=", address, INT(0))):
        matrix = _Matrix(builder, address, stride, memories)
        sums.update(lambda r, j, a: a + matrix.load(r, j))
    low, high = cgutils.unpack_tuple(builder, bounds)
    sums.update(lambda r, j, a: a.clip(low, high))
    address, stride = cgutils.unpack_tuple(builder, y)
    sums.store(_Matrix(builder, address, stride, memories))


def _emit_correlate(builder, x, dy, dw, add) -> None:
    address, offsets, rows = cgutils.unpack_tuple(builder, x)
    x, offsets = pointer_to(builder, address, FLOAT), pointer_to(builder, offsets, INT)
    zero = Vector(builder, ir.Constant(VECTOR, [0.0] * LANES))
    sums = _Tile(builder, TALL, lambda r, j: zero)
    dy, dy_stride = cgutils.unpack_tuple(builder, dy)
    gradient = cgutils.alloca_once_value(builder, pointer_to(builder, dy, FLOAT))
    with counted_loop(builder, pointer_to(builder, rows, INT)) as row:
        pixel = builder.gep(x, [builder.load(builder.gep(offsets, [row]))])
        channels = [builder.load(builder.gep(pixel, [INT(r)])) for r in range(TALL)]
        sums.add_products(channels, gradient)
        builder.store(builder.gep(builder.load(gradient), [dy_stride]), gradient)
    address, stride = cgutils.unpack_tuple(builder, dw)
    gradients = _Matrix(builder, address, stride, [Memory(builder)] * 2)
    with builder.if_then(is_true(builder, add)):
        sums.update(lambda r, j, a: a + gradients.load(r, j))
    sums.store(gradients)


class _Matrix:
    """Two vectors of columns of a matrix of float32, each accessed as its Memory says."""

    def __init__(self, builder, address, stride, memories: list[Memory]):
        self.builder, self.stride = builder, stride
        self.pointer, self.memories = pointer_to(builder, address, FLOAT), memories

    def _index(self, r: int, j: int):
        return self.builder.add(self.builder.mul(INT(r), self.stride), INT(j * LANES))

    def load(self, r: int, j: int) -> Vector:
        """Return the j-th vector of row r."""
        return self.memories[j].load(self.pointer, self._index(r, j))

    def store(self, vector: Vector, r: int, j: int) -> None:
        """Write the j-th vector of row r."""
        self.memories[j].store(vector, self.pointer, self._index(r, j))


class _Tile:
    """Sums in registers: `height` rows of two vectors each.

    They are stack slots here, which LLVM's first pass turns into registers.
    """

    def __init__(self, builder, height: int, initial: Callable[[int, int], Vector]):
        self.builder = builder
        self.slots = {
            (r, j): cgutils.alloca_once(builder, VECTOR) for r in range(height) for j in range(2)
        }
        for (r, j), slot in self.slots.items():
            builder.store(initial(r, j).value, slot)

    def add_products(self, left: list, right) -> None:
        """Add the products of one number per row and two vectors, to which `right` points."""
        builder, memory, start = self.builder, Memory(self.builder), self.builder.load(right)
        vectors = [memory.load(start, INT(j * LANES)).value for j in range(2)]
        for r, number in enumerate(left):
            factor = broadcast(builder, number)
            for j, vector in enumerate(vectors):
                slot = self.slots[r, j]
                builder.store(multiply_add(builder, factor, vector, builder.load(slot)), slot)

    def update(self, function: Callable[[int, int, Vector], Vector]) -> None:
        """Replace the vector a of row r, column j by ``function(r, j, a)``."""
        for (r, j), slot in self.slots.items():
            vector = Vector(self.builder, self.builder.load(slot))
            self.builder.store(function(r, j, vector).value, slot)

    def store(self, matrix: _Matrix) -> None:
        """Write the sums to a matrix."""
        for (r, j), slot in self.slots.items():
            matrix.store(Vector(self.builder, self.builder.load(slot)), r, j)
