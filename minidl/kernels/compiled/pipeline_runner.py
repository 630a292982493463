"""One kernel that runs many steps of a network: threads go from one to the next by themselves.

Kernels, for :mod:`minidl.kernels.convolution.pipeline`. Importing this module imports
Numba.

Jobs are taken in order, and a job that needs earlier steps waits for them, looking. So whoever
waits, waits for a thread that is at work, however many threads there are and whenever they come.

>>> from minidl.kernels.compiled.pipeline_runner import STEP
>>> "needs" in STEP.names
True
"""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic, register_jitable

from minidl.kernels import pooling
from minidl.kernels.compiled import gemm_loops as tiled
from minidl.kernels.compiled import winograd_loops as transformed
from minidl.kernels.compiled.gemm_loops import convolve_block
from minidl.kernels.compiled.gemm_tile import PANEL, TALL
from minidl.kernels.convolution.winograd import SPARE_BYTES
from minidl.kernels.runtime.atomics import fetch_add, load, pause
from minidl.kernels.runtime.jit import inlinable, jit

__all__ = ["AVERAGE_POOL", "DIRECT", "MAX_POOL", "STEP", "WINOGRAD", "run_pipeline"]

DIRECT, WINOGRAD, MAX_POOL, AVERAGE_POOL = range(4)
SPARE = SPARE_BYTES // 4  # numbers more for each of Winograd's tiles

STEP = np.dtype(
    [
        (name, np.int64)
        for name in (
            "kind",
            *("needs", "first_job", "count", "jobs"),  # steps before, and its jobs, an array
            *("x_memory", "x", "n", "height", "width", "channels"),
            *("y_memory", "y", "oh", "ow", "y_channels", "channel"),
            *("added", "residual_memory", "residual"),  # added: whether there is a residual
            *("kernel", "groups", "panels", "depth", "bias", "columns", "relu"),
            *("geometry", "zeros"),  # of a direct convolution
            *("taps_y", "taps_x", "outputs_y", "outputs_x", "tiles_y", "tiles_x", "top", "left"),
            *("kh", "kw", "sh", "sw"),  # of a pooling
        )
    ]
)


transform_input, transform_output = (
    inlinable(kernel) for kernel in (transformed.transform_input, transformed.transform_output)
)
multiply_taps = inlinable(tiled.multiply_taps)
max_pool, average_pool = inlinable(pooling.max_pool_rows), inlinable(pooling.average_pool_rows)


def _pointer_to(number_type):
    """Return the intrinsic that makes a pointer to such numbers of an address."""
    pointer = types.CPointer(number_type)

    @intrinsic
    def convert(typing_context, address):
        def emit(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))

        return pointer(types.intp), emit

    return convert


_numbers, _integers = _pointer_to(types.float32), _pointer_to(types.int64)


@jit
def run_pipeline(steps, memories, done, next_job, v, m):
    """Take jobs until none is left, as other threads may, too.

    Parameters
    ----------
    steps : STEP array
    memories : int64 array
        Addresses, to which a step's x, y and residual are added.
    done : int64 array
        How many jobs of each step are done.
    next_job : int64 array of one element
    v, m : float32 arrays
        Of the calling thread, for Winograd's tiles.
    """
    no_index = np.empty((0, 0, 0, 0), np.uint8)  # maxima need none here
    complete, at = 0, 0  # steps that are known to be complete; the step of the job
    while True:
        i = fetch_add(next_job.ctypes.data)
        while at < len(steps) and i >= steps[at].first_job + steps[at].count:
            at += 1
        if at == len(steps):
            return
        step = steps[at]
        while complete < step.needs:
            while load(done.ctypes.data + 8 * complete) < steps[complete].count:
                pause()
            complete += 1
        group, first, last, begin, end = carray(_integers(step.jobs), (step.count, 5))[
            i - step.first_job
        ]
        x_shape = (step.n, step.height, step.width, step.channels)
        x = carray(_numbers(memories[step.x_memory] + step.x), x_shape)
        y_shape = (step.n, step.oh, step.ow, step.y_channels)
        y = carray(_numbers(memories[step.y_memory] + step.y), y_shape)
        if step.kind == DIRECT:
            _convolve_directly(step, x, y, memories, group, first, last, begin, end)
        elif step.kind == WINOGRAD:
            _convolve_tiles(step, x, y, memories, v, m, first, last, begin, end)
        else:
            numbers = (step.kh, step.kw, step.sh, step.sw, step.top, step.left)
            if step.kind == MAX_POOL:
                max_pool(x, y, no_index, first, last, *numbers)
            else:
                average_pool(x, y, first, last, *numbers)
        fetch_add(done.ctypes.data + 8 * at)


@register_jitable
def _convolve_directly(step, x, y, memories, group, first, last, begin, end):
    size = step.groups * step.panels * PANEL
    kernel = carray(_numbers(step.kernel), (step.groups, step.panels, step.depth, PANEL))
    bias = carray(_numbers(step.bias), (size,)).reshape((step.groups, step.panels * PANEL))
    rows = step.n * step.oh * step.ow
    residual = _residual(step, memories).reshape((rows, step.groups * step.columns))
    zeros = carray(_numbers(step.zeros), (1,))
    geometry = carray(_integers(step.geometry), (11,))
    convolve_block(
        x, zeros, kernel[group], bias[group], residual, y.reshape((rows, step.y_channels)),
        geometry, group, first, last, begin, end, step.columns, step.channel, step.relu != 0,
        step.added != 0,
    )  # fmt: skip


@register_jitable
def _convolve_tiles(step, x, y, memories, v, m, first, last, begin, end):
    count, tiles, columns = step.taps_y * step.taps_x, last - first, (end - begin) * PANEL
    kernel = carray(_numbers(step.kernel), (count, step.panels, step.channels, PANEL))
    bias = carray(_numbers(step.bias), (step.columns,))
    grid = (step.tiles_y, step.tiles_x, step.top, step.left)
    taps, outputs = (step.taps_y, step.taps_x), (step.outputs_y, step.outputs_x)
    padded = (tiles + TALL - 1) // TALL * TALL
    wide, m_wide = count * step.channels + SPARE, count * columns + SPARE
    v = v[: padded * wide].reshape((padded, wide))
    m = m[: padded * m_wide].reshape((padded, m_wide))
    transform_input(x, v, 0, step.channels, first, last, grid, taps, outputs)
    multiply_taps(v, kernel, m, tiles, begin, end)
    transform_output(
        m, columns, y, bias, _residual(step, memories), step.channel, begin * PANEL,
        min(end * PANEL, step.columns), first, last, grid, outputs, step.relu != 0,
        step.added != 0,
    )  # fmt: skip


@register_jitable
def _residual(step, memories):
    """Return the residual, or the memory at its place where there is none."""
    shape = (step.n, step.oh, step.ow, step.groups * step.columns)
    return carray(_numbers(memories[step.residual_memory] + step.residual), shape)
