"""``python -m minidl``: the command line."""

import sys

from minidl.cli.main import main

sys.exit(main())
