"""The command ``minidl convert``: models between minidl, ONNX and safetensors.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.cli.convert import convert_model
>>> folder = tempfile.mkdtemp()
>>> Sequential([Input((2,)), layers.Dense(3, name="head")]).save(folder + "/a.h5")
>>> convert_model(folder + "/a.h5", folder + "/a.onnx")
'a model with 9 parameters'
>>> convert_model(folder + "/a.onnx", folder + "/a.safetensors")
'2 tensors with 9 numbers'
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minidl.cli.options import AddCommand
from minidl.common.errors import FileFormatError
from minidl.common.optional_formats import registered_extensions
from minidl.common.output_paths import check_output
from minidl.formats.reading import read_weight_file
from minidl.formats.safetensors_writing import write_safetensors
from minidl.models.loading import load_model
from minidl.models.model import Model

__all__ = ["add_convert_command", "convert", "convert_model"]

SAFETENSORS = ".safetensors"
MODELS = (".h5", ".hdf5")


def add_convert_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(convert, "convert a model between minidl, ONNX and safetensors")
    command.add_argument(
        "file", metavar="IN", help="model or weight file of minidl, Keras, ONNX or PyTorch"
    )
    command.add_argument(
        "out", metavar="OUT", help="file to write: .h5 and .onnx hold a model, .safetensors weights"
    )
    command.add_argument(
        "--architecture",
        metavar="MODEL",
        help="model file whose layers the weights of IN fit, if IN holds weights only",
    )


def convert(options: argparse.Namespace) -> None:
    """Convert a file to the format of the output's extension."""
    content = convert_model(options.file, options.out, options.architecture)
    print(f"{options.out}: {content}, from {options.file}")


def convert_model(
    source: str | Path, target: str | Path, architecture: str | Path | None = None
) -> str:
    """Convert a model, or its weights, to the format of the target's extension.

    Parameters
    ----------
    source : str or Path
        A file that :func:`minidl.load_model` or ``load_weights`` reads.
    target : str or Path
        ``.h5``, ``.onnx`` or ``.safetensors``.
    architecture : str or Path, optional
        A model file into which the weights of `source` are loaded.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    DataError
        If `target` cannot be written, has another extension, or is one of the other files.
    FileFormatError
        If a file cannot be read, or `source` has no architecture where one is needed.
    """
    suffixes = (*MODELS, *registered_extensions(), SAFETENSORS)
    check_output(
        "OUT", str(target), suffixes, [str(path) for path in (source, architecture) if path]
    )
    suffix = Path(target).suffix.lower()
    if suffix == SAFETENSORS and architecture is None:
        return _write_tensors(target, _tensors(source))
    if architecture is None:
        model = load_model(source)
    else:
        model = load_model(architecture)
        model.load_weights(source)
    if suffix == SAFETENSORS:
        return _write_tensors(target, {p.path: p.value for p in model.weights})
    _write_model(model, target, suffix)
    return f"a model with {model.count_params():,} parameters"


def _write_model(model: Model, target: str | Path, suffix: str) -> None:
    if suffix in MODELS:
        model.save(target)
    else:
        model.export(target)


def _write_tensors(target: str | Path, tensors: dict[str, np.ndarray]) -> str:
    write_safetensors(target, tensors)
    return f"{len(tensors)} tensors with {sum(a.size for a in tensors.values()):,} numbers"


def _tensors(source: str | Path) -> dict[str, np.ndarray]:
    """Return the tensors of a file of any format by ``layer/role``."""
    file = read_weight_file(source)
    tensors: dict[str, np.ndarray] = {}
    for layer in file.layers:
        for role, array in layer.tensors.items():
            name = "/".join(part for part in (layer.scope, layer.name, role) if part)
            if name in tensors:
                raise FileFormatError(f"{source}: expected one tensor {name!r}, received two")
            tensors[name] = array
    return tensors
