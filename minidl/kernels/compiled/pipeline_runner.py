"""The kernel that executes a pipeline: threads move from job to job without returning to Python.

It serves :mod:`minidl.kernels.convolution.pipeline`. Importing this module imports Numba.

Jobs are taken in order. A job that depends on earlier steps spins until they are complete. All jobs
that it waits for have been taken by threads that are computing, so no deadlock is possible,
whatever the number of threads and whenever they start.

>>> from minidl.kernels.compiled.pipeline_runner import run_pipeline
>>> run_pipeline.__wrapped__.__code__.co_varnames[:3]
('steps', 'convolutions', 'depthwise')
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from minidl.kernels import pooling
from minidl.kernels.compiled import gemm_loops, winograd_loops
from minidl.kernels.compiled.addresses import array_at
from minidl.kernels.compiled.depthwise_loops import depthwise_job
from minidl.kernels.compiled.gemm_loops import convolve_job
from minidl.kernels.compiled.gemm_tile import PANEL, TALL
from minidl.kernels.convolution.step_tables import DEPTHWISE_ROWS, DIRECT, MAX_POOL, WINOGRAD
from minidl.kernels.convolution.winograd import SPARE
from minidl.kernels.runtime.atomics import fetch_add, load, pause
from minidl.kernels.runtime.jit import inlinable, jit

__all__ = ["run_pipeline"]

transform_input = inlinable(winograd_loops.transform_input)
transform_output = inlinable(winograd_loops.transform_output)
multiply_taps = inlinable(gemm_loops.multiply_taps)
max_pool_rows, average_pool_rows = (
    inlinable(pooling.max_pool_rows),
    inlinable(pooling.average_pool_rows),
)


@jit
def run_pipeline(
    steps, convolutions, depthwise, poolings, jobs, memories, completed, next_job, v, m, rows
):
    """Take and execute jobs until none is left. Several threads may do this at the same time.

    Parameters
    ----------
    steps, convolutions, depthwise, poolings, jobs : arrays of records
        See :mod:`minidl.kernels.convolution.step_tables`.
    memories : array of int64
        Addresses of the memories that the steps' tensors are in.
    completed : array of int64
        Number of completed jobs of each step.
    next_job : array of int64, shape (1,)
        Index of the next job to take.
    v, m : array of float32
        The calling thread's buffers for Winograd's transforms.
    rows : array of float32
        The calling thread's buffer for depthwise convolutions.
    """
    no_index = np.empty((0, 0, 0, 0), np.uint8)  # inference needs no positions of maxima
    complete = 0  # number of first steps known to be complete
    while True:
        i = fetch_add(next_job.ctypes.data)
        if i >= len(jobs):
            return
        job = jobs[i]
        step = steps[job.step]
        while complete < step.dependencies:
            while load(completed.ctypes.data + 8 * complete) < steps[complete].jobs:
                pause()
            complete += 1
        if step.kind in (DIRECT, WINOGRAD):
            convolution = convolutions[step.row]
            x, y = _tensor(convolution.x, memories), _tensor(convolution.y, memories)
            residual = _tensor(convolution.residual, memories)  # not read if there is none
            if step.kind == DIRECT:
                convolve_job(convolution, job, x, y, residual)
            else:
                _convolve_tiles(convolution, job, x, y, residual, v, m)
        elif step.kind == DEPTHWISE_ROWS:
            convolution = depthwise[step.row]
            x, y = _tensor(convolution.x, memories), _tensor(convolution.y, memories)
            depthwise_job(convolution, job, x, y, _tensor(convolution.residual, memories), rows)
        else:
            pool = poolings[step.row]
            x, y = _tensor(pool.x, memories), _tensor(pool.y, memories)
            part, geometry = (job.first, job.last), _geometry(pool.window)
            if step.kind == MAX_POOL:
                max_pool_rows(x, y, no_index, part, geometry)
            else:
                average_pool_rows(x, y, part, geometry)
        fetch_add(completed.ctypes.data + 8 * job.step)


@register_jitable
def _geometry(window):
    """Return a record as the tuple that Window.loop_geometry returns."""
    size, strides = (window.kh, window.kw), (window.sh, window.sw)
    return size + strides + (window.dh, window.dw) + (window.top, window.left)


@register_jitable
def _tensor(tensor, memories):
    """Return the array (N, H, W, C) that a record describes."""
    shape = (tensor.n, tensor.height, tensor.width, tensor.channels)
    return array_at(memories[tensor.memory] + tensor.offset, shape)


@register_jitable
def _convolve_tiles(convolution, job, x, y, residual, v, m):
    """Compute a block of Winograd tiles for the job's panels."""
    window = convolution.window
    kh, kw = window.kh, window.kw
    count = convolution.tiles
    grid = (count.down, count.across, window.top, window.left, kh, kw)
    tiles, panels = (job.first, job.last), (job.begin, job.end)
    taps = (kh + 3 if kh > 1 else 1) * (kw + 3 if kw > 1 else 1)
    shape = (taps, convolution.panels, convolution.depth, PANEL)
    u = array_at(convolution.packed, shape)
    bias = array_at(convolution.bias, (convolution.filters,))
    rows = (job.last - job.first + TALL - 1) // TALL * TALL
    v_row = taps * convolution.depth + SPARE
    m_row = taps * (job.end - job.begin) * PANEL + SPARE
    v = v[: rows * v_row].reshape((rows, v_row))
    m = m[: rows * m_row].reshape((rows, m_row))
    transform_input(x, v, (0, convolution.depth), tiles, grid)
    multiply_taps(v, u, m, job.last - job.first, panels)
    bounds = np.float32(convolution.low), np.float32(convolution.high)
    epilogue = (convolution.channel, convolution.has_residual != 0, bounds)
    transform_output(m, y, bias, residual, epilogue, panels, tiles, grid)
