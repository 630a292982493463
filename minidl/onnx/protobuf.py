"""Protocol Buffers: messages as dataclasses, written to and read from the wire format.

A message is a sequence of fields. A field is a tag (number and wire type) and a value: a varint, 4
or 8 bytes, or a length and that many bytes, which hold text, numbers or another message. The field
numbers are declared in the class; they drive writing and reading.
https://protobuf.dev/programming-guides/encoding/

>>> from dataclasses import dataclass
>>> @dataclass
... class Person(Message):
...     name: str = field(1, STRING, "")
...     scores: list[int] = repeated(2, INT)
>>> data = Person("Ada", [1, 300]).to_bytes()
>>> data.hex(" ")
'0a 03 41 64 61 10 01 10 ac 02'
>>> Person.from_bytes(data)
Person(name='Ada', scores=[1, 300])
"""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np

from minidl.common.errors import FileFormatError

__all__ = [
    "BYTES",
    "DOUBLE",
    "FLOAT",
    "INT",
    "STRING",
    "Message",
    "encode_varint",
    "field",
    "packed",
    "read_fields",
    "repeated",
]

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 (groups) are obsolete
MAX_DEPTH = 32  # messages within messages
MAX_COST = 10_000_000  # of one file: a value costs 1, a message 20, in proportion to their memory
MESSAGE_COST = 20
MAX_VARINT = 10  # bytes
Buffer = bytes | memoryview


@dataclass(frozen=True)
class Scalar:
    """How one value is written and read."""

    wire_type: int
    encode: Callable[[Any], Buffer]
    decode: Callable[[Any], Any]


def encode_varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, the lowest first; negative ones modulo 2**64."""
    value &= 2**64 - 1
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError("expected UTF-8 text") from error


INT = Scalar(VARINT, encode_varint, _signed)
FLOAT = Scalar(FIXED32, struct.Struct("<f").pack, lambda raw: struct.unpack("<f", raw)[0])
DOUBLE = Scalar(FIXED64, struct.Struct("<d").pack, lambda raw: struct.unpack("<d", raw)[0])
STRING = Scalar(DELIMITED, lambda text: text.encode(), _text)
BYTES = Scalar(DELIMITED, lambda data: data, lambda raw: raw)  # a view of the file, not a copy


@dataclass(frozen=True)
class WireField:
    """A row of a message's table: number, kind and whether the field may repeat.

    `kind` is a Scalar, a dtype for a packed array of numbers, or a function that returns a message
    class (which may be defined further below).
    """

    name: str
    number: int
    kind: Any
    repeats: bool


def field(number: int, kind: Any, default: Any = None) -> Any:
    """Declare a field with at most one value. A value equal to `default` is not written.

    Parameters
    ----------
    number : int
        Field number of the wire format.
    kind : Scalar, or function that returns a message class
    default : object
        Value of a field that the data lack.
    """
    return dataclasses.field(default=default, metadata={"wire": (number, kind, False)})


def repeated(number: int, kind: Any) -> Any:
    """Declare a field with a list of values. See :func:`field`."""
    return dataclasses.field(default_factory=list, metadata={"wire": (number, kind, True)})


def packed(number: int, dtype: str) -> Any:
    """Declare an array of numbers of `dtype` ``"<f4"``, ``"<f8"``, ``"<i8"`` or ``"<u8"``."""
    return dataclasses.field(
        default_factory=functools.partial(np.empty, 0, dtype),
        metadata={"wire": (number, np.dtype(dtype), False)},
        compare=False,
    )


class Message:
    """Base class of messages: dataclasses whose fields were declared by the functions above."""

    @classmethod
    def wire_fields(cls) -> tuple[WireField, ...]:
        """Return the table of fields in the order of their numbers."""
        key: Any = cls
        return _table(key)

    def to_chunks(self) -> list[Buffer]:
        """Return the encoded message in pieces, without a copy of large byte fields."""
        chunks: list[Buffer] = []
        cls: Any = type(self)
        for row in self.wire_fields():
            value = getattr(self, row.name)
            if isinstance(row.kind, np.dtype):
                if len(value):
                    _append_delimited(chunks, row.number, [_pack(value, row.kind)])
            elif row.repeats:
                for item in value:
                    _append(chunks, row, item)
            elif value is not None and value != _default(cls, row.name):
                _append(chunks, row, value)
        return chunks

    def to_bytes(self) -> bytes:
        """Return the encoded message. Equal messages give equal bytes."""
        return b"".join(self.to_chunks())

    @classmethod
    def from_bytes(cls, data: Buffer) -> Self:
        """Decode a message. Its byte fields are views of `data`; unknown fields are skipped.

        Raises
        ------
        FileFormatError
            If the data are truncated or damaged, nested too deeply, or have too many fields.
        """
        return _decode(cls, memoryview(data).cast("B"), _Budget(), 1)


M = TypeVar("M", bound=Message)


def read_fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Yield (field number, wire type, value) of a message: an int, or a view of the bytes.

    Raises
    ------
    FileFormatError
        If the data are truncated or damaged; the message gives the offset.
    """
    position, end = 0, len(data)
    while position < end:
        start = position
        tag, position = _read_varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise FileFormatError(f"byte {start}: expected a field number, received {number}")
        if wire_type == VARINT:
            value, position = _read_varint(data, position)
            yield number, wire_type, value
            continue
        if wire_type == DELIMITED:
            size, position = _read_varint(data, position)
        elif wire_type in (FIXED32, FIXED64):
            size = 4 if wire_type == FIXED32 else 8
        else:
            raise FileFormatError(f"byte {start}: expected a wire type, received {wire_type}")
        if size > end - position:
            raise FileFormatError(
                f"byte {start}: truncated, field {number} of {size} bytes has {end - position}"
            )
        yield number, wire_type, data[position : position + size]
        position += size


