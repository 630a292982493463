"""Compilation of kernels: lazy, once, and with or without a folder for the cache."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minidl.kernels.runtime import jit as module
from minidl.kernels.runtime.jit import jit


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_minidl_neither_imports_numba_nor_compiles():
    modules = (
        "minidl, minidl.layers, minidl.kernels.optimizers, minidl.training, minidl.graph.network"
    )
    code = f"import sys, {modules}; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    result = run_python(code)
    assert result.stdout.split() == ["False", "False"], result.stderr


def test_a_layer_without_kernels_needs_no_numba():
    code = (
        "import sys, numpy as np; from minidl import layers; "
        "layers.Flatten()(np.ones((1, 2, 2))); print('numba' in sys.modules)"
    )
    assert run_python(code).stdout.split() == ["False"]


def test_threads_may_import_numba_at_the_same_time():
    code = """
import threading, numpy as np
from minidl.kernels.convolution.dispatch import convolve
from minidl.kernels.activations import relu
from minidl.kernels.geometry import Convolution
x, w = np.ones((8, 32, 32, 16), "float32"), np.ones((3, 3, 16, 16), "float32")
start, done = threading.Barrier(3), []
def compute(function):
    start.wait()
    done.append(function())
direct, winograd = Convolution((3, 3), (2, 2)), Convolution((3, 3))
for function in (
    lambda: relu(x), lambda: convolve(x, w, None, direct), lambda: convolve(x, w, None, winograd)
):
    threading.Thread(target=compute, args=(function,)).start()
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join()
print(len(done))
"""
    result = run_python(code)
    assert (result.stdout, result.stderr) == ("3\n", "")


def test_kernels_work_with_an_unusable_cache_folder(tmp_path):
    (tmp_path / "file").touch()
    code = (
        "import numpy as np; from minidl.kernels.activations import relu; "
        "print(*relu(np.array([-1.0, 2.0])))"
    )
    result = run_python(code, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert result.stdout.split() == ["0.0", "2.0"] or result.stdout.split() == ["-0.0", "2.0"]
    assert result.stderr == ""


def test_kernels_without_a_cache_folder_are_compiled_for_this_process():
    numba = pytest.importorskip("numba")
    namespace = {}
    source = "def double(x, out):\n    for i in range(x.size):\n        out[i] = 2 * x[i]\n"
    exec(compile(source, "<no file>", "exec"), namespace)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(namespace["double"])
    x = np.arange(3.0)
    jit(namespace["double"])(x, x)
    assert x.tolist() == [0, 2, 4]


def test_a_kernel_is_compiled_once_at_its_first_call(monkeypatch):
    compiled = []

    def compile_slowly(function):
        time.sleep(0.02)
        compiled.append(function)
        return function

    monkeypatch.setattr(module, "_compile", compile_slowly)

    def nothing():
        """Do nothing."""

    kernel = jit(nothing)
    assert (compiled, kernel.__name__, kernel.__doc__) == ([], "nothing", "Do nothing.")
    threads = [threading.Thread(target=kernel) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert compiled == [nothing]


def test_kernels_release_the_gil():
    namespace = {}
    source = (
        "def spin(flag):\n    turns = 0\n    while flag[0] == 0 and turns < 10**10:\n"
        "        turns += 1\n    flag[1] = 1\n"
    )
    exec(compile(source, "<no file>", "exec"), namespace)
    spin = jit(namespace["spin"])
    spin(np.ones(2, np.int64))  # compiles
    flag = np.zeros(2, np.int64)
    thread = threading.Thread(target=spin, args=(flag,))
    thread.start()
    time.sleep(0.01)
    flag[0] = 1  # can only be written while the kernel runs
    thread.join(30)
    assert not thread.is_alive()
