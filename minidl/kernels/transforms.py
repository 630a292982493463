"""Winograd's transforms of one tile, vector by vector.

Each is a small matrix applied to the columns and the rows of a tile of pixels, for LANES channels
at a time: everything stays in registers between the first load and the last store, where a
loop over channels would write 36 numbers between the two steps and read them again. What follows an
output - bias, addition, ReLU - is done on the way.

The matrices are written as the few additions that they take. For F(4x4, 3x3), a tile of 6x6
pixels, they are Lavin and Gray's (2015), of the points 0, 1, -1, 2, -2; the gradients take the
transposed ones, as :mod:`minidl.kernels.winograd_backward` explains.

Where pixels lie is said by `places`, an array of addresses: one outside the image is that of
some zeros to read, or of some numbers that nobody reads. The functions take these and arrays, and
check nothing. Importing this module imports Numba; its cache of :mod:`minidl.kernels.transformed`
does not see changes made here: touch that file as well.

>>> from minidl.kernels.transforms import input_transform
>>> input_transform([1, 0, 0, 0, 0, 0])  # the first column of B'
(4, 0, 0, 0, 0, 0)
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from minidl.kernels.vectors import INT, LANES, Memory, flag, pointer_to

INTEGER = types.intp

__all__ = [
    "gradient_tile", "gradient_transform", "input_gradient_tile", "input_gradient_transform",
    "input_tile", "input_transform", "output_tile", "output_transform",
]  # fmt: skip


def input_transform(d):
    """Return B' d."""
    p, q, r, s = d[4] - 4 * d[2], d[3] - 4 * d[1], d[4] - d[2], 2 * (d[3] - d[1])
    return 4 * d[0] - 5 * d[2] + d[4], p + q, p - q, r + s, r - s, 4 * d[1] - 5 * d[3] + d[5]


def output_transform(m):
    """Return A' m."""
    p, q, r, s = m[1] + m[2], m[3] + m[4], m[1] - m[2], m[3] - m[4]
    return m[0] + p + q, r + 2 * s, p + 4 * q, r + 8 * s + m[5]


def gradient_transform(dy):
    """Return A dy."""
    p, q, r, s = dy[0] + dy[2], dy[1] + dy[3], dy[0] + 4 * dy[2], 2 * dy[1] + 8 * dy[3]
    return dy[0], p + q, p - q, r + s, r - s, dy[3]


def input_gradient_transform(dv):
    """Return B dv."""
    p, q, r, s = dv[1] + dv[2], dv[3] + dv[4], dv[1] - dv[2], 2 * (dv[3] - dv[4])
    return (
        4 * dv[0], 4 * (dv[5] - r) - s, -5 * dv[0] - 4 * p - q, r + s - 5 * dv[5],
        dv[0] + p + q, dv[5],
    )  # fmt: skip


@intrinsic
def input_tile(typing_context, places, c, n, v, to, stride):
    """Write ``B' d B`` of 36 pixels d to n numbers for each tap, the first at ``v[to]``.

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
            d = [[places.load(memory, 6 * i + j, c) for j in range(6)] for i in range(6)]
            for tap, value in enumerate(_both_ways(input_transform, d)):
                v.store(memory, value, _tap(builder, tap, to, stride))

        _whole_or_not(builder, v.number_type, n, tile)
        return context.get_dummy_value()

    return types.void(places, INTEGER, INTEGER, v, INTEGER, INTEGER), emit


@intrinsic
def output_tile(typing_context, m, at, stride, bias, places, sources, c, n, added, relu):
    """Write ``relu(A' M A + bias + residual)`` to 16 pixels.

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

        def tile(memory):
            taps = _load_taps(builder, memory, m, at, stride)
            first = bias.load(memory, c)
            y = [value + first for value in _both_ways(output_transform, taps)]
            with builder.if_else(flag(builder, added)) as (then, otherwise):
                with then:
                    sums = [y[i] + sources.load(memory, i, c) for i in range(16)]
                    after = builder.block
                with otherwise:
                    before = builder.block
            for i in range(16):
                value = builder.phi(memory.type)
                value.add_incoming(sums[i].value, after)
                value.add_incoming(y[i].value, before)
                y[i] = type(y[i])(builder, value)
            for i, value in enumerate(y):  # the ReLU is written so that NaN stays NaN
                cut = value.zero_where(value.compared_to_zero("<"))
                cut = builder.select(flag(builder, relu), cut.value, value.value)
                places.store(memory, type(value)(builder, cut), i, c)

        _whole_or_not(builder, m.number_type, n, tile)
        return context.get_dummy_value()

    signature = types.void(
        m, INTEGER, INTEGER, bias, places, sources, INTEGER, INTEGER, types.boolean, types.boolean
    )
    return signature, emit


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

        def tile(memory):
            dz = []
            for i in range(16):
                dy = places.load(memory, i, c)
                hidden = outputs.load(memory, i, c).compared_to_zero("<=")
                kept = builder.select(flag(builder, masked), dy.zero_where(hidden).value, dy.value)
                dz.append(type(dy)(builder, kept))
            rows = [dz[4 * i : 4 * i + 4] for i in range(4)]
            for tap, value in enumerate(_both_ways(gradient_transform, rows)):
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

        def tile(memory):
            taps = _load_taps(builder, memory, dv, at, stride)
            for i, value in enumerate(_both_ways(input_gradient_transform, taps)):
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


def _both_ways(transform, rows) -> list:
    """Apply a transform to each row, then to each column; return the results row by row."""
    rows = [transform(row) for row in rows]
    columns = [transform(column) for column in zip(*rows, strict=True)]
    return [value for row in zip(*columns, strict=True) for value in row]


def _tap(builder, tap: int, first, stride):
    """Return where a tap begins."""
    return builder.add(first, builder.mul(INT(tap), stride))


def _load_taps(builder, memory: Memory, numbers: _Numbers, first, stride) -> list[list]:
    """Return the 6x6 taps of a tile."""
    return [
        [numbers.load(memory, _tap(builder, 6 * i + j, first, stride)) for j in range(6)]
        for i in range(6)
    ]


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
