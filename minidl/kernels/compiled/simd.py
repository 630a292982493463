"""Vectors of numbers, in LLVM's language: what the innermost loops are spelled out with.

Numba compiles these for the processor at hand: 32 registers of 16 float32 with AVX-512, 16 of 8
with AVX2. A :class:`Vector` can be added and multiplied, so a formula reads as in a book; a
:class:`Memory` loads and stores as many numbers as a kernel has, up to a whole vector. Importing
this module imports Numba: do it where a kernel is about to run.

>>> from minidl.kernels.compiled.simd import LANES, REGISTERS
>>> LANES in (4, 8, 16), REGISTERS >= 12
(True, True)
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target

__all__ = ["INT", "LANES", "REGISTERS", "Memory", "Vector", "everywhere", "flag", "pointer_to"]


def _registers() -> tuple[int, int]:
    """Return how many float32 a vector register holds, and how many registers sums may take."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()  # what Numba compiles for
    if "+avx512f" in features:
        return 16, 28
    if "+avx" in features:
        return 8, 12
    return 4, 28 if "+neon" in features else 12


LANES, REGISTERS = _registers()

INT, SHORT_INT = ir.IntType(64), ir.IntType(32)
EXACT_ENOUGH = ("contract", "nsz", "reassoc")  # as minidl.kernels.runtime.jit.FAST_MATH


class Vector:
    """LANES numbers in a register, for formulas such as ``4 * a - b``."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, other.value, EXACT_ENOUGH))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, other.value, EXACT_ENOUGH))

    def __rmul__(self, number: float) -> Vector:
        factor = ir.Constant(self.value.type, [number] * LANES)
        return Vector(self.builder, self.builder.fmul(factor, self.value, EXACT_ENOUGH))

    def zero_where(self, hidden) -> Vector:
        """Return 0 where `hidden`, a condition for each lane or one for all, holds."""
        zero = ir.Constant(self.value.type, [0.0] * LANES)
        return Vector(self.builder, self.builder.select(hidden, zero, self.value))

    def converted(self, number_type) -> Vector:
        """Return the same numbers in single or double precision."""
        kind = ir.VectorType(number_type, LANES)
        if kind == self.value.type:
            return self
        wider = isinstance(number_type, ir.DoubleType)
        convert = self.builder.fpext if wider else self.builder.fptrunc
        return Vector(self.builder, convert(self.value, kind))

    def merged(self, block, other: Vector, other_block) -> Vector:
        """Return this vector where the program comes from a block, and the other otherwise."""
        value = self.builder.phi(self.value.type)
        value.add_incoming(self.value, block)
        value.add_incoming(other.value, other_block)
        return Vector(self.builder, value)

    def compared_to_zero(self, how: str):
        """Return the conditions ``self <how> 0``, which NaN does not meet."""
        zero = ir.Constant(self.value.type, [0.0] * LANES)
        return self.builder.fcmp_ordered(how, self.value, zero)


class Memory:
    """Loads and stores the first `count` numbers of vectors; all LANES where `count` is None."""

    def __init__(self, builder, number_type, count=None):
        self.builder, self.number_type = builder, number_type
        self.type = ir.VectorType(number_type, LANES)
        self.mask = None if count is None else self._mask(count)

    def _mask(self, count):
        conditions = ir.Constant(ir.VectorType(ir.IntType(1), LANES), ir.Undefined)
        for lane in range(LANES):
            inside = self.builder.icmp_signed("<", INT(lane), count)
            conditions = self.builder.insert_element(conditions, inside, SHORT_INT(lane))
        return conditions

    def load(self, pointer, index) -> Vector:
        """Return the vector that begins at ``pointer[index]``; it need not be aligned."""
        place = self.builder.gep(pointer, [index])
        if self.mask is None:
            value = self.builder.load(self.builder.bitcast(place, self.type.as_pointer()))
            value.align = self.alignment
        else:
            rest = ir.Constant(self.type, [0.0] * LANES)
            value = self._masked("load", self.type, place, self.mask, rest)
        return Vector(self.builder, value)

    def store(self, vector: Vector, pointer, index) -> None:
        place = self.builder.gep(pointer, [index])
        if self.mask is None:
            target = self.builder.bitcast(place, self.type.as_pointer())
            self.builder.store(vector.value, target).align = self.alignment
        else:
            self._masked("store", ir.VoidType(), place, self.mask, vector.value)

    @property
    def alignment(self) -> int:
        return 4 if isinstance(self.number_type, ir.FloatType) else 8

    def _masked(self, verb: str, result, place, mask, value):
        pointer = self.builder.bitcast(place, self.type.as_pointer())
        arguments = [pointer, SHORT_INT(self.alignment), mask, value]
        if verb == "store":
            arguments = [value, *arguments[:3]]
        letter = "f32" if self.alignment == 4 else "f64"
        word = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(result, [a.type for a in arguments]),
            f"llvm.masked.{verb}.v{LANES}{letter}.p0",
        )
        return self.builder.call(word, arguments)


def flag(builder, boolean):
    """Return one of Numba's booleans as a condition."""
    return builder.icmp_unsigned("!=", boolean, boolean.type(0))


def everywhere(condition: bool):
    """Return a constant condition for each lane."""
    return ir.Constant(ir.VectorType(ir.IntType(1), LANES), [condition] * LANES)


def pointer_to(builder, address, number_type):
    """Return an address as a pointer."""
    return builder.inttoptr(address, number_type.as_pointer())
