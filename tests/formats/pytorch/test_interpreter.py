"""The interpreter of pickles: nothing that a pickle asks for is imported, called or set."""

import builtins
import functools
import os
import struct
import sys
import tracemalloc
from collections import OrderedDict

import pytest
from support.pytorch_files import Pickler, text, zip_bytes
from support.tiny import refused

from minidl.common.errors import FileFormatError
from minidl.formats.pytorch import interpreter
from minidl.formats.pytorch.interpreter import Function, interpret
from minidl.formats.pytorch.tensors import KNOWN
from minidl.formats.reading import read_weight_file

EVENTS = ("pickle.", "exec", "os.", "subprocess.", "import", "open", "socket.")
heard = []
is_listening = False


@functools.cache  # an audit hook cannot be removed: one, and only in a process that needs it
def install_hook():
    def hook(event, arguments):
        if is_listening and event.startswith(EVENTS):
            heard.append((event, *map(repr, arguments[:1])))

    sys.addaudithook(hook)


def silently(run):
    """Call `run`; fail if it executed, imported or opened anything."""
    global is_listening
    from pickletools import opcodes  # noqa: F401  (the name of a refused opcode needs it)

    install_hook()
    heard.clear()
    is_listening = True
    try:
        return run()
    finally:
        is_listening = False
        assert not [event for event in heard if event[0] != "open"], heard


def run(code, known=KNOWN):
    return silently(lambda: interpret(b"\x80\x02" + code, known)[0])


def call(module, name, *arguments):
    """Return the opcodes of a call by REDUCE."""
    part = Pickler().part(arguments)
    return f"c{module}\n{name}\n".encode() + part + b"R."


DICT = b"ccollections\nOrderedDict\n"

# Names of published exploits, and of PyTorch's functions that read or run something.
CALLS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("__builtin__", "eval"),
    ("builtins", "__import__"),
    ("runpy", "_run_code"),
    ("pickle", "loads"),
    ("operator", "attrgetter"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch.serialization", "load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_qtensor"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.nn.modules.container", "Sequential"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("collections", "OrderedDict.__init__.__globals__"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("collections.OrderedDict\x00", "x"),
    ("", "collections.OrderedDict"),
]


@pytest.mark.parametrize(("module", "name"), CALLS, ids=lambda name: ascii(name)[1:-1])
def test_other_names_are_refused(module, name):
    shown = f"{module}.{name}".split("\x00")[0]
    with refused(FileFormatError, "refers to", shown, "torch.save(model.state_dict(), path)"):
        run(call(module, name, "touch canary"))


def test_a_name_alone_is_refused_before_any_call():
    with refused(FileFormatError, "os.system"):
        run(b"cos\nsystem\n.")


@pytest.mark.parametrize(
    ("opcode", "code"),
    {
        "INST": b"(ios\nsystem\n.",
        "OBJ": b"(" + DICT + text("ls") + b"o.",
        "NEWOBJ": DICT + b")\x81.",
        "NEWOBJ_EX": DICT + b")}\x92.",
        "STACK_GLOBAL": text("os") + text("system") + b"\x93.",
        "EXT1": b"\x82\x01.",
        "EXT2": b"\x83\x01\x00.",
        "EXT4": b"\x84\x01\x00\x00\x00.",
        "PERSID": b"Pos.system\n.",
        "STRING": b"S'os'\n.",
        "UNICODE": b"Vos\n.",
        "INT": b"I1\n.",
        "LONG": b"L1L\n.",
        "LONG4": b"\x8b\xff\xff\xff\x7f.",
        "FLOAT": b"F1\n.",
        "BINSTRING": b"T\x01\x00\x00\x00a.",
        "BINBYTES": b"B\x01\x00\x00\x00a.",
        "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2**60) + b".",
        "BINUNICODE8": b"\x8d" + struct.pack("<Q", 2**60) + b".",
        "SHORT_BINUNICODE": b"\x8c\x01a.",
        "FRAME": b"\x95" + struct.pack("<Q", 2**60) + b".",
        "MEMOIZE": b"}\x94.",
        "PUT": b"}p0\n.",
        "GET": b"g0\n.",
        "DUP": b"}2.",
        "POP": b"}0.",
        "POP_MARK": b"(1.",
        "DICT": b"(d.",
        "LIST": b"(l.",
        "EMPTY_SET": b"\x8f.",
        "FROZENSET": b"(\x91.",
        "NEXT_BUFFER": b"\x97.",
    }.items(),
)
def test_other_opcodes_are_refused_by_name(opcode, code):
    with refused(FileFormatError, f"received the opcode {opcode}."):
        run(code)


@pytest.mark.parametrize("version", [0, 1, 3, 4, 5, 255])
def test_other_protocols_are_refused(version):
    with refused(FileFormatError, "protocol 2", f"received {version}"):
        interpret(bytes([0x80, version]) + b"N.", {})


def test_an_unknown_opcode_is_refused():
    with refused(FileFormatError, "unknown opcode 0xff"):
        run(b"\xff.")


@pytest.mark.parametrize(
    "code",
    [
        text("os.system") + b")R.",  # a name is no function
        b"})R.",
        b"K\x01)R.",
        DICT + b")R)R.",  # nor is the result of a call
        b"ctorch\nFloatStorage\n)R.",  # nor a type of storage
        DICT + b"]R.",  # arguments must be a tuple
        DICT + b"}R.",
    ],
)
def test_only_known_functions_are_called_with_tuples(code):
    with refused(FileFormatError, "expected calls of the functions that rebuild tensors"):
        run(code)


@pytest.mark.parametrize(
    "state",
    [
        {"__class__": 1},
        {"_metadata": 1, "keys": 2},
        {"__dict__": {}},
        (None, {"_metadata": 1}),
        ({"_metadata": 1}, None),
        "_metadata",
        [1],
    ],
)
def test_attributes_of_objects_are_never_set(state):
    with refused(FileFormatError, "'_metadata'"):
        run(DICT + b")R" + Pickler().part(state) + b"b.")


def test_the_state_of_modules_is_accepted_and_dropped():
    found = run(DICT + b")R" + Pickler().part({"_metadata": {"": {"version": 1}}}) + b"b.")
    assert found == OrderedDict()
    assert vars(found) == {}


def test_the_state_of_other_objects_is_refused():
    with refused(FileFormatError, "OrderedDict"):
        run(b"}" + Pickler().part({"_metadata": 1}) + b"b.")


def test_the_memo_holds_no_way_around_the_list_of_names():
    """Exchanging what a number of the memo means does not exchange what is allowed."""
    with refused(FileFormatError, "expected calls"):
        run(DICT + b"q\x00" + text("os.system") + b"q\x00h\x00)R.")
    with refused(FileFormatError, "no object 4294967295 in the memo"):
        run(b"j\xff\xff\xff\xff.")


@pytest.mark.parametrize(
    "code",
    [b".", b"R.", b"b.", b"s.", b"q\x00.", b"t.", b"u.", b"e.", b"}a.", b"]s.", b"NQ.", b"N", b""],
    ids=repr,
)
def test_damaged_programs_are_refused(code):
    with refused(FileFormatError, "get the file again"):
        run(code)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (b"NN.", "left on the stack"),
        (b"(N.", "left on the stack"),
        (b"}(Nu.", "a key has no value"),
        (b"}(NNu.", "received NoneType"),
        (b"}]Ns.", "received list"),
        (b"})Ns.", "received tuple"),
        (b"}" + text("a") + b"Ns" + text("a") + b"Ns.", "'a' occurs twice"),
        (b"X\xff\xff\xff\xff.", "65536"),
        (b"X\x10\x00\x00\x00ab", "truncated"),
        (b"X\x01\x00\x00\x00\xff.", "UTF-8"),
        (b"c" + b"a" * 300 + b"\nb\n.", "no end"),
        (b"\x8a\x05\x01", "truncated"),
        (DICT + b"NNN\x87R.", "wrong arguments"),
    ],
)
def test_damage_is_named(code, words):
    with refused(FileFormatError, words):
        run(code)


