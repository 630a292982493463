"""Cache of compiled kernels that is invalidated by an edit of any kernel source.

Numba's own cache compares the modification time of the file that defines a kernel. It does not see
changes in the functions that the kernel calls from other files, whose machine code it contains. The
cache below also compares a hash of all sources in ``minidl/kernels``. Numba overwrites stale files.
Importing this module imports Numba.

>>> from minidl.kernels.runtime.kernel_cache import sources_hash
>>> len(sources_hash())
64
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

__all__ = ["KernelCache", "sources_hash"]

SOURCES = Path(__file__).parents[1]  # minidl/kernels


class KernelCache(FunctionCache):
    """The compiled versions of one kernel on disk, one for each combination of argument types.

    Raises
    ------
    RuntimeError
        If no folder is writable.
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=(self._impl.locator.get_source_stamp(), sources_hash()),
        )


@functools.cache
def sources_hash() -> str:
    """Return a hash of the names and contents of all files in ``minidl/kernels``."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(SOURCES)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
