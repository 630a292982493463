"""Commands in several processes of MPI: ``mpiexec -n 4 minidl train photos``.

All ranks execute ``train`` and ``evaluate``, which share their work. Rank 0 prints and writes
files. Other commands run on rank 0 alone.

>>> import argparse
>>> from minidl.cli.ranks import run_as_rank
>>> run_as_rank(argparse.Namespace(command=lambda options: None))
0
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from minidl.cli.evaluate import evaluate
from minidl.cli.train import train
from minidl.distributed.communicator import alone, current

__all__ = ["end_all_ranks", "run_as_rank"]

SHARED = (train, evaluate)
OUTPUTS = ("runs", "plot", "report")  # options that name files which only rank 0 writes


def run_as_rank(options: argparse.Namespace) -> int:
    """Run the command of the options as one of the ranks, and return the exit code.

    Raises
    ------
    ImportError
        If there are several processes, but mpi4py is missing.
    """
    communicator = current()
    if communicator.size == 1:
        return options.command(options) or 0
    if options.command not in SHARED:
        with alone():
            return (options.command(options) or 0) if communicator.rank == 0 else 0
    if communicator.rank == 0:
        return options.command(options) or 0
    for name in OUTPUTS:
        if hasattr(options, name):
            setattr(options, name, None)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        return options.command(options) or 0


def end_all_ranks() -> None:
    """End the processes of all ranks, because the command of this one has failed."""
    with contextlib.suppress(ImportError, RuntimeError):
        communicator = current()
        if communicator.size > 1:
            sys.stdout.flush()
            communicator.abort()
