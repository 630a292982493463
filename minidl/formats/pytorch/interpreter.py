"""An interpreter for the part of the pickle language that PyTorch's state dicts need.

A pickle is a program for a small stack machine. Python's unpickler lets the program import any
module and call any function, so that reading a file from an unknown source can execute code. This
interpreter imports nothing. It knows 32 opcodes, and a program can call only the functions that
the caller lists; everything else is refused by name. Nesting needs no recursion, and the number
of steps is limited.

>>> from minidl.formats.pytorch.interpreter import interpret
>>> interpret(b"\\x80\\x02}X\\x01\\x00\\x00\\x00aK\\x07s.", {})
({'a': 7}, 13)
>>> interpret(b"\\x80\\x02cos\\nsystem\\nX\\x02\\x00\\x00\\x00ls\\x85R.", {})
Traceback (most recent call last):
    ...
minidl.common.errors.FileFormatError: refers to os.system, which state dicts do not need: expected \
the tensors alone. Save them with torch.save(model.state_dict(), path)

The opcodes are those of protocol 2, which ``torch.save`` writes; see Lib/pickletools.py of CPython.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from minidl.common.errors import FileFormatError

__all__ = ["ADVICE", "Function", "interpret"]

ADVICE = "Save them with torch.save(model.state_dict(), path)"
MAX_STEPS = 500_000  # a tensor needs about 35
MAX_TEXT, MAX_NAME = 2**16, 256  # bytes of one string, and of a module's or function's name
PROTOCOL = 2


@dataclass(frozen=True)
class Function:
    """A function that a pickle may call; nothing else is callable for the interpreter."""

    name: str
    call: Callable[..., Any]


def interpret(
    data: bytes | memoryview,
    known: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    offset: int = 0,
) -> tuple[Any, int]:
    """Execute one pickle and return its object, and the offset of the byte after it.

    Parameters
    ----------
    data : bytes
    known : dict of str to object
        What the pickle may refer to, by ``module.name``. A :class:`Function` can be called.
    persistent : callable, optional
        Returns the object for a persistent id; by default these are refused.
    offset : int
        Offset of the pickle in `data`.

    Returns
    -------
    (object, int)

    Raises
    ------
    FileFormatError
        If the pickle is damaged, too long, or needs anything that is not listed.
    """
    machine = _Machine(data, known, persistent, offset)
    while not machine.is_finished:
        machine.step()
    return machine.result, machine.offset


class _Machine:
    """The stack machine: a stack, the stacks below each open mark, and a memo of objects."""

    def __init__(
        self,
        data: bytes | memoryview,
        known: Mapping[str, Any],
        persistent: Callable[[Any], Any] | None,
        offset: int,
    ):
        self.data, self.known, self.persistent = data, known, persistent
        self.offset, self.begin, self.steps = offset, offset, 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the open marks
        self.memo: dict[int, Any] = {}
        self.result: Any = None
        self.is_finished = False

    def step(self) -> None:
        """Execute one opcode."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise FileFormatError(
                f"expected a pickle of at most {MAX_STEPS:,} steps, as state dicts need fewer"
            )
        code = self.take(1)[0]
        action = _ACTIONS.get(code)
        if action is None:
            raise FileFormatError(
                f"expected the opcodes of state dicts, received {_opcode_name(code)}. "
                "It is refused because it can execute code or is not written by torch.save"
            )
        action(self)

    # Bytes

    def take(self, count: int) -> bytes:
        """Return the next bytes of the program."""
        part = bytes(self.data[self.offset : self.offset + count])
        if len(part) != count:
            raise FileFormatError("the pickle is truncated; get the file again")
        self.offset += count
        return part

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def line(self) -> str:
        """Return the text up to the next newline."""
        window = bytes(self.data[self.offset : self.offset + MAX_NAME])
        text, newline, _ = window.partition(b"\n")
        if not newline:
            raise self.damaged("a name has no end")
        self.offset += len(text) + 1
        return _decoded(text)

    def text(self, length: int) -> str:
        if length > MAX_TEXT:
            raise FileFormatError(f"expected strings of at most {MAX_TEXT} bytes, received more")
        return _decoded(self.take(length))

    # Stack

    def pop(self) -> Any:
        if not self.stack:
            raise self.damaged("the stack is empty")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """Return the object on top, which must be of type `kind` and stays there."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.damaged(f"expected a {kind.__name__} on the stack")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Any]:
        if not self.below:
            raise self.damaged("there is no mark")
        items, self.stack = self.stack, self.below.pop()
        return items

    def damaged(self, problem: str) -> FileFormatError:
        at = self.offset - self.begin
        return FileFormatError(f"the pickle is damaged at byte {at}: {problem}; get the file again")


# Actions of the opcodes


def _proto(m: _Machine) -> None:
    version = m.take(1)[0]
    if version != PROTOCOL:
        raise FileFormatError(
            f"expected pickle protocol {PROTOCOL}, received {version}. Save the file with "
            "torch.save without pickle_protocol"
        )


def _stop(m: _Machine) -> None:
    m.result, m.is_finished = m.pop(), True
    if m.stack or m.below:
        raise m.damaged("objects are left on the stack")


def _mark(m: _Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _global(m: _Machine) -> None:
    name = f"{m.line()}.{m.line()}"
    if name not in m.known:
        raise FileFormatError(
            f"refers to {_shown(name)}, which state dicts do not need: expected the tensors alone. "
            f"{ADVICE}"
        )
    m.stack.append(m.known[name])


def _reduce(m: _Machine) -> None:
    arguments, function = m.pop(), m.pop()
    if not isinstance(function, Function) or not isinstance(arguments, tuple):
        raise FileFormatError(
            "expected calls of the functions that rebuild tensors, received a call of "
            f"{_shown(repr(type(function).__name__))}. It is refused"
        )
    try:
        result = function.call(*arguments)
    except TypeError as error:
        raise m.damaged(f"{function.name} has wrong arguments") from error
    m.stack.append(result)


def _build(m: _Machine) -> None:
    """Accept the attribute ``_metadata`` of a state dict, which minidl does not need."""
    state = m.pop()
    m.top(OrderedDict)
    if not isinstance(state, dict) or set(state) - {"_metadata"}:
        raise FileFormatError(
            "expected the attribute '_metadata' of a state dict, received the state of another "
            "object. It is refused because setting it can execute code"
        )


def _persistent_id(m: _Machine) -> None:
    if m.persistent is None:
        raise FileFormatError("refers to a storage before the state dict; get the file again")
    m.stack.append(m.persistent(m.pop()))


def _set_items(target: dict[Any, Any], items: list[Any], m: _Machine) -> None:
    if len(items) % 2:
        raise m.damaged("a key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, (str, int)):  # other keys may be slow to hash
            raise FileFormatError(
                f"expected names or numbers as keys of a dict, received {type(key).__name__}"
            )
        if key in target:
            raise FileFormatError(f"the key {_shown(repr(key))} occurs twice in one dict")
        target[key] = value


def _setitem(m: _Machine) -> None:
    value, key = m.pop(), m.pop()
    _set_items(m.top(dict), [key, value], m)


def _setitems(m: _Machine) -> None:
    items = m.pop_to_mark()
    _set_items(m.top(dict), items, m)


def _append(m: _Machine) -> None:
    value = m.pop()
    m.top(list).append(value)


def _appends(m: _Machine) -> None:
    items = m.pop_to_mark()
    m.top(list).extend(items)


def _put(form: str) -> Callable[[_Machine], None]:
    def put(m: _Machine) -> None:
        m.memo[m.number(form)] = m.top(object)

    return put


def _get(form: str) -> Callable[[_Machine], None]:
    def get(m: _Machine) -> None:
        number = m.number(form)
        if number not in m.memo:
            raise m.damaged(f"there is no object {number} in the memo")
        m.stack.append(m.memo[number])

    return get


def _tuple(count: int) -> Callable[[_Machine], None]:
    def make_tuple(m: _Machine) -> None:
        items = [m.pop() for _ in range(count)]
        m.stack.append(tuple(reversed(items)))

    return make_tuple


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def push(m: _Machine) -> None:
        item = value(m)  # before m.stack is looked up: closing a mark replaces the stack
        m.stack.append(item)

    return push


_ACTIONS: dict[int, Callable[[_Machine], None]] = {
    ord(character): action
    for character, action in {
        "\x80": _proto,
        ".": _stop,
        "(": _mark,
        "c": _global,
        "R": _reduce,
        "b": _build,
        "Q": _persistent_id,
        "s": _setitem,
        "u": _setitems,
        "a": _append,
        "e": _appends,
        "q": _put("<B"),
        "r": _put("<I"),
        "h": _get("<B"),
        "j": _get("<I"),
        ")": _tuple(0),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "t": _push(lambda m: tuple(m.pop_to_mark())),
        "]": _push(lambda m: []),
        "}": _push(lambda m: {}),
        "N": _push(lambda m: None),
        "\x88": _push(lambda m: True),
        "\x89": _push(lambda m: False),
        "J": _push(lambda m: m.number("<i")),
        "K": _push(lambda m: m.number("<B")),
        "M": _push(lambda m: m.number("<H")),
        "\x8a": _push(lambda m: int.from_bytes(m.take(m.number("<B")), "little", signed=True)),
        "G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
        "X": _push(lambda m: m.text(m.number("<I"))),
        "U": _push(lambda m: m.text(m.number("<B"))),  # strings of Python 2
    }.items()
}


def _opcode_name(code: int) -> str:
    """Return the name of an opcode for messages."""
    from pickletools import opcodes

    names = [opcode.name for opcode in opcodes if ord(opcode.code) == code]
    return f"the opcode {names[0]}" if names else f"the unknown opcode {code:#04x}"


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise FileFormatError("the pickle has a name that is not valid UTF-8") from error


def _shown(name: str) -> str:
    """Return a name from the file on one line of at most 100 characters."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 100 else f"{name[:97]}..."
