"""The command ``minidl check``, and the warning of leaks by ``minidl train``.

>>> from minidl.cli.check import describe_leaks
>>> describe_leaks({"test/9.jpg": ["train/1.jpg"]}, 40)
'1 of the 40 test photos is also among the training photos, such as test/9.jpg'
"""

from __future__ import annotations

import argparse
import json
import sys

from minidl import data
from minidl.cli.options import AddCommand, add_json
from minidl.common.atomic_files import write_file
from minidl.common.errors import DataError
from minidl.common.output_paths import check_output
from minidl.data.doctor.doctor import find_leaks
from minidl.data.doctor.findings import CheckReport
from minidl.data.listing import find_classes

__all__ = ["add_check_command", "check", "describe_leaks", "warn_of_leaks"]

EXPLANATION = """\
Check a folder of photos for faults that spoil training or testing.

errors    leaks: the same photo in DIR and in the test folder; the same photo under several
          labels; classes without a readable photo; test classes that differ from those of DIR
warnings  duplicates within a folder: identical, resized, recompressed, mirrored or slightly
          cropped copies; files that are empty, truncated, not an image or otherwise unreadable
          (training skips and lists them); photos below 32 pixels, longer than 3 times their
          width, or with unusual colors (CMYK, palette, transparency, 16 bits); a class 3 times
          as large as another; images ignored because of their extension
notes     grayscale photos, wrong extensions, a class 1.5 times as large as another

The exit code is 1 if an error was found, else 0. No file is deleted or changed.
"""


def add_check_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(check, "find duplicates, leaks and damaged files in a folder of photos")
    command.description = EXPLANATION
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("folder", metavar="DIR", help="folder with one folder of photos per class")
    command.add_argument("--test", metavar="DIR", help="test photos, also checked for leaks")
    add_json(command, "print JSON with all files")
    command.add_argument(
        "--fix-list",
        metavar="TXT",
        help="write the names of the files to drop, one per line. For leaks: the copies in DIR. "
        "For other duplicates: all but the largest. For contradicting labels: all copies. Also "
        "files that are not images",
    )


def check(options: argparse.Namespace) -> int:
    """Print the findings of the data check; return 1 if one of them is an error."""
    if options.fix_list is not None:
        check_output("--fix-list", options.fix_list, kept=[options.folder, options.test])
    report = data.check(options.folder, options.test, progress=sys.stderr.isatty())
    # Before anything is printed: the reader of a pipe may close it.
    count = None if options.fix_list is None else _write_fix_list(report, options.fix_list)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)
    if count is not None:
        print(f"Files to drop: {options.fix_list} ({count})", file=sys.stderr)
    return int(report.spoils_results)


def _write_fix_list(report: CheckReport, path: str) -> int:
    """Write the names of the files to drop, one per line; return their number."""
    files = []
    for file in report.files_to_drop():
        if "\n" in file:  # its second line could be the name of another file
            print(f"minidl: omitted from {path}: {file!r} has a line break", file=sys.stderr)
        else:
            files.append(file)
    text = "".join(f"{file}\n" for file in files)
    try:
        write_file(path, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise DataError(f"--fix-list: {error}") from None
    return len(files)


def warn_of_leaks(training: str, test: str) -> None:
    """Print whether test photos are also among the training photos."""
    train_files, test_files = (
        [file for files in find_classes(folder).values() for file in files]
        for folder in (training, test)
    )
    leaks = find_leaks(train_files, test_files, progress=sys.stderr.isatty())
    text = describe_leaks(leaks, len(test_files))
    if not leaks:
        print(text, flush=True)
        return
    print(f"minidl: warning: {text}", file=sys.stderr)
    print(
        "  Test accuracy will be overestimated. For the list: "
        f"minidl check {training} --test {test}",
        file=sys.stderr,
        flush=True,
    )


def describe_leaks(leaks: dict[str, list[str]], count: int) -> str:
    """Return a sentence about the leaks among `count` test photos."""
    if not leaks:
        return f"None of the {count:,} test photos is among the training photos"
    verb = "is" if len(leaks) == 1 else "are"
    return (
        f"{len(leaks):,} of the {count:,} test photos {verb} also among the training photos, "
        f"such as {min(leaks)}"
    )
