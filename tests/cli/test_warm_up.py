"""``minidl info --warm-up`` compiles all kernels."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys

from minidl import kernels
from minidl.kernels.runtime import jit


def all_kernels():
    """Return "module.function" of every kernel."""
    names = set()
    for info in pkgutil.walk_packages(kernels.__path__, "minidl.kernels."):
        module = importlib.import_module(info.name)
        names |= {
            f"{info.name.split('.')[-1]}.{function.__wrapped__.__name__}"
            for function in vars(module).values()
            if getattr(function, "__code__", None) is KERNEL_CODE
            and function.__module__ == info.name
        }
    return names


KERNEL_CODE = jit.jit(len).__code__
NOT_COMPILED = {
    "winograd_loops.transform_output",  # only part of other kernels
    "depthwise._add_gradients",  # only for float64
}


def test_every_kernel_is_compiled_and_cached(tmp_path):
    command = [sys.executable, "-m", "minidl", "info", "--warm-up", "--json"]
    # A single thread never waits; the waiting kernels need two.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "MINIDL_NUM_THREADS": "2"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert json.loads(done.stdout)["kernel cache"] == str(tmp_path)
    kept = {path.name.split("-")[0] for path in tmp_path.rglob("*.nbi")}
    assert len(all_kernels()) > 30
    assert kept == all_kernels() - NOT_COMPILED
