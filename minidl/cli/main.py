"""Entry point of the command line: ``minidl demo | train | runs | evaluate | predict | ...``.

Exit codes: 0 for success, 1 if data or a file cannot be used, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings

from minidl.cli.bases import add_bases_command
from minidl.cli.check import add_check_command
from minidl.cli.convert import add_convert_command
from minidl.cli.demo import add_demo_command
from minidl.cli.evaluate import add_evaluate_command
from minidl.cli.export import add_export_command
from minidl.cli.info import add_info_command
from minidl.cli.options import command_adder
from minidl.cli.predict import add_predict_command
from minidl.cli.ranks import end_all_ranks, run_as_rank
from minidl.cli.runs import add_runs_command
from minidl.cli.train import add_train_command
from minidl.cli.weights import add_weights_command
from minidl.version import __version__

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Command line without the program's name. Default: that of the process.

    Returns
    -------
    int
        Exit code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may exceed the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = run_as_rank(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe: minidl runs | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"minidl: {error}", file=sys.stderr, flush=True)
        end_all_ranks()
        return 1
    except KeyboardInterrupt:
        print("minidl: stopped", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minidl", description="Deep learning in NumPy and Numba: train and use classifiers."
    )
    parser.add_argument("--version", action="version", version=f"minidl {__version__}")
    add = command_adder(parser.add_subparsers(metavar="COMMAND", required=True))
    for add_command in (
        add_demo_command,
        add_train_command,
        add_bases_command,
        add_runs_command,
        add_evaluate_command,
        add_predict_command,
        add_export_command,
        add_check_command,
        add_info_command,
        add_weights_command,
        add_convert_command,
    ):
        add_command(add)
    return parser


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the line of source code that Python shows by default."""
    print(f"minidl: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
