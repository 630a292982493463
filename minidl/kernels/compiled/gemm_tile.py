"""Register tiles: the innermost loops of every matrix product, written vector by vector.

A product is fastest when a small tile of the result stays in the processor's vector registers
while the sum runs: each number that is loaded then takes part in many multiplications. Compilers
do not find this by themselves, so the two loops here are spelled out in LLVM's language (see
:mod:`minidl.kernels.compiled.simd`): 28 vectors of 16 numbers with AVX-512, 12 of 8 with AVX2.

``multiply_tall`` and ``multiply_short`` compute a tile of ``relu(x w + bias + residual)``; rows of
x lie wherever `offsets` says, which is what makes them a convolution (see
:mod:`minidl.kernels.convolution.direct`). ``correlate`` adds ``x' dy`` to a tile of a kernel's
gradient. They take addresses and check nothing. Importing this module imports Numba: do it where a
kernel is about to run.

>>> from minidl.kernels.compiled.gemm_tile import PANEL, TALL
>>> PANEL % 8, TALL > 4
(0, True)
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import INT, LANES, REGISTERS, Memory, Vector, flag, pointer_to

__all__ = ["PANEL", "SHORT", "TALL", "correlate", "multiply_short", "multiply_tall"]


PANEL = 2 * LANES  # columns of a tile
TALL = REGISTERS // 2  # its rows
SHORT = TALL // 2

ADDRESS = types.intp
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)


def _multiply(height: int):
    """Return the intrinsic for tiles of `height` rows."""

    @intrinsic
    def multiply(
        typing_context, x, offsets, stride, shape, w, bias, residual, residual_stride, y, y_stride,
        relu,
    ):  # fmt: skip
        """Write a tile of ``relu(x w + bias + residual)``.

        Parameters
        ----------
        x, w, bias, residual, y : address of float32
            w is a panel; residual may be 0.
        offsets : address of int64
            Where row r of x begins for tap t: at ``x + offsets[t * stride + r]``.
        shape : address of two int64
            How many taps there are, and how many numbers of each row belong to one.
        residual_stride, y_stride : int
            Numbers from one row to the next.
        relu : bool
        """
        signature = types.void(*[ADDRESS] * 10, types.boolean)
        return signature, lambda context, builder, _, arguments: _emit_multiply(
            builder, height, *arguments
        )

    return multiply


@intrinsic
def correlate(typing_context, x, offsets, rows, dy, dy_stride, dw, dw_stride, add):
    """Write ``sum over r of x[r]' dy[r]`` to TALL rows and PANEL columns of dw, or add it.

    It is added as a whole: many short sums round less than a long one.

    Parameters
    ----------
    x, dy, dw : address of float32
    offsets : address of int64
        Where row r of x begins; its first TALL numbers are taken.
    rows : address of int64
        How many there are.
    dy_stride, dw_stride : int
    add : bool
    """
    signature = types.void(*[ADDRESS] * 7, types.boolean)
    return signature, lambda context, builder, _, arguments: _emit_correlate(builder, *arguments)


multiply_tall, multiply_short = _multiply(TALL), _multiply(SHORT)


def _emit_multiply(
    builder, height, x, offsets, stride, shape, w, bias, residual, residual_stride, y, y_stride,
    relu,
):  # fmt: skip
    x, w, bias, y = (pointer_to(builder, a, FLOAT) for a in (x, w, bias, y))
    offsets, shape = (pointer_to(builder, a, INT) for a in (offsets, shape))
    sums = _Tile(builder, height, lambda r, j: _load(builder, bias, INT(j * LANES)))
    panel = cgutils.alloca_once_value(builder, w)
    taps = builder.load(shape)
    with cgutils.for_range(builder, taps) as tap:
        first = builder.mul(tap.index, stride)
        at = [_element(builder, offsets, builder.add(first, INT(r))) for r in range(height)]
        rows = [builder.gep(x, [builder.load(a)]) for a in at]
        with _loop(builder, builder.gep(shape, [INT(1)])) as c:
            here = builder.load(panel)
            sums.add_products(
                [builder.load(builder.gep(row, [c])) for row in rows],
                [_load(builder, here, INT(j * LANES)) for j in range(2)],
            )
            builder.store(builder.gep(here, [INT(PANEL)]), panel)
    with builder.if_then(builder.icmp_unsigned("!=", residual, INT(0))):
        residual = pointer_to(builder, residual, FLOAT)
        sums.update(
            lambda r, j, a: builder.fadd(a, _load_at(builder, residual, residual_stride, r, j))
        )
    with builder.if_then(flag(builder, relu)):
        zero = ir.Constant(VECTOR, [0.0] * LANES)  # written so that NaN stays NaN
        sums.update(lambda r, j, a: builder.select(builder.fcmp_ordered("<", a, zero), zero, a))
    sums.update(lambda r, j, a: _store_at(builder, a, y, y_stride, r, j))


def _emit_correlate(builder, x, offsets, rows, dy, dy_stride, dw, dw_stride, add):
    x, dy, dw = (pointer_to(builder, a, FLOAT) for a in (x, dy, dw))
    offsets, rows = (pointer_to(builder, a, INT) for a in (offsets, rows))
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    sums = _Tile(builder, TALL, lambda r, j: zero)
    gradient = cgutils.alloca_once_value(builder, dy)
    with _loop(builder, rows) as row:
        here = builder.load(gradient)
        pixel = builder.gep(x, [builder.load(_element(builder, offsets, row))])
        sums.add_products(
            [builder.load(_element(builder, pixel, INT(r))) for r in range(TALL)],
            [_load(builder, here, INT(j * LANES)) for j in range(2)],
        )
        builder.store(builder.gep(here, [dy_stride]), gradient)
    with builder.if_then(flag(builder, add)):
        sums.update(lambda r, j, a: builder.fadd(a, _load_at(builder, dw, dw_stride, r, j)))
    sums.update(lambda r, j, a: _store_at(builder, a, dw, dw_stride, r, j))


class _Tile:
    """Sums in registers: `height` rows of two vectors each.

    They are stack slots here; LLVM's first pass turns those into registers.
    """

    def __init__(self, builder, height: int, initial):
        self.builder = builder
        self.slots = {
            (r, j): cgutils.alloca_once(builder, VECTOR) for r in range(height) for j in range(2)
        }
        for (r, j), slot in self.slots.items():
            builder.store(initial(r, j), slot)

    def add_products(self, left: list, right: list) -> None:
        """Add the products of one number for each row and of two vectors, one for each column."""
        multiply_add = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
        )
        for r, a in enumerate(left):
            a = _broadcast(self.builder, a)
            for j, b in enumerate(right):
                total = self.builder.load(self.slots[r, j])
                total = self.builder.call(multiply_add, [a, b, total])
                self.builder.store(total, self.slots[r, j])

    def update(self, function) -> None:
        """Replace each vector a of row r, column j by ``function(r, j, a)``, if that is one."""
        for (r, j), slot in self.slots.items():
            value = function(r, j, self.builder.load(slot))
            if value is not None:
                self.builder.store(value, slot)


def _broadcast(builder, number):
    """Return a vector of one number."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    lane = builder.insert_element(undefined, number, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(lane, undefined, mask)