# Time and memory


def test_nesting_needs_no_recursion():
    depth = 200_000
    nested = b"]" * depth + b"a" * (depth - 1) + b"."
    assert isinstance(run(nested), list)
    tuples = b")" + b"\x85" * depth + b"."
    assert isinstance(run(tuples), tuple)
    with refused(FileFormatError, "received tuple"):  # hashing such a key would recurse
        run(b"}" + tuples[:-1] + b"Ns.")


def test_objects_may_contain_themselves():
    assert run(b"]q\x00h\x00a.")[0] is not None
    found = run(b"}q\x00" + text("model") + b"h\x00s.")
    assert found["model"] is found


def test_shared_parts_are_not_multiplied():
    """A program whose result has 2 ** 1000 leaves costs a thousand steps."""
    doubled = b")q\x00" + b"h\x00h\x00\x86q\x00" * 1000
    tracemalloc.start()
    run(b"(" + doubled + b"t.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_number_of_steps_is_limited(monkeypatch):
    monkeypatch.setattr(interpreter, "MAX_STEPS", 1000)
    with refused(FileFormatError, "at most 1,000 steps"):
        run(b"}" * 2000)


def test_functions_are_known_by_the_callers_list_alone():
    known = {"a.b": Function("a.b", lambda x: x + 1)}
    assert run(b"ca\nb\nK\x01\x85R.", known) == 2
    with refused(FileFormatError, "collections.OrderedDict"):
        run(DICT + b")R.", known)


@pytest.mark.parametrize(("module", "name"), CALLS[:4])
def test_a_file_with_such_a_pickle_runs_nothing(tmp_path, monkeypatch, module, name):
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("os.system was called"))
    monkeypatch.setattr(builtins, "eval", lambda _: pytest.fail("eval was called"))
    path = tmp_path / "model.pth"
    path.write_bytes(zip_bytes(b"\x80\x02" + call(module, name, "touch canary"), {}))
    with refused(FileFormatError, "model.pth", f"{module}.{name}"):
        read_weight_file(path)
