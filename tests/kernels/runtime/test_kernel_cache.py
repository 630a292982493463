"""The cache of compiled kernels: loaded when nothing has changed, invalid after any edit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minidl
from minidl.kernels.runtime import kernel_cache

HELPER = """
from minidl.kernels.runtime.jit import jit

@jit
def step(x):
    return x + 1
"""
CALLER = """
from minidl.kernels.helper import step
from minidl.kernels.runtime.jit import inlinable, jit

step = inlinable(step)

@jit
def call(x):
    return step(x)
"""


@pytest.fixture
def kernels(tmp_path):
    """Copy minidl's kernels, and add one that calls a function of another file."""
    package = tmp_path / "minidl"
    source = Path(minidl.__file__).parent
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / "kernels", package / "kernels", ignore=skip)
    (package / "__init__.py").touch()
    (package / "kernels" / "helper.py").write_text(HELPER)
    (package / "kernels" / "caller.py").write_text(CALLER)
    return package / "kernels"


def call(kernels, cache):
    """Return the kernel's result in a new process, and whether its code came from the cache."""
    environment = {
        "PYTHONPATH": str(kernels.parents[1]),
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_DEBUG_CACHE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from minidl.kernels.caller import call; print(call(1))"],
        env={**os.environ, **environment},
        cwd=kernels.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout.split()[-1]), "data loaded" in done.stdout


def test_an_edit_of_a_called_function_is_seen(kernels, tmp_path):
    cache = tmp_path / "cache"
    assert call(kernels, cache) == (2, False)
    assert call(kernels, cache) == (2, True)
    files = sorted(cache.rglob("*.nb*"))
    # The file keeps its length and modification time: only the content tells.
    helper = kernels / "helper.py"
    before = helper.stat()
    helper.write_text(HELPER.replace("x + 1", "x + 2"))
    os.utime(helper, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert call(kernels, cache) == (3, False)
    assert call(kernels, cache) == (3, True)
    assert sorted(cache.rglob("*.nb*")) == files  # stale code has been overwritten


@pytest.mark.parametrize("change", ["edit", "add", "rename", "remove"])
def test_the_hash_covers_names_and_contents(change, tmp_path, monkeypatch):
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "a.py").write_text("a = 1\n")
    (folder / "b.py").write_text("b = 1\n")
    monkeypatch.setattr(kernel_cache, "SOURCES", tmp_path)
    compute = kernel_cache.sources_hash.__wrapped__
    before = compute()
    assert compute() == before
    if change == "edit":
        (folder / "b.py").write_text("b = 2\n")
    elif change == "add":
        (folder / "c.py").touch()
    elif change == "rename":
        (folder / "b.py").rename(folder / "c.py")
    elif change == "remove":
        (folder / "b.py").unlink()
    assert compute() != before