# --------------------------------------------------------------------------------- writing


def _append(chunks: list[Buffer], row: WireField, value: Any) -> None:
    """Append tag and value of one field."""
    if not isinstance(row.kind, Scalar):
        _append_delimited(chunks, row.number, value.to_chunks())
    elif row.kind.wire_type == DELIMITED:
        _append_delimited(chunks, row.number, [row.kind.encode(value)])
    else:
        chunks += encode_varint(row.number << 3 | row.kind.wire_type), row.kind.encode(value)


def _append_delimited(chunks: list[Buffer], number: int, content: list[Buffer]) -> None:
    size = sum(len(chunk) for chunk in content)
    chunks.append(encode_varint(number << 3 | DELIMITED) + encode_varint(size))
    chunks += content


def _pack(values: Any, dtype: np.dtype) -> bytes:
    values = np.asarray(values, dtype)
    if dtype.kind == "f":
        return values.tobytes()
    return b"".join(map(encode_varint, values.tolist()))


@functools.cache
def _table(cls: Any) -> tuple[WireField, ...]:
    rows = [WireField(row.name, *row.metadata["wire"]) for row in dataclasses.fields(cls)]
    return tuple(sorted(rows, key=lambda row: row.number))


@functools.cache
def _default(cls: Any, name: str) -> Any:
    return next(row.default for row in dataclasses.fields(cls) if row.name == name)


# --------------------------------------------------------------------------------- reading


class _Budget:
    """The number of objects that the data may still create."""

    def __init__(self) -> None:
        self.left = MAX_COST

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise FileFormatError(f"expected at most {MAX_COST // MESSAGE_COST} messages")


