"""``minidl check``: what is wrong with a folder of photos; and the leaks that train warns of.

>>> from minidl.cli.check import describe_leaks
>>> describe_leaks({"test/9.jpg": ["train/1.jpg"]}, 40)
'1 of the 40 test photos is also among the training photos, such as test/9.jpg'
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from minidl.common.errors import DataError
from minidl.common.output_paths import check_output

__all__ = ["add_check_command", "check", "describe_leaks", "warn_of_leaks"]

EXPLANATION = """\
Look for what spoils training or its test in a folder of photos.

errors    leaks: the same photo in DIR and in the test folder; the same photo under several
          labels; classes without a readable photo, or other classes to test on
warnings  duplicates within a folder: the same content, or a resized, recompressed, mirrored or
          slightly cropped copy; files that are empty, truncated, no image or unreadable
          otherwise (minidl skips them and says so); photos below 32 pixels, longer than 3 times
          their width, or with odd colours (CMYK, palette, transparency, 16 bits); a class 3 times
          as large as another; images left out for their extension
notes     grayscale photos, wrong extensions, a class 1.5 times as large as another

The exit code is 1 where an error was found, else 0. Nothing is deleted or changed.
"""


def add_check_command(add) -> None:
    """Add the command; ``add(function, help)`` makes its parser."""
    command = add(check, "look for duplicates, leaks and damaged files in a folder of photos")
    command.description = EXPLANATION
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("folder", metavar="DIR", help="one folder of photos for each class")
    command.add_argument("--test", metavar="DIR", help="photos for a test, checked for leaks, too")
    command.add_argument("--json", action="store_true", help="print JSON, with all files")
    command.add_argument(
        "--fix-list", metavar="TXT",
        help="write which files to drop, one on each line: of a leak the copies in DIR, of other "
        "duplicates all but the largest, of contradicting labels all, and files without an image",
    )  # fmt: skip


def check(options: argparse.Namespace) -> int:
    """Print what the dataset doctor finds; return 1 where it spoils results."""
    from minidl import data

    if options.fix_list is not None:
        check_output("--fix-list", options.fix_list, kept=[options.folder, options.test])
    report = data.check(options.folder, options.test, progress=sys.stderr.isatty())
    # First of all: what reads the answer may stop reading.
    listed = None if options.fix_list is None else _write_list(report, options.fix_list)
    if options.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(report)
    if listed is not None:
        print(f"Files to drop: {options.fix_list} ({listed})", file=sys.stderr)
    return 1 if report.spoils_results else 0


def _write_list(report, path: str) -> int:
    """Write which files to drop, one on each line, and return how many."""
    files = report.files_to_drop()
    odd = [file for file in files if "\n" in file]
    for file in odd:  # its second line might be the name of another file
        print(f"minidl: left out of {path}: {file!r}, whose name has a line break", file=sys.stderr)
    files = [file for file in files if file not in odd]
    text = "".join(f"{file}\n" for file in files)
    try:
        Path(path).write_text(text, "utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"--fix-list: cannot write {path!r} ({error.strerror})") from None
    return len(files)


def warn_of_leaks(training: str, test: str) -> None:
    """Say in a line or two whether photos to test on are among those to train on."""
    from minidl.data.doctor.doctor import find_leaks
    from minidl.data.listing import find_classes

    ours, theirs = (
        [file for members in find_classes(folder).values() for file in members]
        for folder in (training, test)
    )
    leaks = find_leaks(ours, theirs, progress=sys.stderr.isatty())
    text = describe_leaks(leaks, len(theirs))
    if leaks:
        print(f"minidl: warning: {text}", file=sys.stderr)
        text = f"  so the test will flatter; see minidl check {training} --test {test}"
        print(text, file=sys.stderr, flush=True)
    else:
        print(text, flush=True)


def describe_leaks(leaks: dict[str, list[str]], count: int) -> str:
    """Return one sentence on the leaks among `count` test photos."""
    if not leaks:
        return f"None of the {count:,} test photos is among the training photos"
    verb = "is" if len(leaks) == 1 else "are"
    return (
        f"{len(leaks):,} of the {count:,} test photos {verb} also among the training photos, "
        f"such as {min(leaks)}"
    )
