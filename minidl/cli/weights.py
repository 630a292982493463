"""Commands for weight files: ``minidl weights inspect | fetch | convert``.

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
from collections.abc import Callable
from pathlib import Path

from minidl.common.errors import FileFormatError

__all__ = ["add_weights_command", "convert", "convert_weights", "fetch", "inspect", "weights"]


def add_weights_command(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Make ``minidl weights`` a command; ``add(function, text)`` returns its parser."""
    actions = add(weights, "inspect, fetch and convert weight files").add_subparsers(
        metavar="ACTION", required=True
    )

    def add_action(function, text: str) -> argparse.ArgumentParser:
        action = actions.add_parser(function.__name__, help=text, description=text)
        action.set_defaults(command=function)
        return action

    action = add_action(inspect, "print what a file holds and which network it fits")
    action.add_argument("file", metavar="FILE", help="weight or model file")
    action.add_argument("--json", action="store_true", help="print JSON")

    action = add_action(fetch, "download the official weights of a network, verified")
    which = action.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", type=_known, help="such as resnet50")
    which.add_argument("--list", action="store_true", help="print what can be had")

    action = add_action(convert, "write the weights of a file of any kind as a minidl file")
    action.add_argument("file", metavar="FILE", help="weight or model file")
    action.add_argument("out", metavar="OUT", help="the file to write")


def weights(options: argparse.Namespace) -> None:
    """Group the commands below; it is never run itself."""


def inspect(options: argparse.Namespace) -> None:
    """Print what a file holds and which network it fits."""
    from minidl.io.inspection import inspect_weights

    report = inspect_weights(options.file)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)


def fetch(options: argparse.Namespace) -> None:
    """Print the path of an official file, downloaded if need be; or list them all."""
    from minidl.formats.downloads import registry

    if not options.list:
        print(registry.fetch(options.name))
        return
    for key, entry in registry.load_registry().items():
        size = "?" if entry.bytes is None else f"{entry.bytes / 1e6:.0f}"
        here = f"; at {entry.path}" if entry.path.exists() else ""
        print(f"{key:20} {size:>4} MB  {entry.description}{here}")


def convert(options: argparse.Namespace) -> None:
    """Write the weights of a file of any kind as a minidl file."""
    file = convert_weights(options.file, options.out)
    print(f"{options.out}: the weights of {len(file.layers)} layers, from {file.dialect}")


def convert_weights(source, target):
    """Write the weights of `source`, of any dialect, to `target`, the same bits, as minidl does.

    Parameters
    ----------
    source, target : str or Path

    Returns
    -------
    WeightFile
        What was read.

    Raises
    ------
    FileFormatError
        If `source` is damaged, of a kind that cannot be read, or has two layers of one name.
    ValueError
        If `target` is `source`.
    OSError
        If one cannot be read, or the other not be written.
    """
    from minidl.formats.checkpoint import write_checkpoint
    from minidl.formats.reading import read_weight_file

    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ValueError(f"{target}: cannot be both read and written; give OUT another name")
    file = read_weight_file(source)
    arrays = {}
    for layer in file.layers:
        for role, array in layer.tensors.items():
            name = f"weights/{layer.name}/{role}"
            if name in arrays:
                raise FileFormatError(
                    f"{source}: two models in it have a layer {layer.name!r}, which minidl's file "
                    "cannot hold; load it into a model of yours and save_weights that"
                )
            arrays[name] = array
    origin = {"file": source.name, "dialect": file.dialect}
    write_checkpoint(target, {"kind": "weights", "converted_from": origin}, arrays)
    return file


def _known(name: str) -> str:
    """Check the name of a file to fetch, for argparse."""
    from minidl.formats.downloads.registry import load_registry

    known = load_registry()
    if name not in known:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(known)}; received {name!r}")
    return name
