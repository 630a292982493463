"""Numbers that several threads count with, inside kernels and without the GIL.

Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.runtime.atomics import fetch_add
>>> from minidl.kernels.runtime.jit import jit
>>> @jit
... def ticket(counter):
...     return fetch_add(counter.ctypes.data)
>>> counter = np.array([7])
>>> ticket(counter), ticket(counter), counter[0]
(7, 8, np.int64(9))
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["fetch_add", "load", "pause"]

INT = ir.IntType(64)


@intrinsic
def load(typing_context, address):
    """Return the int64 at an address, as another thread left it."""

    def emit(context, builder, signature, arguments):
        return builder.load_atomic(builder.inttoptr(arguments[0], INT.as_pointer()), "acquire", 8)

    return types.int64(types.intp), emit


@intrinsic
def fetch_add(typing_context, address):
    """Add 1 to the int64 at an address and return what it was: no two threads get the same."""

    def emit(context, builder, signature, arguments):
        counter = builder.inttoptr(arguments[0], INT.as_pointer())
        return builder.atomic_rmw("add", counter, INT(1), "seq_cst")

    return types.int64(types.intp), emit


@intrinsic
def pause(typing_context):
    """Tell the processor that this is a waiting loop, where it has a word for that."""

    def emit(context, builder, signature, arguments):
        if builder.module.triple.startswith(("x86", "i386", "i686")):
            word = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(word, [])
        return context.get_dummy_value()

    return types.void(), emit
