"""The one way minidl compiles a kernel: lazily, cached on disk, without the GIL.

A kernel is a scalar loop over contiguous arrays. It is compiled the first time it is
called, so importing minidl neither imports Numba nor compiles anything.

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

import functools
import threading
from collections.abc import Callable

__all__ = ["importing_numba", "jit", "inlinable"]

# Reassociation is what lets a float sum use SIMD. NaN and infinity keep their meaning.
FAST_MATH = {"reassoc", "contract", "nsz"}

# Numba's modules import one another in circles, so of two threads that import them at the same
# time one sees half of a module. Whoever imports a module that imports Numba holds this.
importing_numba = threading.RLock()


def jit(function: Callable) -> Callable:
    """Compile `function` with Numba on its first call; release the GIL; cache on disk."""
    compiled = None

    @functools.wraps(function)
    def kernel(*arguments):
        nonlocal compiled
        if compiled is None:
            with importing_numba:
                compiled = compiled or _compile(function)
        return compiled(*arguments)

    return kernel


def inlinable(kernel: Callable) -> Callable:
    """Return a kernel for other kernels to call. Imports Numba."""
    from numba.extending import register_jitable

    return register_jitable(kernel.__wrapped__)


def _compile(function: Callable) -> Callable:
    import numba

    options = {"nogil": True, "fastmath": FAST_MATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder for Numba's cache: compile for this process only
        return numba.njit(**options)(function)
