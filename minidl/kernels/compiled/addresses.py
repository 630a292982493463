"""Arrays of float32 at addresses, for kernels that read addresses from tables.

Importing this module imports Numba.

>>> import numpy as np
>>> from minidl.kernels.compiled.addresses import array_at
>>> from minidl.kernels.runtime.jit import jit
>>> @jit
... def double(address, count):
...     x = array_at(address, (count,))
...     x *= 2
>>> numbers = np.ones(3, "float32")
>>> double(numbers.ctypes.data, 3)
>>> numbers
array([2., 2., 2.], dtype=float32)
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic, register_jitable
from numba.np.numpy_support import carray

__all__ = ["array_at"]


@register_jitable
def array_at(address, shape):
    """Return the C-contiguous array of float32 of some shape at an address."""
    return carray(_float32_pointer(address), shape)


@intrinsic
def _float32_pointer(typing_context, address):
    """Return an address as a pointer to float32."""
    pointer = types.CPointer(types.float32)

    def emit(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.intp), emit
