"""Just-in-time compilation of kernels with Numba: lazy, cached on disk, without the GIL.

A kernel is a scalar loop over contiguous arrays. Its first call compiles it, or loads its machine
code from the cache. Importing minidl therefore neither imports Numba nor compiles anything.

>>> import numpy as np
>>> from minidl.kernels.runtime.jit import jit
>>> @jit
... def double(x, out):
...     for i in range(x.size):
...         out[i] = 2 * x[i]
>>> x, out = np.arange(3.0), np.empty(3)
>>> double(x, out)
>>> out
array([0., 2., 4.])
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["importing_numba", "inlinable", "jit"]

F = TypeVar("F", bound=Callable[..., Any])

# Reassociation allows SIMD instructions for sums of floats. NaN and infinity keep their meaning.
FAST_MATH = {"reassoc", "contract", "nsz"}

# Numba's modules import one another in circles: if two threads import them at the same time, one of
# them sees an incomplete module. Code that imports such a module must hold this lock.
importing_numba = threading.RLock()


def jit(function: F) -> F:
    """Return a kernel that compiles `function` on its first call and releases the GIL."""
    compiled: F | None = None

    @functools.wraps(function)
    def kernel(*arguments: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            with importing_numba:
                compiled = compiled or _compile(function)
        return compiled(*arguments)

    return cast(F, kernel)


def inlinable(kernel: F) -> F:
    """Return the function of a kernel for calls from other kernels. Imports Numba."""
    from numba.extending import register_jitable

    return register_jitable(inspect.unwrap(kernel))


def _compile(function: F) -> F:
    import numba

    from minidl.kernels.runtime.kernel_cache import KernelCache

    dispatcher: Any = numba.njit(nogil=True, fastmath=FAST_MATH, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # without a writable folder: for this process only
        dispatcher._cache = KernelCache(function)
    return dispatcher
