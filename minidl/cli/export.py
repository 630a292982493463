"""The command ``minidl export``: a model as an ONNX file or as a web page for photos."""

from __future__ import annotations

import argparse
from pathlib import Path

from minidl.cli.options import AddCommand
from minidl.common.errors import DataError
from minidl.common.optional_formats import require_format
from minidl.common.output_paths import check_output
from minidl.models.loading import load_model

__all__ = ["add_export_command", "export"]


def add_export_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(export, "write a model as an ONNX file or as a web page")
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument("out", metavar="OUT.onnx", nargs="?", help="file to write")
    command.add_argument(
        "--float-input",
        action="store_true",
        help="take images as float32 (N, C, H, W) with values 0-255, not as uint8 (N, H, W, C)",
    )
    command.add_argument(
        "--resize",
        action="store_true",
        help="resize photos of any size in the graph (opset 18 instead of 17)",
    )
    command.add_argument(
        "--web",
        metavar="DIR",
        help="write a page that classifies photos in the browser, and the model, into a folder",
    )
    command.add_argument("--license", metavar="TEXT", help="license to store in the file")


def export(options: argparse.Namespace) -> None:
    """Write a model as an ONNX file or as a web page."""
    if options.out is None and options.web is None:
        options.usage_error("expected OUT.onnx or --web DIR")
    if options.float_input and options.resize:
        options.usage_error("--float-input: not allowed with --resize")
    if options.out is not None:
        check_output("OUT.onnx", options.out, (".onnx",), [options.model])
    elif options.float_input or options.resize:
        options.usage_error("--float-input and --resize: expected OUT.onnx")
    if options.web is not None and Path(options.web).exists() and not Path(options.web).is_dir():
        raise DataError(f"--web: expected a folder, received the file {options.web!r}")
    model = load_model(options.model)
    if options.out is not None:
        model.export(
            options.out,
            float_input=options.float_input,
            resize=options.resize,
            license=options.license,
        )
        print(f"{options.out}: {Path(options.out).stat().st_size:,} bytes")
    if options.web is not None:
        page = require_format(".onnx").write_web(model, options.web, license=options.license)
        print(
            f"{page}: in its folder, run `npm install onnxruntime-web` and "
            "`python -m http.server`, then open http://localhost:8000"
        )
