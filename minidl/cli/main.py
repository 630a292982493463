"""The command line: ``minidl demo | train | runs | evaluate | predict | check | weights | info``.

Exit codes: 0 all went well; 1 the data or a file cannot be used; 2 the command was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings

from minidl.cli.check import add_check_command
from minidl.cli.options import positive, seed_number
from minidl.cli.predict import evaluate, predict
from minidl.cli.runs import add_runs_command
from minidl.cli.train import train
from minidl.cli.train_options import add_training_options
from minidl.cli.weights import add_weights_command
from minidl.version import __version__

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if hasattr(sys.stdout, "reconfigure"):  # a file's name may have what a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # its reader has seen enough: minidl runs | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"minidl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minidl: stopped", file=sys.stderr)
        return 1


def demo(options: argparse.Namespace) -> None:
    """Train on the cartoon set."""
    from minidl.cli.demo import run_demo

    run_demo(options.output, options.epochs, options.seed)


def info(options: argparse.Namespace) -> None:
    """Print versions, threads and where Numba keeps compiled kernels; compile them if asked to."""
    if options.warm_up:
        from minidl.cli.warm_up import warm_up

        warm_up()
    from minidl.common.environment import environment

    facts = environment()
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:13} {value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidl", description="Deep learning in NumPy and Numba: train and use classifiers."
    )
    parser.add_argument("--version", action="version", version=f"minidl {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(function, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__, help=text, description=text)
        command.set_defaults(command=function, wrong_usage=command.error)
        return command

    command = add(demo, "train on drawn cats and dogs: a minute from nothing to a classifier")
    command.add_argument(
        "--output", default="minidl-demo",
        help="folder for pictures and model (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--epochs", type=positive, default=8, metavar="N",
        help="passes over the drawings (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--seed", type=seed_number, default=0, metavar="N",
        help="of the weights and the order of training (default: %(default)s)",
    )  # fmt: skip

    command = add(train, "train a classifier on a folder of photos, from scratch or on a base")
    add_training_options(command)
    add_runs_command(add)

    command = add(evaluate, "test a saved model on a folder of photos")
    command.add_argument("model", metavar="MODEL", help="model file")
    command.add_argument("folder", metavar="DIR", help="one folder of photos for each class")
    command.add_argument(
        "--batch-size", type=positive, default=32, metavar="N",
        help="photos at a time (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print JSON")

    command = add(predict, "print class and probability of images")
    command.add_argument(
        "model", metavar="MODEL", nargs="?",
        help="model file (default: cats and dogs, the network that comes with minidl)",
    )  # fmt: skip
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    command.add_argument(
        "--explain", metavar="PNG",
        help="write a picture of what in each image spoke for its class (Grad-CAM)",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print JSON")

    add_check_command(add)
    command = add(info, "print versions, threads and settings")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument(
        "--warm-up", action="store_true",
        help="compile all kernels now, some ten seconds, rather than when they are first needed",
    )  # fmt: skip
    add_weights_command(add)
    return parser


def _show_warning(message, *_) -> None:
    """Print a warning as a user of the command line wants it: without a line of source code."""
    print(f"minidl: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
