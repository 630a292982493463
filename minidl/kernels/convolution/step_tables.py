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
    "DEPTHWISE",
    "DEPTHWISE_ROWS",
    "DIRECT",
    "JOB",
    "MAX_POOL",
    "POOLING",
    "STEP",
    "WINOGRAD",
]

# Kinds of steps
DIRECT, WINOGRAD, DEPTHWISE_ROWS, MAX_POOL, AVERAGE_POOL = range(5)


def _record(*fields: str | tuple[str, np.dtype]) -> np.dtype:
    """Return a structured type; fields given by name only are integers."""
    return np.dtype([(field, np.int64) if isinstance(field, str) else field for field in fields])


STEP = _record(
    "kind",  # DIRECT, WINOGRAD, DEPTHWISE_ROWS, MAX_POOL or AVERAGE_POOL
    "row",  # in the table of convolutions, of depthwise convolutions or of poolings
    "dependencies",  # number of first steps that must be complete before it starts
    "jobs",  # number of jobs that it consists of
)

# A job computes pixels `first ... last - 1` of the output for a direct convolution, tiles for
# Winograd, rows of all images for a pooling and a depthwise convolution. Convolutions compute the
# output channels of the kernel's panels `begin ... end - 1` of one group, depthwise convolutions
# the channels of such vectors.
JOB = _record("step", "group", "first", "last", "begin", "end")

TENSOR = _record(
    "memory",  # index of its memory among those given to a run
    "offset",  # bytes from the beginning of the memory
    *("n", "height", "width", "channels"),
)

# Kernel size, strides, dilation, and the padding above and to the left, in pixels.
WINDOW = _record("kh", "kw", "sh", "sw", "dh", "dw", "top", "left")

# Smallest and largest number of an output, infinite where there is no bound.
BOUNDS = ("low", np.dtype(np.float64)), ("high", np.dtype(np.float64))

CONVOLUTION = _record(
    ("x", TENSOR),
    ("y", TENSOR),
    ("residual", TENSOR),
    "has_residual",
    *BOUNDS,
    "channel",  # first channel of y to write
    ("window", WINDOW),
    "packed",  # address of the kernel, (groups or taps, panels, depth, PANEL)
    "groups",
    "panels",
    "depth",  # rows of a panel: KH * KW * C / groups, or C for Winograd
    "filters",  # output channels of a group
    "bias",  # address of (groups, panels * PANEL) numbers
    "zeros",  # address of the pixels outside the image, KW * C / groups numbers
    ("tiles", _record("down", "across")),  # Winograd's, per image
)

# A 1x1 convolution that a depthwise convolution computes row by row, before itself or afterwards.
POINTWISE = _record(
    "exists",
    "packed",  # address of the kernel, (panels, depth, PANEL)
    *("panels", "depth", "filters"),
    "bias",  # address of (panels * PANEL) numbers
    *BOUNDS,
)

DEPTHWISE = _record(
    ("x", TENSOR),
    ("y", TENSOR),
    ("residual", TENSOR),
    "has_residual",
    *BOUNDS,
    "channel",  # first channel of y to write
    ("window", WINDOW),
    "weights",  # address of the kernel, (vectors, KH * KW, LANES)
    "bias",  # address of (vectors, LANES) numbers
    "channels",
    ("expand", POINTWISE),
    ("project", POINTWISE),
)

POOLING = _record(("x", TENSOR), ("y", TENSOR), ("window", WINDOW))


def make_jobs(
    blocks: list[tuple[int, int]], panels: list[tuple[int, int]] | None = None, groups: int = 1
) -> np.ndarray:
    """Return a job for each combination of a block of the output, some panels and a group.

    Parameters
    ----------
    blocks, panels : list of (int, int)
        The first element of each part, and the one after its last.
    groups : int

    Returns
    -------
    jobs : array of JOB
    """
    jobs = [
        (0, group, *block, *part)
        for group in range(groups)
        for block in blocks
        for part in panels or [(0, 0)]
    ]
    return np.array(jobs, JOB)
