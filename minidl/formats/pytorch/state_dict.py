"""Reading of PyTorch's state dicts: files of ``torch.save(model.state_dict(), path)``.

Both forms of files are read, the zip archive of today and the sequence of pickles before version
1.6. No code of the file runs: see :mod:`minidl.formats.pytorch.interpreter`. A state dict may be
wrapped in a dict of a training script (``{"model": ..., "optimizer": ...}``); only its tensors are
read.

>>> from minidl.formats.pytorch.state_dict import find_state_dict
>>> find_state_dict({"epoch": 3, "optimizer": {}})
Traceback (most recent call last):
    ...
minidl.common.errors.FileFormatError: expected a state dict (names and tensors), received a dict \
of epoch, optimizer. Save it with torch.save(model.state_dict(), path)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from minidl.common.errors import FileFormatError
from minidl.formats.file_errors import StrPath, check_file, check_finite, file_errors
from minidl.formats.pytorch.layout import to_channels_last
from minidl.formats.pytorch.legacy_container import MAGIC, LegacyContainer
from minidl.formats.pytorch.names import IGNORED, split_names
from minidl.formats.pytorch.tensors import Tensor, read_tensor
from minidl.formats.pytorch.zip_container import ZipContainer
from minidl.formats.weight_file import LayerTable, WeightFile

__all__ = ["find_state_dict", "read_state_dict"]

# The keys under which training scripts save a state dict.
WRAPS = ("state_dict", "model_state_dict", "model", "net")
SMALL, MAX_EXPANSION = 64 * 2**20, 4  # tensors may share storages, but not without limit
MAX_NAME = 200
FLOATS = ("FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage")


def read_state_dict(path: StrPath) -> WeightFile:
    """Return the layers of a ``.pth`` or ``.pt`` file, with kernels in minidl's layout.

    Numbers are float16, float32 or float64; bfloat16 becomes float32, which holds it exactly.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    WeightFile

    Raises
    ------
    FileNotFoundError, IsADirectoryError
    FileFormatError
        If the file is damaged, or holds anything but a state dict.
    """
    path = Path(path)
    check_file(path)
    table = LayerTable()
    with file_errors(path), open(path, "rb") as file:
        is_legacy = file.read(len(MAGIC)) == MAGIC
        container = LegacyContainer(file) if is_legacy else ZipContainer(file)
        tensors, ignored = find_state_dict(container.load())
        _check_tensors(tensors, os.fstat(file.fileno()).st_size)
        starts: dict[str, int] = {}
        for named in split_names({name: tensor.shape for name, tensor in tensors.items()}):
            tensor = tensors[named.name]
            if tensor.storage.key not in starts:
                starts[tensor.storage.key] = container.start(tensor.storage)
            array = read_tensor(file, starts[tensor.storage.key], tensor, named.name)
            check_finite(array, named.name)
            array = np.ascontiguousarray(to_channels_last(array, named.role))
            table.add(named.scope, named.layer, named.role, array, named.name)
    counters = [name for name in tensors if name.rpartition(".")[2] == IGNORED]
    return WeightFile(
        path, container.dialect, table.layers, ignored=(*counters, *ignored), channels_first=True
    )


def find_state_dict(content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by name, and the other keys of the dict that wraps them.

    Raises
    ------
    FileFormatError
        If there is no state dict, or more than one.
    """
    if _is_state_dict(content):
        return content, []
    if not isinstance(content, dict):
        raise FileFormatError(
            f"expected a state dict (names and tensors), received a {type(content).__name__}. "
            "Save it with torch.save(model.state_dict(), path)"
        )
    wraps = [key for key in WRAPS if _is_state_dict(content.get(key))]
    others = [_shown(key) for key in content if key not in wraps]
    if len(wraps) > 1:
        raise FileFormatError(
            f"expected one state dict, received several ({', '.join(wraps)}). Save one of them"
        )
    if not wraps:
        tensors = [key for key, value in content.items() if isinstance(value, Tensor)]
        if tensors:
            (key, value) = next(
                (key, value) for key, value in content.items() if not isinstance(value, Tensor)
            )
            problem = f"an entry {_shown(key)!r} that is a {type(value).__name__}"
        else:
            problem = f"a dict of {', '.join(others[:4]) or 'nothing'}"
        raise FileFormatError(
            f"expected a state dict (names and tensors), received {problem}. Save it with "
            "torch.save(model.state_dict(), path)"
        )
    return content[wraps[0]], others


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _check_tensors(tensors: dict[str, Tensor], size: int) -> None:
    """Refuse types and shapes that no weight has, and more numbers than the file holds."""
    for name, tensor in tensors.items():
        if len(name) > MAX_NAME:
            raise FileFormatError(
                f"expected names of at most {MAX_NAME} characters, received {_shown(name)!r}"
            )
        if name.rpartition(".")[2] == IGNORED:
            continue
        if tensor.storage.kind.name not in FLOATS:
            raise FileFormatError(
                f"tensor {_shown(name)!r}: expected float16, bfloat16, float32 or float64, "
                f"received torch.{tensor.storage.kind.name}"
            )
        if 0 in tensor.shape:
            raise FileFormatError(
                f"tensor {_shown(name)!r}: expected sizes > 0, received the shape {tensor.shape}"
            )
    total = sum(tensor.span for tensor in tensors.values())
    if total > max(SMALL, MAX_EXPANSION * size):
        raise FileFormatError(
            f"the tensors claim {total} bytes, too many for a file of {size} bytes"
        )


def _shown(key: Any) -> str:
    """Return a key on one line of at most 60 characters."""
    text = str(key)[:61] if isinstance(key, str) or abs(key) < 10**19 else "a number"
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:57]}..."
