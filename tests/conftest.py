"""Shared by all tests: hypothesis profiles, and global state put back after each test."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import support.*

# The first call of a kernel compiles it, which no deadline can allow for.
common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=25, derandomize=True, **common)
settings.register_profile("ci", max_examples=40, derandomize=True, **common)
settings.register_profile("intense", max_examples=500, **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

os.environ["MINIDL_RUNS"] = ""  # no test leaves a run in the folder it was started in

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _same_seed_and_threads():
    """Each test starts from seed 0; a changed thread count does not leak out."""
    import minidl

    minidl.set_random_seed(0)
    threads = minidl.get_num_threads()
    yield
    if minidl.get_num_threads() != threads:
        minidl.set_num_threads(threads)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real photos and weights that lies beside the project."""
    if not SHARED.is_dir():
        pytest.skip("the folder of shared data is not beside the project")
    return SHARED
