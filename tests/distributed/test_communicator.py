"""The communicator: what each rank sees, and what happens if one of them fails."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from support.mpi import ROOT, output_of_ranks, run_ranks

from minidl import distributed
from minidl.distributed.communicator import launched_size


def python(code, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_without_a_launcher_there_is_one_process():
    assert (distributed.rank(), distributed.size(), distributed.is_main()) == (0, 1, True)
    assert distributed.all_gather({"a": 1}) == [{"a": 1}]
    np.testing.assert_array_equal(distributed.all_sum([1.5, 2.0]), [1.5, 2.0])
    distributed.barrier()


def test_without_a_launcher_mpi_is_not_imported():
    code = "import sys, minidl; minidl.distributed.rank(); print('mpi4py' in sys.modules)"
    assert python(code).stdout.strip() == "False"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, 1),
        ({"PMI_SIZE": "4"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2),
        ({"SLURM_STEP_NUM_TASKS": "16"}, 16),
        ({"SLURM_NTASKS": "16"}, 1),  # of the allocation: a batch script itself runs once
        ({"PMI_SIZE": "many"}, 1),
    ],
)
def test_the_launcher_is_known_by_its_variables(variables, expected):
    assert launched_size(variables) == expected


def test_a_missing_mpi4py_gets_one_sentence():
    code = "import sys; sys.modules['mpi4py'] = None; import minidl; minidl.distributed.rank()"
    done = python(code, PMI_SIZE="2")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: minidl: started by an MPI launcher with 2 processes")
    assert last.endswith("pip install 'minidl[mpi]'")


def test_ranks_exchange_values_and_sums():
    code = """
import sys, numpy as np
from minidl import distributed as d
values = d.all_gather({"rank": d.rank()})
big = d.all_sum(np.full(300_000, 10.0 ** d.rank()))
with d.alone():
    inside = d.size(), d.all_gather(5)
d.barrier()
found = d.rank(), d.size(), d.is_main(), values, big.min().item(), big.max().item(), inside
sys.stdout.write(f"{found}\\n")
"""
    values = [{"rank": rank} for rank in range(3)]
    expected = [f"({rank}, 3, {rank == 0}, {values}, 111.0, 111.0, (1, [5]))" for rank in range(3)]
    assert output_of_ranks(3, code) == expected


def test_ranks_divide_the_processors_and_an_explicit_number_wins():
    code = """
import sys, minidl
from minidl.kernels.runtime.thread_pool import available_processors
if len(sys.argv) > 1:
    minidl.set_num_threads(int(sys.argv[1]))
minidl.distributed.rank()
sys.stdout.write(f"{minidl.get_num_threads()} {available_processors()}\\n")
"""
    for line in output_of_ranks(2, code):
        threads, processors = map(int, line.split())
        assert threads in (max(1, processors // 2), processors)  # all, if the launcher binds ranks
    assert {line.split()[0] for line in output_of_ranks(2, code, 3)} == {"3"}
    assert {line.split()[0] for line in output_of_ranks(2, code, MINIDL_NUM_THREADS="5")} == {"5"}


def test_an_exception_on_one_rank_ends_all_with_its_traceback():
    code = """
import minidl
from minidl import distributed as d
if d.rank() == 1:
    raise ZeroDivisionError("mine")
d.barrier()
"""
    start = time.monotonic()
    done = run_ranks(2, code)
    assert done.returncode != 0
    assert "[rank 1] Traceback" in done.stderr
    assert "[rank 1] ZeroDivisionError: mine" in done.stderr
    assert time.monotonic() - start < 60


def test_a_rank_that_does_not_arrive_is_named():
    code = """
import time
from minidl import distributed as d
d.set_timeout(1)
if d.rank() == 1:
    time.sleep(100)
d.barrier()
"""
    start = time.monotonic()
    done = run_ranks(3, code)
    assert done.returncode != 0
    assert "rank 0 waited 1 s for rank 1 at: barrier" in done.stderr
    assert time.monotonic() - start < 60


def test_the_time_limit_is_checked():
    with pytest.raises(ValueError, match="expected seconds > 0, received -1"):
        distributed.set_timeout(-1)
