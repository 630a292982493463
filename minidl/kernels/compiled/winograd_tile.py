"""Winograd's transforms of one tile, vector by vector.

Each is a small matrix (see :mod:`minidl.kernels.convolution.winograd_matrices`) applied to the
rows of a tile of pixels, and to its columns, for LANES channels at a time: everything stays in
registers between the first load and the last store, where a loop over channels would write all
numbers between the two steps and read them again. What follows an output - bias, addition, ReLU -
is done on the way. A tile of a single row or column is called a line.

Where pixels lie is said by `places`, an array of addresses: one outside the image is that of
some zeros to read, or of some numbers that nobody reads. The functions take these and arrays, and
check nothing. Importing this module imports Numba.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from minidl.kernels.compiled.simd import INT, LANES, Memory, everywhere, flag, pointer_to
from minidl.kernels.convolution.winograd_matrices import (
    columns_in_pairs,
    input_matrix,
    kernel_matrix,
    output_matrix,
    rows_in_pairs,
)

INTEGER, DOUBLE = types.intp, ir.DoubleType()

__all__ = [
    "gradient_tile", "input_gradient_tile", "input_line", "input_tile", "kernel_line",
    "kernel_tile", "output_line", "output_tile",
]  # fmt: skip


def _kernel(height: int, width: int, rows: int, columns: int):
    """Return the intrinsic for kernels of so many weights and tiles of so many pixels."""
    transforms = [
        rows_in_pairs(kernel_matrix(pixels, weights)) if pixels > 1 else None
        for pixels, weights in ((rows, height), (columns, width))
    ]

    @intrinsic
    def transform(typing_context, places, n, u, to, stride, m):
        """Write ``G g G'`` of kernels g to m numbers for each tap, the first at ``u[to]``.

        It is computed in double precision.

        Parameters
        ----------
        places : int64 array
            Addresses of the weights.
        n : int
            How many kernels there are: LANES at most.
        u : array
        to, stride : int
            Where the first tap begins, and how far it is to the next.
        m : int
            How many numbers to write: n and some zeros.
        """

        def emit(context, builder, signature, arguments):
            places, n, u, to, stride, m = _unpack(context, builder, signature, arguments)

            def tile(given, written):
                g = [places.load(given, i, INT(0)) for i in range(height * width)]
                g = [weight.converted(DOUBLE) for weight in g]
                for tap, value in enumerate(_both_ways(transforms, g, height, width)):
                    place = _tap(builder, tap, to, stride)
                    u.store(written, value.converted(u.number_type), place)

            whole = Memory(builder, u.number_type)
            with builder.if_else(builder.icmp_signed("==", n, INT(LANES))) as (then, otherwise):
                with then:
                    tile(whole, whole)
                with otherwise:
                    tile(*(Memory(builder, u.number_type, count) for count in (n, m)))
            return context.get_dummy_value()

        return types.void(places, INTEGER, u, INTEGER, INTEGER, INTEGER), emit

    return transform


def _input(rows: int, columns: int):
    """Return the intrinsic for tiles of so many pixels."""
    transforms = [
        rows_in_pairs(input_matrix(pixels)) if pixels > 1 else None for pixels in (rows, columns)
    ]

    @intrinsic
    def transform(typing_context, places, c, n, v, to, stride):
        """Write ``B' d B`` of pixels d to n numbers for each tap, the first at ``v[to]``.

        Parameters
        ----------
        places : int64 array
            Addresses of the pixels.
        c, n : int
            The first channel, and how many there are: LANES at most.
        v : array
        to, stride : int
            Where the first tap begins, and how far it is to the next.
        """

        def emit(context, builder, signature, arguments):
            places, c, n, v, to, stride = _unpack(context, builder, signature, arguments)

            def tile(memory):
                d = [places.load(memory, i, c) for i in range(rows * columns)]
                for tap, value in enumerate(_both_ways(transforms, d, rows, columns)):
                    v.store(memory, value, _tap(builder, tap, to, stride))

            _whole_or_not(builder, v.number_type, n, tile)
            return context.get_dummy_value()

        return types.void(places, INTEGER, INTEGER, v, INTEGER, INTEGER), emit

    return transform


def _output(rows: int, columns: int, size: int):
    """Return the intrinsic for tiles of so many taps and of `size` outputs along each axis."""
    transforms = [
        columns_in_pairs(output_matrix(taps, size)) if taps > 1 else None
        for taps in (rows, columns)
    ]

    @intrinsic
    def transform(typing_context, m, at, stride, bias, places, sources, c, n, added, relu):
        """Write ``relu(A' M A + bias + residual)`` to the output's pixels.

        Parameters
        ----------
        m : array
        at, stride : int
            Where the first tap of M begins, and how far it is to the next.
        bias : array
            Its numbers from c on.
        places, sources : int64 arrays
            Addresses of the output's and of the residual's pixels.
        c, n : int
            The first channel of the three, and how many there are: LANES at most.
        added, relu : bool
            Whether there is a residual, and whether to cut negative numbers off.
        """

        def emit(context, builder, signature, arguments):
            m, at, stride, bias, places, sources, c, n, added, relu = _unpack(
                context, builder, signature, arguments
            )
            added, relu = flag(builder, added), flag(builder, relu)

            def tile(memory):
                taps = _load_taps(builder, memory, m, at, stride, rows * columns)
                first = bias.load(memory, c)
                y = [value + first for value in _both_ways(transforms, taps, rows, columns)]
                y = _add_if(builder, added, y, lambda i: sources.load(memory, i, c))
                for i, value in enumerate(y):  # the ReLU is written so that NaN stays NaN
                    negative = builder.and_(_for_all(builder, relu), value.compared_to_zero("<"))
                    places.store(memory, value.zero_where(negative), i, c)

            _whole_or_not(builder, m.number_type, n, tile)
            return context.get_dummy_value()

        signature = types.void(
            m, INTEGER, INTEGER, bias, places, sources, INTEGER, INTEGER, types.boolean,
            types.boolean,
        )  # fmt: skip
        return signature, emit

    return transform


kernel_tile, input_tile, output_tile = _kernel(3, 3, 6, 6), _input(6, 6), _output(6, 6, 4)
kernel_line, input_line, output_line = _kernel(1, 7, 1, 10), _input(1, 10), _output(1, 10, 4)


@intrinsic
def gradient_tile(typing_context, places, outputs, masked, c, n, dm, to, stride):
    """Write ``A dz A'`` to n numbers for each tap; dz is dy, or 0 where the ReLU was.

    Parameters
    ----------
    places, outputs : int64 arrays
        Addresses of 16 pixels of dy and of the output.
    masked : bool
        Whether there was a ReLU.
    c, n, dm, to, stride
        As for :func:`input_tile`.
    """

    def emit(context, builder, signature, arguments):
        places, outputs, masked, c, n, dm, to, stride = _unpack(
            context, builder, signature, arguments
        )
        masked = flag(builder, masked)
        transform = rows_in_pairs(output_matrix(6, 4).T)

        def tile(memory):
            dz = []
            for i in range(16):
                negative = outputs.load(memory, i, c).compared_to_zero("<=")
                hidden = builder.and_(_for_all(builder, masked), negative)
                dz.append(places.load(memory, i, c).zero_where(hidden))
            for tap, value in enumerate(_both_ways([transform] * 2, dz, 4, 4)):
                dm.store(memory, value, _tap(builder, tap, to, stride))

        _whole_or_not(builder, dm.number_type, n, tile)
        return context.get_dummy_value()

    signature = types.void(places, places, types.boolean, INTEGER, INTEGER, dm, INTEGER, INTEGER)
    return signature, emit


@intrinsic
def input_gradient_tile(typing_context, dv, at, stride, places, c, n, above, left):
    """Write ``B dV B'`` to 36 pixels of dx, or add it where another tile has been.

    Parameters
    ----------
    dv : array
    at, stride : int
        Where the first tap of dV begins, and how far it is to the next.
    places : int64 array
        Addresses of the pixels.
    c, n
        As for :func:`input_tile`.
    above, left : bool
        Whether there is a tile above, which shares the upper two rows, and one to the left.
    """

    def emit(context, builder, signature, arguments):
        dv, at, stride, places, c, n, above, left = _unpack(context, builder, signature, arguments)
        above, left = flag(builder, above), flag(builder, left)
        transform = columns_in_pairs(input_matrix(6).T)

        def tile(memory):
            taps = _load_taps(builder, memory, dv, at, stride, 36)
            for i, value in enumerate(_both_ways([transform] * 2, taps, 6, 6)):
                conditions = [above] * (i < 12) + [left] * (i % 6 < 2)
                if conditions:
                    fresh = builder.not_(
                        builder.or_(*conditions) if len(conditions) == 2 else conditions[0]
                    )
                    value += places.load(memory, i, c).zero_where(fresh)
                places.store(memory, value, i, c)

        _whole_or_not(builder, dv.number_type, n, tile)
        return context.get_dummy_value()

    signature = types.void(
        dv, INTEGER, INTEGER, places, INTEGER, INTEGER, types.boolean, types.boolean
    )
    return signature, emit


def _both_ways(transforms, d: list, rows: int, columns: int) -> list:
    """Apply a transform to the columns and one to the rows of a tile, where it has several."""
    table = [d[columns * i : columns * (i + 1)] for i in range(rows)]
    down, across = transforms
    if across is not None:
        table = [across(row) for row in table]
    if down is not None:
        table = list(zip(*(down(column) for column in zip(*table, strict=True)), strict=True))
    return [value for row in table for value in row]


def _add_if(builder, condition, values: list, others) -> list:
    """Return ``values[i] + others(i)`` if the condition holds, otherwise the values."""
    with builder.if_else(condition) as (then, otherwise):
        with then:
            sums = [value + others(i) for i, value in enumerate(values)]
            after = builder.block
        with otherwise:
            before = builder.block
    return [value.merged(before, total, after) for value, total in zip(values, sums, strict=True)]


def _for_all(builder, condition):
    """Return a condition once for each lane."""
    return builder.select(condition, everywhere(True), everywhere(False))


def _tap(builder, tap: int, first, stride):
    """Return where a tap begins."""
    return builder.add(first, builder.mul(INT(tap), stride))


def _load_taps(builder, memory: Memory, numbers: _Numbers, first, stride, count: int) -> list:
    return [numbers.load(memory, _tap(builder, i, first, stride)) for i in range(count)]


def _whole_or_not(builder, number_type, n, tile) -> None:
    """Emit a tile for whole vectors, and once more for their first n numbers."""
    with builder.if_else(builder.icmp_signed("==", n, INT(LANES))) as (then, otherwise):
        with then:
            tile(Memory(builder, number_type))
        with otherwise:
            tile(Memory(builder, number_type, n))


def _unpack(context, builder, signature, arguments) -> list:
    """Return arrays as what the tiles read and write, everything else as it is."""
    unpacked = []
    for kind, value in zip(signature.args, arguments, strict=True):
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            is_places = isinstance(kind.dtype, types.Integer)
            value = (_Places if is_places else _Numbers)(context, builder, kind, array)
        unpacked.append(value)
    return unpacked


class _Numbers:
    """An array of numbers, counted from its beginning."""

    def __init__(self, context, builder, kind, array):
        self.pointer = array.data
        self.number_type = context.get_data_type(kind.dtype)

    def load(self, memory: Memory, index):
        return memory.load(self.pointer, index)

    def store(self, memory: Memory, value, index) -> None:
        memory.store(value, self.pointer, index)


class _Places:
    """An array of addresses."""

    def __init__(self, context, builder, kind, array):
        self.builder, self.pointer = builder, array.data

    def _pixel(self, memory: Memory, i: int):
        address = self.builder.load(self.builder.gep(self.pointer, [INT(i)]))
        return pointer_to(self.builder, address, memory.number_type)

    def load(self, memory: Memory, i: int, c):
        return memory.load(self._pixel(memory, i), c)

    def store(self, memory: Memory, value, i: int, c) -> None:
        memory.store(value, self._pixel(memory, i), c)
