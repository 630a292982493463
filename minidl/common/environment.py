"""Versions of the software, the machine, and the number of threads.

>>> from minidl.common.environment import environment
>>> sorted(environment())[:3]
['blas', 'h5py', 'kernel cache']
"""

from __future__ import annotations

import os
import platform
from typing import Any

from minidl.kernels.runtime.thread_pool import get_num_threads
from minidl.version import __version__

__all__ = ["environment"]


def environment() -> dict[str, Any]:
    """Return the versions of minidl and its dependencies, the machine and the threads, by name."""
    import h5py
    import numba
    import numpy
    import PIL
    from threadpoolctl import threadpool_info

    libraries = [item for item in threadpool_info() if item["user_api"] == "blas"]
    blas: dict[str, Any] = libraries[0] if libraries else {}
    return {
        "minidl": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
        "h5py": h5py.__version__,
        "pillow": PIL.__version__,
        "blas": f"{blas.get('internal_api', '?')} {blas.get('version', '')}".strip(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "threads": get_num_threads(),
        "kernel cache": getattr(numba.config, "CACHE_DIR", "") or "__pycache__ beside the kernels",
    }


def _processor() -> str:
    """Return the processor's name, or its architecture if the system does not report a name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
