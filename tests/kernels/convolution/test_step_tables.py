"""The tables that describe a pipeline's steps."""

import numpy as np

from minidl.kernels.convolution import step_tables
from minidl.kernels.convolution.step_tables import (
    CONVOLUTION,
    DEPTHWISE,
    JOB,
    POOLING,
    STEP,
    TENSOR,
    WINDOW,
)
from minidl.kernels.geometry import Window


def test_kinds_of_steps_differ():
    kinds = [getattr(step_tables, name) for name in ("DIRECT", "WINOGRAD", "MAX_POOL")]
    assert len({*kinds, step_tables.AVERAGE_POOL}) == 4


def test_the_window_has_the_fields_of_loop_geometry_in_its_order():
    window = Window((3, 5), (2, 1), (4, 0, 6, 0), (1, 2))
    row = np.zeros(1, WINDOW)
    row[:] = window.loop_geometry(9, 9)
    named = {name: int(row[name][0]) for name in WINDOW.names}
    expected = {"kh": 3, "kw": 5, "sh": 2, "sw": 1, "dh": 1, "dw": 2, "top": 4, "left": 6}
    assert named == expected


def test_fields_are_aligned_numbers_of_64_bits():
    # The compiled runner reads them as C structs, and counts jobs in units of eight bytes.
    for table in (STEP, JOB, TENSOR, WINDOW, CONVOLUTION, DEPTHWISE, POOLING):
        assert table.itemsize % 8 == 0
        flat = [table]
        while flat:
            kind = flat.pop()
            if kind.names is None:
                assert kind in (np.int64, np.float64)
            else:
                flat += [kind[name] for name in kind.names]
