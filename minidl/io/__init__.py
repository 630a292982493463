"""Files: minidl's own, Keras' in all their dialects, and where official weights are to be had.

>>> from minidl import io
>>> callable(io.inspect_weights)
True
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["inspect_weights"]


def __getattr__(name: str) -> Any:
    # It compares a file with the networks of minidl.applications, so it stands above them.
    if name == "inspect_weights":
        return importlib.import_module("minidl.inspection").inspect_weights
    raise AttributeError(f"module 'minidl.io' has no attribute {name!r}")
