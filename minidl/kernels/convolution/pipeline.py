"""Steps of a network that threads run without coming back to Python between them.

Between two sections of the thread pool nobody computes: the last thread of the one is waited for,
Python finds out what comes next, and the threads have to meet again. With a hundred small layers
on a single image that is a quarter of the time. A chain is told all steps beforehand: what they
compute, where their tensors lie, and which steps must be complete before. Then threads take the
jobs of all steps in order, and only a job whose input is not there yet is waited for.

Where a tensor lies is said relative to one of a few memories, given anew for each run.

>>> import numpy as np
>>> from minidl.kernels.convolution.pipeline import Pipeline, TensorLocation
>>> from minidl.kernels.geometry import Window
>>> chain = Pipeline(threads=1)
>>> x, y = np.array([3.0, 5.0], "float32"), np.empty(1, "float32")
>>> source, target = TensorLocation(0, 0, (1, 1, 2, 1)), TensorLocation(1, 0, (1, 1, 1, 1))
>>> chain.pool("max", source, Window((1, 2)), target)
>>> chain.run([x, y])
>>> y
array([5.], dtype=float32)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from minidl.kernels.convolution.direct import layout, padded_bias
from minidl.kernels.convolution.winograd import TILES, tasks, tile_grid, tile_scratch_shape
from minidl.kernels.geometry import Convolution, Window
from minidl.kernels.pooling import rows_of_output, window_numbers
from minidl.kernels.runtime import thread_pool
from minidl.kernels.runtime.jit import importing_numba

__all__ = ["Pipeline", "TensorLocation"]


class TensorLocation(NamedTuple):
    """Where a tensor lies.

    Attributes
    ----------
    memory : int
        Its number among those that :meth:`Pipeline.run` gets.
    offset : int
        Bytes from there.
    shape : tuple of int
        (N, H, W, C), all channels of the memory included.
    may_overlap : bool
        Whether the memory may be a part of another one, such as the memory of a view.
    """

    memory: int
    offset: int
    shape: tuple[int, ...]
    may_overlap: bool = False

    def overlaps(self, other: TensorLocation) -> bool:
        if self.may_overlap or other.may_overlap:
            return True
        size, other_size = (4 * math.prod(place.shape) for place in (self, other))
        return self.memory == other.memory and (
            self.offset < other.offset + other_size and other.offset < self.offset + size
        )


class Pipeline:
    """A number of steps in float32, and the jobs that they are cut into.

    Steps are added in an order in which they could run one after the other.

    Parameters
    ----------
    threads : int
        How many will share the work.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self._steps: list[dict[str, int]] = []
        self._reads: list[tuple[TensorLocation, ...]] = []
        self._writes: list[TensorLocation] = []
        self._kept: list[np.ndarray] = []  # whose addresses are in the steps
        self._v_size = self._m_size = 0
        self._table: np.ndarray | None = None

    def convolve_direct(
        self, x: TensorLocation, packed: np.ndarray, bias: np.ndarray | None,
        convolution: Convolution, channels: int, relu: bool, residual: TensorLocation | None,
        y: TensorLocation, channel: int,
    ) -> None:  # fmt: skip
        """Add what :func:`minidl.kernels.convolution.direct.convolve_direct` does."""
        with importing_numba:
            from minidl.kernels.compiled.pipeline_runner import DIRECT

        groups, panels, depth, width = packed.shape
        _, geometry, jobs = layout(x.shape, packed.shape, convolution, self.threads)
        zeros = np.zeros(convolution.kernel_size[1] * x.shape[3] // groups, np.float32)
        self._add(
            DIRECT, jobs, x, y, residual, channel=channel, kernel=self._keep(packed),
            groups=groups, panels=panels, depth=depth, columns=channels // groups, relu=relu,
            bias=self._keep(padded_bias(bias, groups, channels, panels * width)),
            geometry=self._keep(geometry), zeros=self._keep(zeros),
        )  # fmt: skip

    def convolve_winograd(
        self, x: TensorLocation, u: np.ndarray, bias: np.ndarray | None, window: Window,
        channels: int, relu: bool, residual: TensorLocation | None, y: TensorLocation, channel: int,
    ) -> None:  # fmt: skip
        """Add what :func:`minidl.kernels.convolution.winograd.convolve_winograd` does."""
        with importing_numba:
            from minidl.kernels.compiled.pipeline_runner import WINOGRAD

        count, panels, c, width = u.shape
        taps, outputs = TILES[window.kernel_size]
        down, across, top, left = tile_grid(x.shape, window, outputs)
        blocks, parts = tasks(x.shape[0] * down * across, count, c, panels, width, self.threads)
        most = max(last - first for first, last in blocks)
        self._v_size = max(self._v_size, math.prod(tile_scratch_shape(most, count * c, np.float32)))
        columns = width * max(end - begin for begin, end in parts)
        self._m_size = max(
            self._m_size, math.prod(tile_scratch_shape(most, count * columns, np.float32))
        )
        bias = np.zeros(channels, np.float32) if bias is None else np.ascontiguousarray(bias)
        self._add(
            WINOGRAD, [(0, *block, *part) for block in blocks for part in parts], x, y, residual,
            channel=channel, kernel=self._keep(u), groups=1, panels=panels, depth=c,
            columns=channels, relu=relu, bias=self._keep(bias), taps_y=taps[0], taps_x=taps[1],
            outputs_y=outputs[0], outputs_x=outputs[1], tiles_y=down, tiles_x=across, top=top,
            left=left,
        )  # fmt: skip

    def pool(self, kind: str, x: TensorLocation, window: Window, y: TensorLocation) -> None:
        """Add "max" or "average" pooling."""
        with importing_numba:
            from minidl.kernels.compiled.pipeline_runner import AVERAGE_POOL, MAX_POOL

        kh, kw, sh, sw, top, left = window_numbers(x.shape, window)
        jobs = [(0, first, last, 0, 0) for first, last in rows_of_output(y.shape)]
        self._add(
            MAX_POOL if kind == "max" else AVERAGE_POOL, jobs, x, y, None, kh=kh, kw=kw, sh=sh,
            sw=sw, top=top, left=left,
        )  # fmt: skip

    @property
    def dependencies(self) -> list[int]:
        """For each step, how many of the steps before must be complete when its jobs begin."""
        return [step["needs"] for step in self._steps]

    def run(self, memories: list[np.ndarray]) -> None:
        """Do all steps, on arrays that begin where the steps' places are counted from."""
        with importing_numba:
            from minidl.kernels.compiled.pipeline_runner import run_pipeline

        if self._table is None:
            self._table = self._make_table()
        addresses = np.array([memory.ctypes.data for memory in memories])
        done, next_job = np.zeros(len(self._steps), np.int64), np.zeros(1, np.int64)

        def task(i: int) -> None:
            v, m = (
                thread_pool.scratch(f"winograd {key}", (size,), np.float32)
                for key, size in (("v", self._v_size), ("m", self._m_size))
            )
            run_pipeline(self._table, addresses, done, next_job, v, m)

        thread_pool.run(task, self.threads)

    def _add(
        self,
        kind,
        jobs,
        x: TensorLocation,
        y: TensorLocation,
        residual: TensorLocation | None,
        **numbers,
    ) -> None:
        jobs = np.array(jobs, np.int64).reshape(-1, 5)
        n, height, width, channels = x.shape
        added = y if residual is None else residual
        reads = (x,) if residual is None else (x, residual)
        self._steps.append(
            {
                "kind": kind, "jobs": self._keep(jobs), "count": len(jobs),
                "needs": self._needs(reads, y),
                "x_memory": x.memory, "x": x.offset, "n": n, "height": height, "width": width,
                "channels": channels, "y_memory": y.memory, "y": y.offset, "oh": y.shape[1],
                "ow": y.shape[2], "y_channels": y.shape[3], "added": residual is not None,
                "residual_memory": added.memory, "residual": added.offset, **numbers,
            }
        )  # fmt: skip
        self._reads.append(reads)
        self._writes.append(y)
        self._table = None

    def _needs(self, reads: tuple[TensorLocation, ...], y: TensorLocation) -> int:
        """Return up to which of the steps so far all must be complete before one that reads and
        writes these places.

        It waits for those that write what it reads, and for those that read or write where it
        writes; but writers of one tensor write to channels of their own, or to what they read.
        """
        for i in reversed(range(len(self._steps))):
            before = self._writes[i]
            if (
                any(before.overlaps(place) for place in reads)
                or any(place.overlaps(y) for place in self._reads[i])
                or (before.overlaps(y) and before != y)
            ):
                return i + 1
        return 0

    def _keep(self, array: np.ndarray) -> int:
        """Keep an array alive and return its address."""
        self._kept.append(array)
        return array.ctypes.data

    def _make_table(self) -> np.ndarray:
        with importing_numba:
            from minidl.kernels.compiled.pipeline_runner import STEP

        table = np.zeros(len(self._steps), STEP)
        first_job = 0
        for row, step in zip(table, self._steps, strict=True):
            for name, number in step.items():
                row[name] = number
            row["first_job"] = first_job
            first_job += step["count"]
        return table
