"""Conversion of weight files to minidl's format: the same bits, with a checksum.

    python weights/convert.py FILE OUT

`OUT` can be used like any weight file: ``InceptionV3(weights="OUT")``,
``model.load_weights("OUT")``. The command ``minidl weights convert FILE OUT`` does the same.
"""

import argparse
import sys

from minidl.cli.weights import convert


def main(arguments: list[str] | None = None) -> int:
    """Convert one file; print one line and return 1 if it fails."""
    parser = argparse.ArgumentParser(description="Convert a weight file to minidl's format.")
    parser.add_argument("file", metavar="FILE", help="weight or model file")
    parser.add_argument("out", metavar="OUT", help="the file to write")
    try:
        convert(parser.parse_args(arguments))
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"convert.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
