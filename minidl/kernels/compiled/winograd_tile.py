"""Winograd's transforms of one tile, as LLVM vector code.

Each is a small matrix (see :mod:`minidl.kernels.convolution.winograd_matrices`) applied to the
rows and to the columns of a tile, for LANES channels at a time. Everything stays in registers
between the first load and the last store; a loop over channels would write all numbers between the
two passes and read them again. Bias, residual and ReLU are applied to an output on the way. A tile
of a single row or column is called a line.

The positions of a tile's pixels are an array of addresses. The address of a pixel outside the image
is that of zeros to read, or of a buffer that is not read. The functions take these addresses and
arrays of float32, and check nothing. All of them process `count` channels from `channel` on, LANES
at most. A tile's numbers of tap t start at ``first + t * stride`` of the array. Importing this
module imports Numba.

>>> from minidl.kernels.compiled.winograd_tile import input_tile
>>> input_tile.__name__
'transform'
"""

from __future__ import annotations

from collections.abc import Callable

from numba.core import types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import FLOAT, INT, LANES, Memory, Vector, is_true, pointer_to
from minidl.kernels.convolution.winograd_matrices import (
    columns_in_pairs,
    input_matrix,
    kernel_matrix,
    output_matrix,
    rows_in_pairs,
)

__all__ = [
    "gradient_tile",
    "input_gradient_tile",
    "input_line",
    "input_tile",
    "kernel_line",
    "kernel_tile",
    "output_line",
    "output_tile",
]

INTEGER, BOOLEAN, BOUNDS = types.intp, types.boolean, types.UniTuple(types.float32, 2)


def _kernel_transform(height: int, width: int, rows: int, columns: int):
    """Return the intrinsic for kernels of height x width weights and rows x columns taps."""
    down = rows_in_pairs(kernel_matrix(rows, height))
    across = rows_in_pairs(kernel_matrix(columns, width))

    @intrinsic
    def transform(typing_context, weights, count, u, first, stride):
        """Write ``G g G'`` of `count` kernels g, computed in double precision, and zeros.

        The addresses of the weights take the place of pixels. LANES numbers are written per tap.
        """

        def emit_tile(memory, weights, count, u, first, stride):
            g = [
                weight.to_double()
                for weight in _load_pixels(memory, weights, INT(0), height * width)
            ]
            taps = [tap.to_float() for tap in _transform_2d(down, across, g, height, width)]
            _store_taps(Memory(memory.builder), taps, u, first, stride)

        return _define(emit_tile, 1, weights, INTEGER, u, INTEGER, INTEGER)

    return transform


def _input_transform(rows: int, columns: int):
    """Return the intrinsic for tiles that read rows x columns pixels."""
    down = rows_in_pairs(input_matrix(rows))
    across = rows_in_pairs(input_matrix(columns))

    @intrinsic
    def transform(typing_context, pixels, channel, count, v, first, stride):
        """Write ``B' d B`` of pixels d."""

        def emit_tile(memory, pixels, channel, count, v, first, stride):
            d = _load_pixels(memory, pixels, channel, rows * columns)
            _store_taps(memory, _transform_2d(down, across, d, rows, columns), v, first, stride)

        return _define(emit_tile, 2, pixels, INTEGER, INTEGER, v, INTEGER, INTEGER)

    return transform


def _output_transform(rows: int, columns: int, size: int):
    """Return the intrinsic for tiles of rows x columns taps and `size` outputs along each axis."""
    down = columns_in_pairs(output_matrix(rows, size))
    across = columns_in_pairs(output_matrix(columns, size))

    @intrinsic
    def transform(
        typing_context,
        m,
        first,
        stride,
        bias,
        pixels,
        residual,
        channel,
        count,
        has_residual,
        bounds,
    ):
        """Write ``clip(A' M A + bias + residual)`` to the output's pixels.

        Parameters
        ----------
        bias : array of float32
            Its numbers from `channel` on are added.
        pixels, residual : array of int64
            Addresses of the pixels of the output and of the residual.
        has_residual : bool
        bounds : (float, float)
            Smallest and largest number to write.
        """

        def emit_tile(
            memory, m, first, stride, bias, pixels, residual, channel, count, has_residual, bounds
        ):
            low, high = (memory.builder.extract_value(bounds, i) for i in range(2))
            taps = _load_taps(memory, m, first, stride, rows * columns)
            shift = memory.load(bias, channel)
            y = [value + shift for value in _transform_2d(down, across, taps, rows, columns)]
            y = _add_if(has_residual, y, lambda: _load_pixels(memory, residual, channel, len(y)))
            _store_pixels(memory, [value.clip(low, high) for value in y], pixels, channel)

        kinds = m, INTEGER, INTEGER, bias, pixels, residual, INTEGER, INTEGER, BOOLEAN, BOUNDS
        return _define(emit_tile, 7, *kinds)

    return transform


kernel_tile, kernel_line = _kernel_transform(3, 3, 6, 6), _kernel_transform(1, 7, 1, 10)
input_tile, input_line = _input_transform(6, 6), _input_transform(1, 10)
output_tile, output_line = _output_transform(6, 6, 4), _output_transform(1, 10, 4)


