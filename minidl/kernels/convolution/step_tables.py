"""NumPy types of the tables that describe the steps of a pipeline to its compiled runner.

:class:`~minidl.kernels.convolution.pipeline.Pipeline` fills the tables, and
:mod:`minidl.kernels.compiled.pipeline_runner` reads them. Numba reads a row of such a table like a
C struct. Addresses are those of arrays that the pipeline keeps alive.

>>> import numpy as np
>>> from minidl.kernels.convolution.step_tables import CONVOLUTION
>>> step = np.zeros(1, CONVOLUTION)
>>> step["x"] = (0, 256, 1, 8, 8, 3)
>>> step["x"]["channels"]
array([3])
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "AVERAGE_POOL",
    "CONVOLUTION",
    "DIRECT",
    "JOB",
    "MAX_POOL",
    "POOLING",
    "STEP",
    "WINOGRAD",
]

DIRECT, WINOGRAD, MAX_POOL, AVERAGE_POOL = range(4)  # kinds of steps

STEP = np.dtype(
    [
        ("kind", np.int64),  # DIRECT, WINOGRAD, MAX_POOL or AVERAGE_POOL
        ("row", np.int64),  # in the table of convolutions or of poolings
        ("dependencies", np.int64),  # number of first steps that must be complete before it starts
        ("jobs", np.int64),  # number of jobs that it consists of
    ]
)

# A job computes pixels `first ... last - 1` of the output for a direct convolution, tiles for
# Winograd, rows of all images for a pooling. Convolutions compute the output channels of the
# kernel's panels `begin ... end - 1` of one group.
JOB = np.dtype([(name, np.int64) for name in ("step", "group", "first", "last", "begin", "end")])

TENSOR = np.dtype(
    [
        ("memory", np.int64),  # index of its memory among those given to a run
        ("offset", np.int64),  # bytes from the beginning of the memory
        *[(name, np.int64) for name in ("n", "height", "width", "channels")],
    ]
)

# Kernel size, strides, dilation, and the padding above and to the left, in pixels.
WINDOW = np.dtype(
    [(name, np.int64) for name in ("kh", "kw", "sh", "sw", "dh", "dw", "top", "left")]
)

CONVOLUTION = np.dtype(
    [
        ("x", TENSOR),
        ("y", TENSOR),
        ("residual", TENSOR),
        ("has_residual", np.int64),
        ("relu", np.int64),
        ("channel", np.int64),  # first channel of y to write
        ("window", WINDOW),
        ("packed", np.int64),  # address of the kernel, (groups or taps, panels, depth, PANEL)
        ("groups", np.int64),
        ("panels", np.int64),
        ("depth", np.int64),  # rows of a panel: KH * KW * C / groups, or C for Winograd
        ("filters", np.int64),  # output channels of a group
        ("bias", np.int64),  # address of (groups, panels * PANEL) numbers
        ("zeros", np.int64),  # address of the pixels outside the image, KW * C / groups numbers
        ("tiles", np.dtype([("down", np.int64), ("across", np.int64)])),  # Winograd's, per image
    ]
)

POOLING = np.dtype([("x", TENSOR), ("y", TENSOR), ("window", WINDOW)])
