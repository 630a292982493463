"""Turn any weight file that minidl can read into minidl's own kind: the same bits, checksummed.

    python weights/convert.py FILE OUT

`OUT` then goes wherever a weight file does: ``InceptionV3(weights="OUT")``,
``model.load_weights("OUT")``. The command ``minidl weights convert FILE OUT`` does the same.
"""

import argparse
import sys

from minidl.cli.weights import convert


def main(arguments: list[str] | None = None) -> int:
    """Convert one file; return 1, and print one line, where that cannot be done."""
    parser = argparse.ArgumentParser(
        description="Write the weights of a file of any kind as a minidl file."
    )
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
