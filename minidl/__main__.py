"""``python -m minidl``: the command line."""

import sys

from minidl.cli import main

sys.exit(main())