@intrinsic
def gradient_tile(typing_context, pixels, outputs, masked, channel, count, dm, first, stride):
    """Write ``A dz A'``, where dz is dy, or 0 where a fused ReLU was not active.

    Parameters
    ----------
    pixels, outputs : array of int64
        Addresses of 16 pixels of dy and of the output.
    masked : bool
        Whether there was a fused ReLU.
    """
    transform = rows_in_pairs(output_matrix(6, 4).T)

    def emit_tile(memory, pixels, outputs, masked, channel, count, dm, first, stride):
        dy, y = (_load_pixels(memory, addresses, channel, 16) for addresses in (pixels, outputs))
        dz = [
            gradient.zero_where(output.compare_to_zero("<="), masked)
            for gradient, output in zip(dy, y, strict=True)
        ]
        _store_taps(memory, _transform_2d(transform, transform, dz, 4, 4), dm, first, stride)

    return _define(emit_tile, 4, pixels, outputs, BOOLEAN, INTEGER, INTEGER, dm, INTEGER, INTEGER)


@intrinsic
def input_gradient_tile(typing_context, dv, first, stride, pixels, channel, count, above, left):
    """Write ``B dV B'`` to 36 pixels of dx, or add it where the pixels were written before.

    Parameters
    ----------
    pixels : array of int64
        Addresses of the pixels.
    above, left : bool
        Whether there is a tile above, which shares the upper two rows, and one to the left.
    """
    transform = columns_in_pairs(input_matrix(6).T)

    def emit_tile(memory, dv, first, stride, pixels, channel, count, above, left):
        builder = memory.builder
        taps = _load_taps(memory, dv, first, stride, 36)
        written = {  # by (in the upper two rows, in the left two columns)
            (True, True): builder.or_(above, left),
            (True, False): above,
            (False, True): left,
        }
        values = _transform_2d(transform, transform, taps, 6, 6)
        for i, value in enumerate(values):
            condition = written.get((i < 12, i % 6 < 2))
            pixel = _pixel(memory, pixels, i)
            if condition is not None:
                value += memory.load(pixel, channel).zero_where(builder.not_(condition))
            memory.store(value, pixel, channel)

    return _define(emit_tile, 5, dv, INTEGER, INTEGER, pixels, INTEGER, INTEGER, BOOLEAN, BOOLEAN)


def _define(emit_tile: Callable[..., None], count: int, *kinds):
    """Return signature and code of an intrinsic: a tile of whole vectors or of their first lanes.

    Parameters
    ----------
    emit_tile : callable
        ``emit_tile(memory, *arguments)`` emits the code. It receives arrays as pointers.
    count : int
        Which of the arguments is the number of channels.
    kinds : Numba types of the arguments
    """

    def emit(context, builder, signature, arguments):
        unpacked = []
        for kind, value in zip(signature.args, arguments, strict=True):
            if isinstance(kind, types.Array):
                value = context.make_array(kind)(context, builder, value).data
            elif kind == BOOLEAN:
                value = is_true(builder, value)
            unpacked.append(value)
        is_whole = builder.icmp_signed("==", unpacked[count], INT(LANES))
        with builder.if_else(is_whole) as (then, otherwise):
            with then:
                emit_tile(Memory(builder), *unpacked)
            with otherwise:
                emit_tile(Memory(builder, unpacked[count]), *unpacked)
        return context.get_dummy_value()

    return types.void(*kinds), emit


def _transform_2d(down, across, numbers: list, rows: int, columns: int) -> list:
    """Transform the columns and the rows of a tile, but not an axis of length 1."""
    table = [numbers[columns * i : columns * (i + 1)] for i in range(rows)]
    if columns > 1:
        table = [across(row) for row in table]
    if rows > 1:
        transformed = [down(column) for column in zip(*table, strict=True)]
        table = [list(row) for row in zip(*transformed, strict=True)]
    return [value for row in table for value in row]


def _add_if(condition, values: list[Vector], load: Callable[[], list[Vector]]) -> list[Vector]:
    """Return ``values + load()`` if the condition holds, the values otherwise."""
    builder = values[0].builder
    with builder.if_else(condition) as (then, otherwise):
        with then:
            sums = [value + other for value, other in zip(values, load(), strict=True)]
            after = builder.block
        with otherwise:
            before = builder.block
    merged = []
    for value, total in zip(values, sums, strict=True):
        either = builder.phi(value.value.type)
        either.add_incoming(value.value, before)
        either.add_incoming(total.value, after)
        merged.append(Vector(builder, either))
    return merged


def _pixel(memory: Memory, addresses, i: int):
    """Return a pointer to the i-th pixel."""
    address = memory.builder.load(memory.builder.gep(addresses, [INT(i)]))
    return pointer_to(memory.builder, address, FLOAT)


def _load_pixels(memory: Memory, addresses, channel, count: int) -> list[Vector]:
    return [memory.load(_pixel(memory, addresses, i), channel) for i in range(count)]


def _store_pixels(memory: Memory, values: list[Vector], addresses, channel) -> None:
    for i, value in enumerate(values):
        memory.store(value, _pixel(memory, addresses, i), channel)


def _tap(memory: Memory, tap: int, first, stride):
    """Return the index at which a tap starts."""
    return memory.builder.add(first, memory.builder.mul(INT(tap), stride))


def _load_taps(memory: Memory, numbers, first, stride, count: int) -> list[Vector]:
    return [memory.load(numbers, _tap(memory, tap, first, stride)) for tap in range(count)]


def _store_taps(memory: Memory, values: list[Vector], numbers, first, stride) -> None:
    for tap, value in enumerate(values):
        memory.store(value, numbers, _tap(memory, tap, first, stride))
