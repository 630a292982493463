"""What minidl runs on: versions, machine, threads.

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
    """Return the versions of minidl and what it stands on, the machine and its threads."""
    import h5py
    import numba
    import numpy
    import PIL
    from threadpoolctl import threadpool_info

    blas = next((item for item in threadpool_info() if item["user_api"] == "blas"), {})
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
        "kernel cache": numba.config.CACHE_DIR or "__pycache__ beside the kernels",
    }


def _processor() -> str:
    """Return the processor's name, or its kind where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"
