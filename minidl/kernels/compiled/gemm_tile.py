"""Register tiles: the innermost loops of all matrix products, as LLVM vector code.

A product is fastest when a small tile of the result stays in the processor's vector registers
during the summation: each number that is loaded then takes part in many multiplications. Compilers
do not find this by themselves, so the two loops are written as LLVM instructions (see
:mod:`minidl.kernels.compiled.simd`). A tile takes 28 vectors of 16 numbers with AVX-512, 12 of 8
with AVX2.

``multiply_tall`` and ``multiply_short`` compute a tile of ``relu(x w + bias + residual)``. A table
of offsets gives the position of each row of x, which makes the product a convolution (see
:mod:`minidl.kernels.convolution.direct`). ``correlate`` computes a tile of a kernel's gradient
``x' dy``. They take addresses and check nothing. Importing this module imports Numba.

>>> from minidl.kernels.compiled.gemm_tile import PANEL, TALL
>>> PANEL % 8, TALL > 4
(0, True)
"""

from __future__ import annotations

import contextlib
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
    is_true,
    pointer_to,
)

__all__ = ["PANEL", "SHORT", "TALL", "correlate", "multiply_short", "multiply_tall"]

PANEL = 2 * LANES  # columns of a tile
TALL = REGISTERS // 2  # rows of a tile
SHORT = TALL // 2

ADDRESS = types.intp
MATRIX = types.UniTuple(ADDRESS, 2)  # address, and numbers from one row to the next


def _multiply(height: int):
    """Return the intrinsic for tiles of `height` rows."""

    @intrinsic
    def multiply(typing_context, x, panel, bias, residual, y, relu):
        """Write a tile of ``relu(x w + bias + residual)``.

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
        relu : bool
        """
        kinds = types.UniTuple(ADDRESS, 4), ADDRESS, ADDRESS, MATRIX, MATRIX, types.boolean
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


def _emit_multiply(height: int, builder, x, panel, bias, residual, y, relu) -> None:
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
        with _loop(builder, builder.gep(shape, [INT(1)])) as c:
            sums.add_products([builder.load(builder.gep(row, [c])) for row in rows], column)
            builder.store(builder.gep(builder.load(column), [INT(PANEL)]), column)
    address, stride = cgutils.unpack_tuple(builder, residual)
    with builder.if_then(builder.icmp_unsigned("!=", address, INT(0))):
        residual = _Matrix(builder, address, stride)
        sums.update(lambda r, j, a: a + residual.load(r, j))
    with builder.if_then(is_true(builder, relu)):
        # "Zero where negative", not "positive or zero": NaN stays NaN.
        sums.update(lambda r, j, a: a.zero_where(a.compare_to_zero("<")))
    sums.store(_Matrix(builder, *cgutils.unpack_tuple(builder, y)))


def _emit_correlate(builder, x, dy, dw, add) -> None:
    address, offsets, rows = cgutils.unpack_tuple(builder, x)
    x, offsets = pointer_to(builder, address, FLOAT), pointer_to(builder, offsets, INT)
    zero = Vector(builder, ir.Constant(VECTOR, [0.0] * LANES))
    sums = _Tile(builder, TALL, lambda r, j: zero)
    dy, dy_stride = cgutils.unpack_tuple(builder, dy)
    gradient = cgutils.alloca_once_value(builder, pointer_to(builder, dy, FLOAT))
    with _loop(builder, pointer_to(builder, rows, INT)) as row:
        pixel = builder.gep(x, [builder.load(builder.gep(offsets, [row]))])
        channels = [builder.load(builder.gep(pixel, [INT(r)])) for r in range(TALL)]
        sums.add_products(channels, gradient)
        builder.store(builder.gep(builder.load(gradient), [dy_stride]), gradient)
    gradients = _Matrix(builder, *cgutils.unpack_tuple(builder, dw))
    with builder.if_then(is_true(builder, add)):
        sums.update(lambda r, j, a: a + gradients.load(r, j))
    sums.store(gradients)


class _Matrix:
    """A matrix of float32 in memory, accessed vector by vector."""

    def __init__(self, builder, address, stride):
        self.builder, self.stride = builder, stride
        self.pointer, self.memory = pointer_to(builder, address, FLOAT), Memory(builder)

    def _index(self, r: int, j: int):
        return self.builder.add(self.builder.mul(INT(r), self.stride), INT(j * LANES))

    def load(self, r: int, j: int) -> Vector:
        """Return the j-th vector of row r."""
        return self.memory.load(self.pointer, self._index(r, j))

    def store(self, vector: Vector, r: int, j: int) -> None:
        """Write the j-th vector of row r."""
        self.memory.store(vector, self.pointer, self._index(r, j))


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
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
        )
        for r, number in enumerate(left):
            factor = broadcast(builder, number)
            for j, vector in enumerate(vectors):
                slot = self.slots[r, j]
                total = builder.call(multiply_add, [factor, vector, builder.load(slot)])
                builder.store(total, slot)

    def update(self, function: Callable[[int, int, Vector], Vector]) -> None:
        """Replace the vector a of row r, column j by ``function(r, j, a)``."""
        for (r, j), slot in self.slots.items():
            vector = Vector(self.builder, self.builder.load(slot))
            self.builder.store(function(r, j, vector).value, slot)

    def store(self, matrix: _Matrix) -> None:
        """Write the sums to a matrix."""
        for (r, j), slot in self.slots.items():
            matrix.store(Vector(self.builder, self.builder.load(slot)), r, j)


@contextlib.contextmanager
def _loop(builder, count):
    """Emit ``for i in range(count)``, at least once, as a loop that LLVM does not transform.

    LLVM would unroll it, move loads forward, and run out of registers. The loop therefore reads its
    end from memory each time, as if another thread might change it.
    """
    counter = cgutils.alloca_once_value(builder, INT(0))
    body = builder.append_basic_block("body")
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.load(counter)
    yield index
    following = builder.add(index, INT(1))
    builder.store(following, counter)
    end = builder.load_atomic(count, "monotonic", 8)
    done = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", following, end), body, done)
    builder.position_at_end(done)
