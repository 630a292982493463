"""The command ``minidl info``: versions, threads, and the kernel cache."""

from __future__ import annotations

import argparse
import json

from minidl.cli.options import AddCommand, add_json
from minidl.common.environment import environment

__all__ = ["add_info_command", "info"]


def add_info_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(info, "print versions, threads and settings")
    add_json(command)
    command.add_argument(
        "--warm-up",
        action="store_true",
        help="compile all kernels now (about ten seconds) instead of at their first use",
    )


def info(options: argparse.Namespace) -> None:
    """Print versions, threads and the folder of compiled kernels; optionally compile them."""
    if options.warm_up:
        from minidl.cli.warm_up import warm_up

        warm_up()
    facts = environment()
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:13} {value}")
