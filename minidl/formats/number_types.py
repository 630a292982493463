"""Types of numbers that NumPy lacks but weight files hold: bfloat16.

>>> import numpy as np
>>> from minidl.formats.number_types import widen_bfloat16
>>> widen_bfloat16(np.array([0x3FC0, 0xC050], "<u2"))
array([ 1.5 , -3.25], dtype=float32)
"""

from __future__ import annotations

import numpy as np

__all__ = ["widen_bfloat16"]


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return the float32 numbers whose upper halves are `bits`; float32 holds them exactly.

    Parameters
    ----------
    bits : array of uint16

    Returns
    -------
    array of float32, of the same shape
    """
    return (bits.astype(np.uint32) << 16).view(np.float32)