def _decode(cls: type[M], data: memoryview, budget: _Budget, depth: int) -> M:
    if depth > MAX_DEPTH:
        raise FileFormatError(f"expected at most {MAX_DEPTH} nested messages")
    budget.spend(MESSAGE_COST)
    message = cls()
    table = {row.number: row for row in cls.wire_fields()}
    arrays: dict[str, list[np.ndarray]] = {}
    for number, wire_type, value in read_fields(data):
        row = table.get(number)
        if row is None:
            continue
        present = getattr(message, row.name)
        try:
            if isinstance(row.kind, np.dtype):
                arrays.setdefault(row.name, []).append(_unpack(wire_type, value, row.kind))
                budget.spend(1)
            elif isinstance(row.kind, Scalar):
                items = _decode_scalars(row, wire_type, value)
                budget.spend(len(items))
                if row.repeats:
                    present.extend(items)
                else:
                    setattr(message, row.name, items[0])
            else:
                _require(wire_type == DELIMITED, wire_type)
                item = _decode(row.kind(), value, budget, depth + 1)
                if row.repeats:
                    present.append(item)
                elif present is not None:
                    raise FileFormatError("expected one message, received two")
                else:
                    setattr(message, row.name, item)
        except FileFormatError as error:
            index = f"[{len(present)}]" if row.repeats else ""
            separator = "" if str(error).startswith(".") else ": "
            raise FileFormatError(f".{row.name}{index}{separator}{error}") from error
    for name, parts in arrays.items():
        setattr(message, name, parts[0] if len(parts) == 1 else np.concatenate(parts))
    return message


def _decode_scalars(row: WireField, wire_type: int, value: Any) -> list[Any]:
    """Return the value of a field, or the values of a packed one."""
    kind: Scalar = row.kind
    if wire_type == kind.wire_type:
        return [kind.decode(value)]
    _require(row.repeats and wire_type == DELIMITED, wire_type)
    dtype = {VARINT: "<i8", FIXED32: "<f4", FIXED64: "<f8"}.get(kind.wire_type, "")
    return _unpack(wire_type, value, np.dtype(dtype)).tolist()


def _unpack(wire_type: int, value: Any, dtype: np.dtype) -> np.ndarray:
    """Return the numbers of a packed field, or the single number of an unpacked one."""
    if dtype.kind == "f":
        single = FIXED32 if dtype.itemsize == 4 else FIXED64
        _require(wire_type in (single, DELIMITED), wire_type)
        if len(value) % dtype.itemsize:
            raise FileFormatError(
                f"expected numbers of {dtype.itemsize} bytes, received {len(value)} bytes"
            )
        return np.frombuffer(value, dtype)
    _require(wire_type in (VARINT, DELIMITED), wire_type)
    if wire_type == VARINT:
        return np.array([value], np.uint64).view(dtype)
    return _unpack_varints(value).view(dtype)


def _unpack_varints(data: memoryview) -> np.ndarray:
    """Return the numbers of consecutive varints, as uint64."""
    octets = np.frombuffer(data, np.uint8)
    last = np.flatnonzero(octets < 0x80)  # the byte that ends each number
    if octets.size and (not last.size or last[-1] != octets.size - 1):
        raise FileFormatError("truncated within a number")
    starts = np.concatenate([[0], last + 1])[:-1]
    if last.size == 0:
        return np.empty(0, np.uint64)
    lengths = last - starts + 1
    if lengths.max() > MAX_VARINT:
        raise FileFormatError(f"expected numbers of at most {MAX_VARINT} bytes")
    places = np.arange(octets.size) - np.repeat(starts, lengths)
    values = (octets & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.add.reduceat(values, starts)


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the number at `position`, and the position behind it."""
    value = shift = 0
    for offset in range(position, min(position + MAX_VARINT, len(data))):
        octet = data[offset]
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value & (2**64 - 1), offset + 1
        shift += 7
    problem = "truncated" if position + MAX_VARINT > len(data) else "a number is too long"
    raise FileFormatError(f"byte {position}: {problem}")


def _require(fits: bool, wire_type: int) -> None:
    if not fits:
        raise FileFormatError(f"expected another wire type, received {wire_type}")
