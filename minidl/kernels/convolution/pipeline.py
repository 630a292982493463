"""Pipelines: steps in float32 that are executed without returning to Python between them.

Between two runs of the thread pool no thread computes: the last one is waited for, Python finds the
next step, and the threads are started again. With a hundred small layers on a single image this is
a quarter of the time. A pipeline knows all steps in advance: their tensors, their jobs, and which
steps must be complete before. The threads take the jobs of all steps in order and wait only for
jobs whose input is not complete. A single convolution is a pipeline of one step.

The position of a tensor is relative to one of a few memories, which each run receives anew.

>>> import numpy as np
>>> from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
>>> from minidl.kernels.geometry import Window
>>> pipeline = Pipeline(threads=1)
>>> x, y = np.array([3.0, 5.0], "float32"), np.empty(1, "float32")
>>> source, target = TensorLocation(0, 0, (1, 1, 2, 1)), TensorLocation(1, 0, (1, 1, 1, 1))
>>> pipeline.pool("max", source, Window((1, 2)), target)
>>> pipeline.run([x, y])
>>> y
array([5.], dtype=float32)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minidl.kernels.convolution.depthwise_rows import (
    NO_BOUNDS,
    DepthwiseKernel,
    Pointwise,
    buffer_size,
    divide_depthwise,
    pack_vectors,
)
from minidl.kernels.convolution.direct import divide_direct
from minidl.kernels.convolution.prepared import PreparedKernel
from minidl.kernels.convolution.step_tables import (
    AVERAGE_POOL,
    CONVOLUTION,
    DEPTHWISE,
    DEPTHWISE_ROWS,
    DIRECT,
    JOB,
    MAX_POOL,
    POOLING,
    STEP,
    WINOGRAD,
    make_jobs,
)
from minidl.kernels.convolution.winograd import divide_winograd, tile_grid
from minidl.kernels.geometry import Window
from minidl.kernels.pooling import row_chunks
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba

__all__ = ["Pipeline", "TensorLocation"]


class TensorLocation(NamedTuple):
    """The position of a tensor in one of a pipeline's memories.

    Attributes
    ----------
    memory : int
        Index of the memory among those passed to :meth:`Pipeline.run`.
    offset : int
        Position in the memory, in bytes.
    shape : tuple of int
        (N, H, W, C), including all channels of the memory.
    may_overlap : bool
        Whether the memory may be part of another one, such as the memory of a view.
    """

    memory: int
    offset: int
    shape: tuple[int, ...]
    may_overlap: bool = False

    def overlaps(self, other: TensorLocation) -> bool:
        """Return whether the two tensors may share memory."""
        if self.may_overlap or other.may_overlap:
            return True
        size, other_size = (4 * math.prod(location.shape) for location in (self, other))
        return self.memory == other.memory and (
            self.offset < other.offset + other_size and other.offset < self.offset + size
        )

    @property
    def record(self) -> tuple[int, ...]:
        """The location as a row of :data:`~minidl.kernels.convolution.step_tables.TENSOR`."""
        return self.memory, self.offset, *self.shape


class Pipeline:
    """A sequence of convolutions and poolings in float32, divided into jobs.

    Steps are added in an order in which they could run one after the other.

    Parameters
    ----------
    threads : int
        Number of threads that share the jobs.

    Attributes
    ----------
    dependencies : list of int
        For each step, the number of first steps that must be complete before it starts.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.dependencies: list[int] = []
        self._steps: list[tuple[int, ...]] = []  # rows of STEP
        self._convolutions: list[tuple[Any, ...]] = []  # rows of CONVOLUTION
        self._depthwise: list[tuple[Any, ...]] = []  # rows of DEPTHWISE
        self._poolings: list[tuple[Any, ...]] = []  # rows of POOLING
        self._jobs: list[np.ndarray] = []
        self._accesses: list[tuple[tuple[TensorLocation, ...], TensorLocation]] = []
        self._arrays: list[np.ndarray] = []  # arrays whose addresses are in the tables
        self._v_size = self._m_size = self._rows_size = 0  # of each thread's buffers
        self._tables: list[np.ndarray] | None = None

    def convolve(
        self,
        x: TensorLocation,
        kernel: PreparedKernel,
        bias: np.ndarray | None,
        y: TensorLocation,
        bounds: tuple[float, float] = NO_BOUNDS,
        residual: TensorLocation | None = None,
        channel: int = 0,
    ) -> None:
        """Add the step ``y = clip(x * w + bias + residual)``.

        Parameters
        ----------
        x, y : TensorLocation
        kernel : PreparedKernel
        bias : array of float32, shape (K,), or None
        bounds : (float, float)
            Smallest and largest output: ``(0, inf)`` is a ReLU.
        residual : TensorLocation, optional
            It has K channels, and may be `y` if that has K channels.
        channel : int
            First channel of `y` to write.
        """
        convolution, packed = kernel.convolution, kernel.packed
        _, panels, depth, width = packed.shape
        zeros, tiles = np.empty(0, np.float32), (0, 0)
        if kernel.algorithm == "direct":
            kind, groups = DIRECT, convolution.groups
            jobs = divide_direct(x.shape, packed.shape, convolution, self.threads)
            zeros = np.zeros(convolution.kernel_size[1] * x.shape[3] // groups, np.float32)
        else:
            kind, groups = WINOGRAD, 1
            jobs, v, m = divide_winograd(x.shape, packed.shape, convolution, self.threads)
            self._v_size, self._m_size = max(self._v_size, v), max(self._m_size, m)
            down, across, *_ = tile_grid(x.shape, convolution)
            tiles = down, across
        filters = kernel.filters // groups
        padded = np.zeros((groups, panels * width), np.float32)
        if bias is not None:
            padded[:, :filters] = bias.reshape(groups, filters)
        residual_record = (y if residual is None else residual).record
        flags = residual is not None, *bounds, channel
        window = convolution.loop_geometry(*x.shape[1:3])
        weights = self._address(packed), groups, panels, depth, filters
        addresses = self._address(padded), self._address(zeros)
        self._convolutions.append(
            (x.record, y.record, residual_record, *flags, window, *weights, *addresses, tiles)
        )
        reads = (x,) if residual is None else (x, residual)
        self._add(kind, len(self._convolutions) - 1, jobs, reads, y)

    def depthwise(
        self,
        x: TensorLocation,
        kernel: DepthwiseKernel,
        bias: np.ndarray | None,
        y: TensorLocation,
        bounds: tuple[float, float] = NO_BOUNDS,
        expand: Pointwise | None = None,
        project: Pointwise | None = None,
        residual: TensorLocation | None = None,
        channel: int = 0,
    ) -> None:
        """Add a depthwise convolution, and 1x1 convolutions before and after it, as one step.

        The outputs of `expand` and of the depthwise convolution stay in the cache: only a few rows
        of them exist at a time.

        Parameters
        ----------
        x, y : TensorLocation
        kernel : DepthwiseKernel
        bias : array of float32, shape (C,), or None
        bounds : (float, float)
            Smallest and largest output of the depthwise convolution.
        expand, project : Pointwise, optional
        residual : TensorLocation, optional
            Added to the output of `project`; see :meth:`convolve`.
        channel : int
            First channel of `y` to write.
        """
        window, channels = kernel.window, kernel.channels
        oh, ow = window.output_size(*x.shape[1:3])
        multiplications = x.shape[0] * oh * ow * kernel.packed.size
        for pointwise, pixels in ((expand, x.shape[1] * x.shape[2]), (project, oh * ow)):
            if pointwise is not None:
                multiplications += x.shape[0] * pixels * pointwise.kernel.packed.size
        output = x.shape[0], oh, ow
        jobs = divide_depthwise(
            x.shape, output, kernel.packed.shape, window, multiplications, self.threads
        )
        self._rows_size = max(self._rows_size, buffer_size(x.shape, ow, channels, window))
        padded = pack_vectors(np.zeros((1, channels)) if bias is None else bias.reshape(1, -1))
        self._depthwise.append(
            (
                *(location.record for location in (x, y, residual or y)),
                *(residual is not None, *bounds, channel),
                window.loop_geometry(*x.shape[1:3]),
                *(self._address(kernel.packed), self._address(padded), channels),
                *(self._pointwise_record(pointwise) for pointwise in (expand, project)),
            )
        )
        reads = (x,) if residual is None else (x, residual)
        self._add(DEPTHWISE_ROWS, len(self._depthwise) - 1, jobs, reads, y)

    def _pointwise_record(self, pointwise: Pointwise | None) -> tuple[float, ...]:
        """Return a row of :data:`~minidl.kernels.convolution.step_tables.POINTWISE`."""
        if pointwise is None:
            return False, *[0] * 5, *NO_BOUNDS
        kernel = pointwise.kernel
        _, panels, depth, width = kernel.packed.shape
        padded = np.zeros(panels * width, np.float32)
        if pointwise.bias is not None:
            padded[: kernel.filters] = pointwise.bias
        sizes = panels, depth, kernel.filters
        weights = self._address(kernel.packed), *sizes, self._address(padded)
        return True, *weights, *pointwise.bounds

    def pool(self, kind: str, x: TensorLocation, window: Window, y: TensorLocation) -> None:
        """Add a pooling step of kind "max" or "average"."""
        self._poolings.append((x.record, y.record, window.loop_geometry(*x.shape[1:3])))
        jobs = make_jobs(row_chunks(y.shape))
        code = MAX_POOL if kind == "max" else AVERAGE_POOL
        self._add(code, len(self._poolings) - 1, jobs, (x,), y)

    def run(self, memories: list[np.ndarray]) -> None:
        """Execute all steps.

        Parameters
        ----------
        memories : list of array
            The memories that the steps' locations refer to.
        """
        with importing_numba:
            from minidl.kernels.compiled.pipeline_runner import run_pipeline

        if not self._steps:
            return
        if self._tables is None:
            self._tables = [
                np.array(self._steps, STEP),
                np.array(self._convolutions, CONVOLUTION),
                np.array(self._depthwise, DEPTHWISE),
                np.array(self._poolings, POOLING),
                # As integers, because NumPy concatenates structured arrays slowly.
                np.concatenate([part.view(np.int64) for part in self._jobs]).view(JOB),
            ]
        steps, convolutions, depthwise, poolings, jobs = self._tables
        addresses = np.array([memory.ctypes.data for memory in memories])
        completed, next_job = np.zeros(len(self._steps), np.int64), np.zeros(1, np.int64)

        def task(_: int) -> None:
            v = thread_pool.scratch("winograd v", (self._v_size,), np.float32)
            m = thread_pool.scratch("winograd m", (self._m_size,), np.float32)
            rows = thread_pool.scratch("depthwise rows", (self._rows_size,), np.float32)
            tables, counters = (steps, convolutions, depthwise, poolings), (completed, next_job)
            run_pipeline(*tables, jobs, addresses, *counters, v, m, rows)

        # The threads take jobs inside the kernel, because taking one in Python requires the GIL.
        thread_pool.run(task, min(self.threads, len(jobs)))

    def _add(
        self,
        kind: int,
        row: int,
        jobs: np.ndarray,
        reads: tuple[TensorLocation, ...],
        y: TensorLocation,
    ) -> None:
        """Add a step, its parameters being in a row of the table of its kind."""
        self.dependencies.append(self._count_dependencies(reads, y))
        jobs = jobs.copy()
        jobs["step"] = len(self._steps)
        self._jobs.append(jobs)
        self._steps.append((kind, row, self.dependencies[-1], len(jobs)))
        self._accesses.append((reads, y))
        self._tables = None

    def _count_dependencies(self, reads: tuple[TensorLocation, ...], y: TensorLocation) -> int:
        """Return the number of first steps that must be complete before a new step starts.

        The step waits for the writers of what it reads, and for the readers and writers of what it
        overwrites. Writers of one tensor do not wait for each other: they write to different
        channels or, adding a residual in place, read the tensor, too.
        """
        for i, (read, written) in reversed(list(enumerate(self._accesses))):
            if (
                any(written.overlaps(location) for location in reads)
                or any(location.overlaps(y) for location in read)
                or (written.overlaps(y) and written != y)
            ):
                return i + 1
        return 0

    def _address(self, array: np.ndarray) -> int:
        """Keep an array alive and return its address."""
        self._arrays.append(array)
        return array.ctypes.data
