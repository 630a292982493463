"""Atomic counters that threads share inside kernels, without the GIL.

Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.runtime.atomics import fetch_add
>>> from minidl.kernels.runtime.jit import jit
>>> @jit
... def take_ticket(counter):
...     return fetch_add(counter.ctypes.data)
>>> counter = np.array([7])
>>> take_ticket(counter), take_ticket(counter), counter[0]
(7, 8, np.int64(9))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["fetch_add", "load", "pause"]

INT = ir.IntType(64)


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an intrinsic; type checkers need not know that Numba passes the first argument."""
    return intrinsic(function)


@_intrinsic
def load(typing_context: Any, address: Any) -> Any:
    """Return the int64 at an address, with the writes that other threads made before it."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], INT.as_pointer()), "acquire", 8)

    return types.int64(types.intp), emit


@_intrinsic
def fetch_add(typing_context: Any, address: Any) -> Any:
    """Add 1 to the int64 at an address, and return the value before the addition."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], INT.as_pointer())
        return builder.atomic_rmw("add", counter, INT(1), "seq_cst")

    return types.int64(types.intp), emit


@_intrinsic
def pause(typing_context: Any) -> Any:
    """Execute the processor's hint for spin loops, if it has one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if builder.module.triple.startswith(("x86", "i386", "i686")):
            hint = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"
            )
            builder.call(hint, [])
        return context.get_dummy_value()

    return types.void(), emit