def _element(builder, pointer, index):
    return builder.gep(pointer, [index])


def _load(builder, pointer, index):
    """Return the vector that begins at a number; it need not be aligned."""
    return Memory(builder, FLOAT).load(pointer, index).value


def _position(builder, stride, r: int, j: int):
    return builder.add(builder.mul(INT(r), stride), INT(j * LANES))


def _load_at(builder, pointer, stride, r: int, j: int):
    return _load(builder, pointer, _position(builder, stride, r, j))


def _store_at(builder, vector, pointer, stride, r: int, j: int) -> None:
    Memory(builder, FLOAT).store(Vector(builder, vector), pointer, _position(builder, stride, r, j))


class _loop:
    """``for i in range(count)``, for at least one turn, which LLVM leaves as it is.

    It would unroll the loop, move loads forward, and run out of registers. So the loop reads its
    end from memory each time, as if another thread might change it.
    """

    def __init__(self, builder, count):
        self.builder, self.count = builder, count

    def __enter__(self):
        builder = self.builder
        self.counter = cgutils.alloca_once_value(builder, INT(0))
        self.body = builder.append_basic_block("body")
        builder.branch(self.body)
        builder.position_at_end(self.body)
        self.index = builder.load(self.counter)
        return self.index

    def __exit__(self, *exception) -> None:
        builder = self.builder
        following = builder.add(self.index, INT(1))
        builder.store(following, self.counter)
        end = builder.load_atomic(self.count, "monotonic", 8)
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed("<", following, end), self.body, done)
        builder.position_at_end(done)
