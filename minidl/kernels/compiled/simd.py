"""SIMD vectors of float32 as LLVM instructions, from which the innermost loops are built.

Numba compiles them for the processor it runs on: 32 registers of 16 numbers with AVX-512, 16 of 8
with AVX2. A :class:`Vector` supports addition and multiplication, so that code reads like a
formula. A :class:`Memory` loads and stores whole vectors or their first numbers. Importing this
module imports Numba.

>>> from minidl.kernels.compiled.simd import LANES, REGISTERS
>>> LANES in (4, 8, 16), REGISTERS >= 12
(True, True)
"""

from __future__ import annotations

import contextlib

from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

__all__ = [
    "DOUBLE",
    "FLOAT",
    "INT",
    "LANES",
    "REGISTERS",
    "VECTOR",
    "Memory",
    "Vector",
    "broadcast",
    "counted_loop",
    "is_true",
    "multiply_add",
    "pointer_to",
]


def _vector_registers() -> tuple[int, int]:
    """Return the float32 numbers in a vector register, and the registers available for sums."""
    # The features are those of the processor that Numba compiles for.
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    if "+avx512f" in features:
        return 16, 28
    if "+avx" in features:
        return 8, 12
    return 4, 28 if "+neon" in features else 12


LANES, REGISTERS = _vector_registers()

BIT, SHORT_INT, INT = ir.IntType(1), ir.IntType(32), ir.IntType(64)
FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()
VECTOR, MASK = ir.VectorType(FLOAT, LANES), ir.VectorType(BIT, LANES)
NOWHERE = ir.Constant(MASK, [False] * LANES)
FLAGS = ("contract", "nsz", "reassoc")  # as minidl.kernels.runtime.jit.FAST_MATH


class Vector:
    """LANES numbers in a register, for formulas such as ``4 * a - b``."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, other.value, FLAGS))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, other.value, FLAGS))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fmul(self.value, other.value, FLAGS))

    def __rmul__(self, number: float) -> Vector:
        factor = ir.Constant(self.value.type, [number] * LANES)
        return Vector(self.builder, self.builder.fmul(factor, self.value, FLAGS))

    def zero_where(self, mask, condition=None) -> Vector:
        """Return 0 where the mask holds, for each lane or for all; only if a condition holds."""
        if condition is not None:
            mask = self.builder.select(condition, mask, NOWHERE)
        zero = ir.Constant(self.value.type, [0.0] * LANES)
        return Vector(self.builder, self.builder.select(mask, zero, self.value))

    def compare_to_zero(self, comparison: str):
        """Return the mask of ``self <comparison> 0``; it does not hold for NaN."""
        zero = ir.Constant(self.value.type, [0.0] * LANES)
        return self.builder.fcmp_ordered(comparison, self.value, zero)

    def clip(self, low, high) -> Vector:
        """Return the numbers limited to ``low ... high``, which are scalars; NaN stays NaN."""
        builder = self.builder
        low, high = (broadcast(builder, bound) for bound in (low, high))
        # "The bound where it is exceeded": a comparison with NaN is false.
        below = builder.fcmp_ordered("<", self.value, low)
        value = builder.select(below, low, self.value)
        above = builder.fcmp_ordered(">", value, high)
        return Vector(builder, builder.select(above, high, value))

    def to_double(self) -> Vector:
        """Return the numbers in double precision."""
        return Vector(self.builder, self.builder.fpext(self.value, ir.VectorType(DOUBLE, LANES)))

    def to_float(self) -> Vector:
        """Return the numbers in single precision."""
        return Vector(self.builder, self.builder.fptrunc(self.value, VECTOR))


class Memory:
    """Loads and stores of the first `count` numbers of vectors; all LANES if `count` is None."""

    def __init__(self, builder, count=None):
        self.builder = builder
        self.mask = None if count is None else self._first_lanes(count)

    def _first_lanes(self, count):
        mask = ir.Constant(MASK, ir.Undefined)
        for lane in range(LANES):
            inside = self.builder.icmp_signed("<", INT(lane), count)
            mask = self.builder.insert_element(mask, inside, SHORT_INT(lane))
        return mask

    def load(self, pointer, index) -> Vector:
        """Return the vector that starts at ``pointer[index]``; it need not be aligned."""
        target = self._vector_pointer(pointer, index)
        if self.mask is None:
            value = self.builder.load(target)
            value.align = 4
        else:
            zeros = ir.Constant(VECTOR, [0.0] * LANES)
            value = self._call("load", VECTOR, [target, SHORT_INT(4), self.mask, zeros])
        return Vector(self.builder, value)

    def store(self, vector: Vector, pointer, index) -> None:
        """Write a vector to ``pointer[index]`` and the following numbers."""
        target = self._vector_pointer(pointer, index)
        if self.mask is None:
            self.builder.store(vector.value, target).align = 4
        else:
            arguments = [vector.value, target, SHORT_INT(4), self.mask]
            self._call("store", ir.VoidType(), arguments)

    def _vector_pointer(self, pointer, index):
        return self.builder.bitcast(self.builder.gep(pointer, [index]), VECTOR.as_pointer())

    def _call(self, operation: str, result, arguments: list):
        """Call LLVM's masked load or store."""
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(result, [argument.type for argument in arguments]),
            f"llvm.masked.{operation}.v{LANES}f32.p0",
        )
        return self.builder.call(function, arguments)


def broadcast(builder, number):
    """Return a vector value whose lanes all hold `number`."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    lane = builder.insert_element(undefined, number, SHORT_INT(0))
    zeros = ir.Constant(ir.VectorType(SHORT_INT, LANES), [0] * LANES)
    return builder.shuffle_vector(lane, undefined, zeros)


def multiply_add(builder, a, b, total):
    """Return ``a * b + total`` for vector values, in one instruction where there is one."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
    )
    return builder.call(function, [a, b, total])


@contextlib.contextmanager
def counted_loop(builder, count):
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


def is_true(builder, boolean):
    """Return one of Numba's booleans as an LLVM condition."""
    return builder.icmp_unsigned("!=", boolean, boolean.type(0))


def pointer_to(builder, address, number_type):
    """Return an integer address as an LLVM pointer."""
    return builder.inttoptr(address, number_type.as_pointer())
